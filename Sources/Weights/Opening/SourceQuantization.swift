package import Checkpoints
package import TensorModel

/// The codes of one kind that a checkpoint has.
package struct SourceQuantization: Sendable, Hashable {
    /// The quantizer or standard.
    package let method: QuantizationMethod
    /// The type in words, such as `int4 symmetric, groups of 32`.
    package let summary: String
    /// Number of tensors and of their weights; bytes of codes and all that belongs to them.
    package private(set) var tensors = 0, elements = 0, bytes: UInt64 = 0
    /// The share of these weights in all weights of the checkpoint.
    package private(set) var share = 0.0

    /// What the checkpoint has of this kind, in one line.
    package var line: String { summary.hasPrefix(method.rawValue) ? summary : "\(method.rawValue), \(summary)" }

    /// The kinds of codes of a checkpoint, those with the most weights first.
    package static func kinds(of tensors: [StoredWeights]) -> [SourceQuantization] {
        kinds(
            tensors.lazy.filter { $0.isReadable && $0.elementType.isFloat }.map {
                ($0.shape.elementCount, $0.byteCount, $0.quantized)
            })
    }

    /// The kinds of codes of some shards, those with the most weights first.
    package static func kinds(of shards: [Shard]) -> [SourceQuantization] {
        kinds(
            shards.lazy.flatMap(\.header.tensors).filter { $0.isReadable && $0.elementType.isFloat }.map {
                ($0.shape.elementCount, $0.storedByteCount, $0.form)
            })
    }

    private static func kinds(
        _ tensors: some Sequence<(elements: Int, bytes: UInt64, form: QuantizedForm?)>
    ) -> [SourceQuantization] {
        var kinds: [SourceQuantization] = []
        var places: [String: Int] = [:]
        var weights = 0
        for tensor in tensors {
            weights += tensor.elements
            guard let form = tensor.form else { continue }
            let key = "\(form.method.rawValue) \(form.summary)"
            let place = places[key] ?? kinds.count
            if place == kinds.count {
                places[key] = place
                kinds.append(SourceQuantization(method: form.method, summary: form.summary))
            }
            kinds[place].tensors += 1
            kinds[place].elements += tensor.elements
            kinds[place].bytes += tensor.bytes
        }
        for index in kinds.indices { kinds[index].share = Double(kinds[index].elements) / Double(max(1, weights)) }
        return kinds.sorted { ($0.elements, $1.line) > ($1.elements, $0.line) }
    }

    /// The line with the share of the weights.
    package var text: String {
        let percent = NumberText.fixed(share * 100, share > 0.1 && share < 0.9995 ? 1 : 0)
        return "\(line); \(percent) % of the weights"
    }

    /// Number of all decoded weights of a checkpoint with these kinds of codes, those without codes included; nil without kinds.
    package static func weights(_ kinds: [SourceQuantization]) -> Int? {
        let share = kinds.reduce(0) { $0 + $1.share }
        return share > 0 ? Int((Double(kinds.reduce(0) { $0 + $1.elements }) / share).rounded()) : nil
    }

    private init(method: QuantizationMethod, summary: String) { (self.method, self.summary) = (method, summary) }

    /// The kind of codes as JSON (Specs/json.md, `quantization`).
    package var json: JSONValue {
        .object([
            .init("method", .string(method.rawValue)), .init("summary", .string(summary)),
            .init("tensors", .unsigned(UInt64(tensors))), .init("elements", .unsigned(UInt64(elements))),
            .init("bytes", .unsigned(bytes)), .init("share", .number(share)),
        ])
    }
}

extension OpenedCheckpoint {
    /// Requires that all scales of other quantizers are finite. It reads the scales.
    ///
    /// - Returns: a warning for each tensor with scales that are zero.
    /// - Throws: `nonFinite`, naming the first scale that is NaN or infinite.
    package func checkScales() throws -> [IngotWarning] {
        try tensors.compactMap { try $0.quantized?.checkScales(of: $0.name, shape: $0.shape) }
    }
}
