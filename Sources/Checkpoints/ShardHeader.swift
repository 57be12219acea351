public import TensorModel

/// The format of a file of a checkpoint.
public enum FileFormat: String, Sendable, Hashable {
    case safetensors, gguf, pytorch, numpy
}

/// What a file of a checkpoint holds, in neutral form, whatever its format.
public struct ShardHeader: Sendable {
    /// A name for a tensor that is stored under another one.
    public struct Alias: Sendable, Hashable {
        /// The name without bytes of its own.
        public let name: TensorName
        /// The name that its bytes are stored under.
        public let target: TensorName

        /// Makes an alias.
        public init(_ name: TensorName, of target: TensorName) {
            self.name = name
            self.target = target
        }
    }

    /// The format of the file.
    public let format: FileFormat
    /// The tensors, in the order of their bytes.
    public let tensors: [StoredTensor]
    /// What the file says of itself in text, in its order.
    public let metadata: [SafetensorsHeader.MetadataEntry]
    /// Offset in the file of the first byte of data: what is before describes it.
    public let dataStart: UInt64
    /// Bytes of the file that describe its data, wherever they are.
    public let headerByteCount: UInt64
    /// Parts of the file that it states a CRC-32 of; `Shard.checkRecords()` compares them.
    public let checksums: [RecordChecksum]
    /// Further names of tensors, as tied weights have them.
    public let aliases: [Alias]
    /// What was odd about the file.
    public let warnings: [IngotWarning]
    /// Of a safetensors file, the first field of a tensor that the format does not have.
    public private(set) var unknownField: SafetensorsHeader.UnknownField?

    /// Makes a header of its parts.
    public init(
        _ format: FileFormat, tensors: [StoredTensor], metadata: [SafetensorsHeader.MetadataEntry] = [],
        dataStart: UInt64, aliases: [Alias] = [], warnings: [IngotWarning] = [], headerByteCount: UInt64? = nil,
        checksums: [RecordChecksum] = []
    ) {
        self.format = format
        self.tensors = tensors
        self.metadata = metadata
        self.dataStart = dataStart
        self.headerByteCount = headerByteCount ?? dataStart
        self.checksums = checksums
        self.aliases = aliases
        self.warnings = warnings
    }

    /// The header of a safetensors file.
    public init(_ header: SafetensorsHeader) {
        self.init(
            .safetensors, tensors: header.tensors, metadata: header.metadata, dataStart: header.dataStart,
            warnings: header.warnings)
        unknownField = header.unknownField
    }
}
