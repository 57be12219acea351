package import Checkpoints
import FileAccess
package import TensorModel

/// How one tensor of a source shard is written: as a payload, or kept.
package struct TensorPlan: Sendable, Hashable {
    /// The tensor in the source.
    package let tensor: StoredTensor
    /// The description of its payload; nil for a kept tensor.
    package var descriptor: TensorDescriptor?

    /// Makes a plan.
    package init(tensor: StoredTensor, descriptor: TensorDescriptor?) {
        self.tensor = tensor
        self.descriptor = descriptor
    }
}

/// The order of the entries of an output shard, and where its data begin. Both are known before the data.
///
/// Order: payloads in the source's order; kept tensors by descending alignment, so that each begins at a multiple of its element
/// size; the seal.
package struct ShardLayout: Sendable {
    /// The tensors with a payload, in the order of their entries.
    package let payloads: [TensorPlan]
    /// The kept tensors, in the order of their entries.
    package let kept: [TensorPlan]
    /// Bytes before the first payload: length field, header and its padding.
    package let dataStart: UInt64
    /// The entries of the source's `__metadata__` that the output's header carries.
    package let sourceMetadata: [SafetensorsHeader.MetadataEntry]

    /// Lays out a shard.
    ///
    /// - Parameters:
    ///   - plans: the tensors, in the source's order.
    ///   - sourceMetadata: the source's `__metadata__`; `SourceMetadata.carried` selects what is carried over.
    ///   - limits: limits of a reader.
    /// - Throws: `reservedName`; `headerTooLarge` if a reader would refuse the header.
    package init(
        _ plans: [TensorPlan], sourceMetadata: [SafetensorsHeader.MetadataEntry], limits: Limits = .standard
    ) throws {
        let sourceMetadata = SourceMetadata.carried(sourceMetadata)
        self.sourceMetadata = sourceMetadata
        for plan in plans where ContainerFormat.isReserved(plan.tensor.name) {
            throw IngotError(
                .reservedName, tensor: plan.tensor.name, found: "a name Ingot uses itself",
                expected: "names other than `__metadata__` that do not begin with `__ingot_`",
                remedy: "rename the tensor in the source")
        }
        payloads = plans.filter { $0.descriptor != nil }
        kept = plans.enumerated().filter { $0.element.descriptor == nil }.sorted { a, b in
            let (x, y) = (a.element.tensor.elementType.alignment, b.element.tensor.elementType.alignment)
            return x == y ? a.offset < b.offset : x > y
        }.map(\.element)
        // Only sizes and offsets are not known yet: reserve 16 digits for each.
        let widest: UInt64 = 9_999_999_999_999_999
        let bound = ShardLayout.headerText(
            sourceMetadata, payloads.map { ($0.tensor.name, $0.descriptor) },
            payloads.map { HeaderEntry(bytesOf: $0.tensor.name, widest, widest) }
                + kept.map { HeaderEntry($0.tensor, widest, widest) }
                + [HeaderEntry(bytesOf: ContainerFormat.sealName, widest, widest)])
        let length = UInt64(bound.utf8.count)
        guard length <= limits.headerBytes, let start = Checked.roundUp(8 + length, to: ContainerFormat.alignment)
        else {
            let carried = sourceMetadata.isEmpty ? 0 : SourceMetadata.text(sourceMetadata).utf8.count
            throw IngotError(
                .headerTooLarge,
                found: "a header of \(length) bytes for \(plans.count) tensors in one shard"
                    + (carried > 0 ? ", and for \(carried) bytes of the source's `__metadata__`" : ""),
                expected: "at most \(limits.headerBytes) bytes",
                remedy: UInt64(carried) > length / 2
                    ? "shorten the `__metadata__` of the source" : "split the source into more shards")
        }
        dataStart = start
    }

    /// The first `dataStart` bytes of the file: length field, header, spaces.
    func header(
        descriptors: [TensorDescriptor], payloadBytes: [UInt64], sealBytes: UInt64
    ) -> [UInt8] {
        var offset: UInt64 = 0
        func take(_ count: UInt64) -> (begin: UInt64, end: UInt64) {
            offset += count
            return (offset - count, offset)
        }
        var entries: [HeaderEntry] = []
        for (plan, count) in zip(payloads, payloadBytes) {
            let (begin, end) = take(count)
            entries.append(HeaderEntry(bytesOf: plan.tensor.name, begin, end))
        }
        for plan in kept {
            let (begin, end) = take(plan.tensor.byteCount)
            entries.append(HeaderEntry(plan.tensor, begin, end))
        }
        let (begin, end) = take(sealBytes)
        entries.append(HeaderEntry(bytesOf: ContainerFormat.sealName, begin, end))
        let text = ShardLayout.headerText(
            sourceMetadata, zip(payloads, descriptors).map { ($0.tensor.name, $1) }, entries)
        var bytes: [UInt8] = []
        LittleEndian.append(dataStart - 8, to: &bytes)
        bytes += text.utf8
        precondition(bytes.count <= Int(dataStart), "the header outgrew its bound")
        bytes += [UInt8](repeating: 0x20, count: Int(dataStart) - bytes.count)
        return bytes
    }

    /// An entry of the header: name, dtype, shape, offsets.
    private struct HeaderEntry {
        let name: TensorName
        let elementType: ElementType
        let dimensions: String
        let begin: UInt64
        let end: UInt64

        /// An entry of type U8 and rank 1: a payload, or the seal.
        init(bytesOf name: TensorName, _ begin: UInt64, _ end: UInt64) {
            self.name = name
            elementType = .u8
            // Entries of the bound have begin = end; their size must have the most digits.
            dimensions = String(begin == end ? end : end - begin)
            self.begin = begin
            self.end = end
        }

        /// The entry of a kept tensor.
        init(_ tensor: StoredTensor, _ begin: UInt64, _ end: UInt64) {
            name = tensor.name
            elementType = tensor.elementType
            dimensions = tensor.shape.dimensions.map(String.init).joined(separator: ",")
            self.begin = begin
            self.end = end
        }

        func append(to text: inout String) {
            JSONValue.writeString(name.text, to: &text)
            text += ":{\"dtype\":\"\(elementType.rawValue)\",\"shape\":[\(dimensions)],"
            text += "\"data_offsets\":[\(begin),\(end)]}"
        }
    }

    private static func headerText(
        _ sourceMetadata: [SafetensorsHeader.MetadataEntry], _ descriptors: [(TensorName, TensorDescriptor?)],
        _ entries: [HeaderEntry]
    ) -> String {
        let about = JSONValue.object([
            .init("version", .unsigned(ContainerFormat.version)),
            .init(
                "required_features",
                .array(ContainerFormat.features(of: descriptors.compactMap(\.1)).map(JSONValue.string))),
            .init("optional_features", .array([])), .init("writer", .string(ContainerFormat.writer)),
            .init("codecs", .string(CodecLibraries.versions)),
        ])
        var metadata: [JSONValue.Member] = [
            .init("format", .string("ingot")), .init(ContainerFormat.metadataKey, .string(about.text())),
        ]
        if !sourceMetadata.isEmpty {
            metadata.append(.init(SourceMetadata.key, .string(SourceMetadata.text(sourceMetadata))))
        }
        metadata += descriptors.map { name, descriptor in
            .init(ContainerFormat.tensorKeyPrefix + name.text, .string(descriptor?.text() ?? ""))
        }
        var text = "{\"__metadata__\":" + JSONValue.object(metadata).text()
        for entry in entries {
            text += ","
            entry.append(to: &text)
        }
        return text + "}"
    }
}
