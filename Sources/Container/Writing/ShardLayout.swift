public import Checkpoints
public import TensorModel

/// What becomes of one tensor of a source shard.
public struct TensorPlan: Sendable, Hashable {
    /// The tensor in the source.
    public let tensor: StoredTensor
    /// The description of its payload; nil where it stays an ordinary entry.
    public var descriptor: TensorDescriptor?

    /// Makes a plan.
    public init(tensor: StoredTensor, descriptor: TensorDescriptor?) {
        self.tensor = tensor
        self.descriptor = descriptor
    }
}

/// Where the parts of an output shard go, as far as that is known before the data.
///
/// Order of the entries: payloads in the source's order, then ordinary tensors by falling alignment, so that each
/// begins at a multiple of its element size, then the seal.
public struct ShardLayout: Sendable {
    /// The tensors with a payload, in the order of their entries.
    public let payloads: [TensorPlan]
    /// The tensors kept as they are, in the order of their entries.
    public let ordinary: [TensorPlan]
    /// Bytes from the start of the file to the first payload: length field, header, its padding.
    public let dataStart: UInt64

    /// Lays out a shard.
    ///
    /// - Throws: `reservedName`; `headerTooLarge` where no reader would accept the header.
    public init(_ plans: [TensorPlan], limits: Limits = .standard) throws {
        for plan in plans where ContainerFormat.isReserved(plan.tensor.name) {
            throw IngotError(
                .reservedName, tensor: plan.tensor.name, found: "a name Ingot uses itself",
                expected: "names that do not begin with `__ingot_`", remedy: "rename the tensor in the source")
        }
        payloads = plans.filter { $0.descriptor != nil }
        ordinary = plans.enumerated().filter { $0.element.descriptor == nil }.sorted { a, b in
            let (x, y) = (a.element.tensor.elementType.alignment, b.element.tensor.elementType.alignment)
            return x == y ? a.offset < b.offset : x > y
        }.map(\.element)
        // Offsets are the only numbers of the header that are not known yet: reserve the most digits they can have.
        let widest: UInt64 = 9_999_999_999_999_999
        let everything = ShardLayout.entries(payloads, ordinary).map { ($0, widest, widest) }
        let bound = ShardLayout.headerText(payloads.map { ($0.tensor.name, $0.descriptor) }, everything, widest)
        let length = UInt64(bound.utf8.count)
        guard length <= limits.headerBytes, let start = Checked.roundUp(8 + length, to: ContainerFormat.alignment)
        else {
            throw IngotError(
                .headerTooLarge, found: "a header of \(length) bytes for \(plans.count) tensors in one shard",
                expected: "at most \(limits.headerBytes) bytes", remedy: "split the source into more shards")
        }
        dataStart = start
    }

    /// The first bytes of the file, exactly `dataStart` of them.
    func header(
        descriptors: [TensorDescriptor], payloadBytes: [UInt64], sealBytes: UInt64
    ) -> [UInt8] {
        var offset: UInt64 = 0
        var placed: [(Entry, UInt64, UInt64)] = []
        let sizes = payloadBytes + ordinary.map(\.tensor.range.count)
        for (entry, size) in zip(ShardLayout.entries(payloads, ordinary), sizes) {
            placed.append((entry, offset, offset + size))
            offset += size
        }
        let names = zip(payloads, descriptors).map { ($0.tensor.name, Optional($1)) }
        let text = ShardLayout.headerText(names, placed, offset, sealBytes: sealBytes)
        var bytes: [UInt8] = []
        LittleEndian.append(dataStart - 8, to: &bytes)
        bytes += text.utf8
        precondition(bytes.count <= Int(dataStart), "the header outgrew its bound")
        bytes += [UInt8](repeating: 0x20, count: Int(dataStart) - bytes.count)
        return bytes
    }

    private typealias Entry = (name: TensorName, elementType: ElementType, shape: Shape?)

    /// All entries but the seal's; a payload's shape is its length in bytes, known later.
    private static func entries(_ payloads: [TensorPlan], _ ordinary: [TensorPlan]) -> [Entry] {
        payloads.map { ($0.tensor.name, .u8, nil) }
            + ordinary.map { ($0.tensor.name, $0.tensor.elementType, $0.tensor.shape) }
    }

    private static func headerText(
        _ descriptors: [(TensorName, TensorDescriptor?)], _ entries: [(Entry, UInt64, UInt64)], _ sealStart: UInt64,
        sealBytes: UInt64? = nil
    ) -> String {
        let version = ContainerFormat.version
        let about =
            "{\"version\":\(version),\"required_features\":[],\"optional_features\":[],\"writer\":"
            + JSONValue.string(ContainerFormat.writer).text() + ",\"codecs\":"
            + JSONValue.string(CodecLibraries.versions).text() + "}"
        var text = "{\"__metadata__\":{\"format\":\"ingot\",\"\(ContainerFormat.metadataKey)\":"
        JSONValue.writeString(about, to: &text)
        for (name, descriptor) in descriptors {
            text += ","
            JSONValue.writeString(ContainerFormat.tensorKeyPrefix + name.text, to: &text)
            text += ":"
            JSONValue.writeString(descriptor?.text() ?? "", to: &text)
        }
        text += "}"
        for ((name, elementType, shape), begin, end) in entries {
            let dimensions = shape.map { $0.dimensions.map(String.init).joined(separator: ",") } ?? String(end - begin)
            append(
                name, elementType, sealBytes == nil && shape == nil ? String(end) : dimensions, begin, end, to: &text)
        }
        let seal = sealBytes ?? sealStart
        let end = sealBytes == nil ? sealStart : sealStart + seal
        append(ContainerFormat.sealName, .u8, String(seal), sealStart, end, to: &text)
        return text + "}"
    }

    private static func append(
        _ name: TensorName, _ elementType: ElementType, _ dimensions: String, _ begin: UInt64, _ end: UInt64,
        to text: inout String
    ) {
        text += ","
        JSONValue.writeString(name.text, to: &text)
        text += ":{\"dtype\":\"\(elementType.rawValue)\",\"shape\":[\(dimensions)],\"data_offsets\":[\(begin),\(end)]}"
    }
}
