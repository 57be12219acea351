import FileAccess
import SystemPackage
import TensorModel

/// What becomes of codes of other quantizers when a checkpoint is opened.
package enum QuantizedSources: Sendable {
    /// Codes and the tensors beside them become tensors of decoded weights.
    case decoded
    /// Codes and the tensors beside them stay tensors of their own.
    case asStored
}

/// Turns the stored tensors of a checkpoint into tensors of decoded weights.
struct QuantizedPass {
    private let tensors: StoredTensors
    /// What becomes of codes that cannot be decoded: an error, or a warning and the tensors as they are stored.
    private let undecodable: UndecodableTensors
    private var logical: [TensorName: LogicalTensor] = [:]
    private var consumed: Set<TensorName> = []
    private var failures: [IngotError] = []
    /// What was assumed, once for all tensors.
    private var notes: [IngotWarning] = []

    /// - Parameters:
    ///   - shards: the shards as they are stored.
    ///   - places: the places of all tensors in them.
    init(
        _ shards: [Shard], _ places: [TensorName: Checkpoint.Place], _ stated: QuantizationConfiguration?,
        elementType: FloatFormat?, _ undecodable: UndecodableTensors
    ) {
        tensors = StoredTensors(shards: shards, places: places, configuration: stated, elementType: elementType)
        self.undecodable = undecodable
    }

    /// The shards with decoded tensors in the places of codes, and warnings.
    ///
    /// - Throws: `unsupportedSource` for codes that cannot be decoded, and for a configuration that contradicts the tensors.
    mutating func run() throws -> (shards: [Shard], warnings: [IngotWarning]) {
        for shard in tensors.shards where shard.header.format != .gguf {
            for tensor in shard.header.tensors {
                do {
                    guard let found = try match(FoundTensor(tensor: tensor, file: shard.file)) else { continue }
                    try take(found, tensor)
                } catch let error as IngotError {
                    try note(error)
                }
            }
        }
        for shard in tensors.shards where shard.header.format != .gguf {
            for tensor in shard.header.tensors where !consumed.contains(tensor.name) {
                if let error = lonely(FoundTensor(tensor: tensor, file: shard.file)) { try note(error) }
            }
        }
        if let error = contradiction() { try note(error) }
        return (shards(), warnings())
    }

    /// Notes an error of tensors that are listed as they are stored; throws it otherwise.
    private mutating func note(_ error: IngotError) throws {
        guard undecodable == .listed else { throw error }
        failures.append(error)
    }

    /// The decoded tensor of some codes; nil for any other tensor.
    private func match(_ found: FoundTensor) throws -> LogicalTensor? {
        // The dimensions of a tensor with elements are bounded by the size of its file.
        guard found.count > 0 else { return nil }
        let name = found.tensor.name.text
        func ends(_ ending: String) -> Bool { TensorName.hasSuffix(name, ending) }
        switch found.type {
        case .f8e4m3, .f8e5m2: return try FP8Tensors.match(found, tensors)
        case .u8:
            if ends("_blocks") { return try FP4Tensors.matchBlocks(found, tensors) }
            if ends(".weight_packed") { return try FP4Tensors.matchPacked(found, tensors) }
            if ends(".codes") { return try AQLMTensors.match(found, tensors) }
            return try ends(".weight")
                ? FP4Tensors.matchModelOpt(found, tensors) ?? BitsandbytesTensors.match(found, tensors) : nil
        case .i8:
            if ends(".codes") { return try AQLMTensors.match(found, tensors) }
            guard ends(".weight") else { return nil }
            return try BitsandbytesTensors.match(found, tensors) ?? FP8Tensors.match(found, tensors)
                ?? CompressedTensors.matchBytes(found, tensors)
        case .i16, .u16: return ends(".codes") ? try AQLMTensors.match(found, tensors) : nil
        case .i32:
            if ends(".qweight") { return try GPTQTensors.match(found, tensors) }
            return ends(".weight_packed") ? try CompressedTensors.matchPacked(found, tensors) : nil
        case .u32: return ends(".weight") ? try MLXTensors.match(found, tensors) : nil
        case .f16, .bf16, .f32:
            // bitsandbytes may store its bytes as floats.
            return ends(".weight") && tensors.find(name + ".absmax") != nil
                ? try BitsandbytesTensors.match(found, tensors) : nil
        default: return nil
        }
    }

    private mutating func take(_ found: LogicalTensor, _ codes: StoredTensor) throws {
        if let part = found.form.parts.first(where: { $0.tensor.decoder != nil }) {
            throw StoredTensors.refusal(
                FoundTensor(tensor: part.tensor, file: part.file), "a view of a larger storage",
                "elements one after the other")
        }
        if found.name != codes.name, tensors.places[found.name] != nil {
            throw StoredTensors.refusal(
                FoundTensor(tensor: codes, file: found.form.parts[0].file),
                "codes of `\(found.name.text.prefix(160))`, which is there too", "codes or weights, not both",
                remedy: "fetch the checkpoint again")
        }
        if let stated = tensors.configuration, let methods = stated.statedMethods, !methods.contains(found.form.method)
        {
            throw StoredTensors.refusal(
                FoundTensor(tensor: codes, file: found.form.parts[0].file), "codes of \(found.form.method.rawValue)",
                "codes of \(stated.method.prefix(80)), as \(stated.path) states",
                remedy: "the configuration is of another checkpoint: fetch both again")
        }
        if let warning = found.warning, notes.isEmpty {
            notes.append(IngotWarning(file: found.form.parts[0].file.path.string, warning))
        }
        logical[codes.name] = found
        consumed.formUnion(found.form.parts.map(\.tensor.name))
        consumed.formUnion(found.dropped)
    }

    /// Endings of names that only tensors beside codes have, with the method that they are of.
    private static let sideEndings: [(ending: String, method: String)] = [
        (".weight_scale_inv", "FP8"), (".weight_scale", "FP8, NVFP4 or compressed-tensors"),
        (".weight_scale_2", "NVFP4"), (".weight_global_scale", "NVFP4"), (".weight_zero_point", "compressed-tensors"),
        (".weight_packed", "compressed-tensors"), (".qweight", "GPTQ or AWQ"), (".qzeros", "GPTQ or AWQ"),
        (".weight.absmax", "bitsandbytes"), (".weight.quant_map", "bitsandbytes"), (".SCB", "bitsandbytes"),
    ]
    /// Endings of names of codes that Ingot does not decode, with tensors that stand beside them; the method that they are of.
    private static let unknownEndings: [(ending: String, beside: [String], method: String)] = [
        (".W_q", [".scale", ".zero"], "HQQ"), (".trellis", [".suh"], "EXL3"), (".trellis", [".SU"], "QTIP"),
        (".weight._data", [".weight._scale"], "optimum-quanto"), (".weight_qdata", [".weight_scale"], "torchao"),
        (".Qidxs", [".SU"], "QuIP#"), (".indices", [".centroids"], "VPTQ"),
    ]

    /// The error for a tensor that means nothing alone; nil for any other tensor.
    private func lonely(_ found: FoundTensor) -> IngotError? {
        let name = found.tensor.name.text
        if let unknown = QuantizedPass.unknownEndings.first(where: { unknown in
            TensorName.hasSuffix(name, unknown.ending)
                && unknown.beside.allSatisfy { tensors.find(TensorName.dropSuffix(name, unknown.ending) + $0) != nil }
        }) {
            return StoredTensors.refusal(
                found, "codes of \(unknown.method), which ingot cannot decode",
                "FP8, MXFP4, NVFP4, compressed-tensors, GPTQ, AWQ, MLX, bitsandbytes or AQLM",
                remedy: "take the checkpoint that this one was made from")
        }
        if let side = QuantizedPass.sideEndings.first(where: { TensorName.hasSuffix(name, $0.ending) }) {
            // A tensor whose codes failed was named already.
            let stem = TensorName.dropSuffix(name, side.ending)
            if failures.contains(where: { $0.tensor.map { $0.text.hasPrefix(stem) } ?? false }) { return nil }
            return StoredTensors.refusal(
                found, "a part of codes of \(side.method), without the codes", "the codes of `\(stem.prefix(160))`",
                remedy: "fetch the checkpoint again, with all its shards")
        }
        // F8 weights without scales are a plain cast, unless FP8 with scales is what the configuration states.
        if found.type == .f8e4m3 || found.type == .f8e5m2, TensorName.hasSuffix(name, ".weight"),
            tensors.configuration?.statedMethods?.contains(.fp8) == true,
            logical.contains(where: { $0.value.form.method == .fp8 })
        {
            return StoredTensors.refusal(
                found, "codes of FP8 without `\(name.prefix(160))_scale_inv` or `_scale`",
                "the tensor that belongs to them", remedy: "fetch the checkpoint again, with all its shards")
        }
        return nil
    }

    /// The error if a configuration states a quantization of which no tensor is.
    private func contradiction() -> IngotError? {
        guard logical.isEmpty, failures.isEmpty, let stated = tensors.configuration, let shard = tensors.shards.first,
            stated.statedMethods != nil
        else { return nil }
        // FP8 without scales is a plain cast.
        let isCast = tensors.shards.contains {
            $0.header.tensors.contains { [.f8e4m3, .f8e5m2].contains($0.elementType) }
        }
        guard !isCast else { return nil }
        return IngotError(
            .unsupportedSource, file: stated.path,
            found: "`quantization_config` of \(stated.method.prefix(80)), but no tensor has codes",
            expected: "codes in \(shard.fileName)\(tensors.shards.count > 1 ? " or another shard" : "")",
            remedy: "if the weights were decoded before, remove `quantization_config`")
    }

    /// The shards with the decoded tensors.
    private func shards() -> [Shard] {
        guard !logical.isEmpty else { return tensors.shards }
        var all: [TensorName: QuantizedForm.Role] = [:]
        for found in logical.values {
            for part in found.form.parts { all[part.tensor.name] = part.role }
        }
        return tensors.shards.map { shard in
            guard shard.header.tensors.contains(where: { consumed.contains($0.name) }) else { return shard }
            let decoded = shard.header.tensors.compactMap { tensor -> StoredTensor? in
                guard let found = logical[tensor.name] else { return consumed.contains(tensor.name) ? nil : tensor }
                return StoredTensor(
                    name: found.name, elementType: found.format.elementType, shape: found.shape, range: tensor.range,
                    decoder: found.decoder, encoding: found.form.shortName, form: found.form)
            }
            var roles: [TensorName: QuantizedForm.Role] = [:]
            for tensor in shard.header.tensors where consumed.contains(tensor.name) {
                roles[tensor.name] = all[tensor.name] ?? .other
            }
            return Shard(
                fileName: shard.fileName, file: shard.file, header: shard.header.decoded(decoded, roles: roles))
        }
    }

    private func warnings() -> [IngotWarning] {
        notes
            + failures.prefix(3).map {
                IngotWarning(
                    file: $0.file ?? "", tensor: $0.tensor,
                    "listed as it is stored: \($0.found); expected \($0.expected ?? "")")
            }
            + (failures.count > 3
                ? [
                    IngotWarning(
                        file: tensors.shards.first?.file.path.string ?? "",
                        "\(failures.count - 3) more tensors are listed as they are stored, for like reasons")
                ] : [])
    }
}
