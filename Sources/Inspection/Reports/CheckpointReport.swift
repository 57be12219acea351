import Checkpoints
public import Container
import FileAccess
import Quantization
public import SystemPackage
public import TensorModel

/// What `inspect` says of a checkpoint, ours or a source.
public struct CheckpointReport: Sendable {
    /// A tensor of the checkpoint.
    public struct Tensor: Sendable {
        /// Its name.
        public let name: TensorName
        /// File it is in.
        public let fileName: String
        /// Element type and shape of the original.
        public let elementType: ElementType, shape: Shape
        /// Bytes it takes in the file.
        public let byteCount: UInt64
        /// What the header says of its payload; nil for a tensor kept as it is.
        public let descriptor: TensorDescriptor?

        /// Bits per element; nil for an empty tensor.
        public var bitsPerElement: Double? {
            shape.elementCount == 0 ? nil : Double(byteCount) * 8 / Double(shape.elementCount)
        }
    }

    /// A file with tensors.
    public struct File: Sendable {
        /// Its name.
        public let name: String
        /// Where its bytes go.
        public let account: ByteAccount
        /// Its `__metadata__`, without Ingot's own members.
        public let metadata: [JSONValue.Member]
    }

    /// The path that was inspected.
    public let path: FilePath
    /// Whether it is one of our checkpoints.
    public let isSealed: Bool
    /// The files.
    public let files: [File]
    /// The tensors, in order of the files.
    public let tensors: [Tensor]
    /// What is odd but stops nothing.
    public let warnings: [IngotWarning]

    /// Reads what there is to say: headers, and chunk tables of our own shards.
    public init(_ path: FilePath) throws {
        self.path = path
        isSealed = try SealedCheckpoint.isOne(path)
        var files: [File] = []
        var tensors: [Tensor] = []
        if isSealed {
            let checkpoint = try SealedCheckpoint(path)
            for shard in checkpoint.shards {
                let name = shard.file.path.lastComponent?.string ?? ""
                let fronts = try shard.payloads.map { try shard.front(of: $0) }
                files.append(
                    File(name: name, account: ByteAccount(shard, fronts: fronts), metadata: []))
                let payloads = shard.payloads.map { payload in
                    (
                        payload.range.start,
                        Tensor(
                            name: payload.name, fileName: name, elementType: payload.descriptor.format.elementType,
                            shape: payload.descriptor.shape, byteCount: payload.range.count,
                            descriptor: payload.descriptor)
                    )
                }
                let ordinary = shard.ordinary.map { ($0.range.start, CheckpointReport.plain($0, name)) }
                tensors += (payloads + ordinary).sorted { $0.0 < $1.0 }.map(\.1)
            }
            warnings = checkpoint.warnings
        } else {
            let checkpoint = try Checkpoint.open(path)
            for shard in checkpoint.shards {
                files.append(
                    File(
                        name: shard.fileName, account: ByteAccount(shard),
                        metadata: shard.header.metadata.map { .init($0.key, .string($0.value)) }))
                tensors += shard.header.tensors.map { CheckpointReport.plain($0, shard.fileName) }
            }
            warnings = checkpoint.warnings
        }
        self.files = files
        self.tensors = tensors
    }

    private static func plain(_ tensor: StoredTensor, _ fileName: String) -> Tensor {
        Tensor(
            name: tensor.name, fileName: fileName, elementType: tensor.elementType, shape: tensor.shape,
            byteCount: tensor.range.count, descriptor: nil)
    }

    /// Where the bytes of all files go.
    public var account: ByteAccount { files.reduce(ByteAccount()) { $0 + $1.account } }

    /// Number of elements of all tensors.
    public var elements: Int { tensors.reduce(0) { $0 + $1.shape.elementCount } }

    /// The report as JSON, schema `ingot.inspect` version 1 (Specs/json.md).
    public var json: JSONValue {
        .object([
            .init("schema", .string("ingot.inspect")), .init("schema_version", .unsigned(1)),
            .init("path", .string(path.string)), .init("format", .string(isSealed ? "ingot" : "safetensors")),
            .init("elements", .unsigned(UInt64(elements))), .init("bytes", account.json),
            .init(
                "files",
                .array(
                    files.map { file in
                        .object([
                            .init("name", .string(file.name)), .init("bytes", file.account.json),
                            .init("metadata", .object(file.metadata)),
                        ])
                    })),
            .init("tensors", .array(tensors.map(\.json))),
            .init("warnings", .array(warnings.map { .string(IngotErrorRenderer.text($0)) })),
        ])
    }
}

extension CheckpointReport.Tensor {
    var json: JSONValue {
        var members: [JSONValue.Member] = [
            .init("name", .string(name.text)), .init("file", .string(fileName)),
            .init("dtype", .string(elementType.rawValue)),
            .init("shape", .array(shape.dimensions.map { .unsigned(UInt64($0)) })),
            .init("bytes", .unsigned(byteCount)),
            .init("bits_per_element", bitsPerElement.map(JSONValue.number) ?? .null),
            .init("scheme", .string(descriptor?.scheme.name ?? "kept")),
        ]
        if let descriptor {
            members += descriptor.scheme.members
            members.append(.init("codec", .string(descriptor.codec.name)))
            members += descriptor.sums.json
            members.append(.init("source_xxh3_128", .string(descriptor.sourceHash.description)))
        }
        return .object(members)
    }
}
