package import TensorModel

/// The format of a file of a checkpoint.
package enum FileFormat: String, Sendable, Hashable {
    case safetensors, gguf, pytorch, numpy
}

/// What a file of a checkpoint holds, in neutral form, whatever its format.
package struct ShardHeader: Sendable {
    /// A name for a tensor that is stored under another one.
    package struct Alias: Sendable, Hashable {
        /// The name without bytes of its own.
        package let name: TensorName
        /// The name that its bytes are stored under.
        package let target: TensorName

        /// Makes an alias.
        package init(_ name: TensorName, of target: TensorName) {
            self.name = name
            self.target = target
        }
    }

    /// The format of the file.
    package let format: FileFormat
    /// The tensors, in the order of their bytes.
    package let tensors: [StoredTensor]
    /// What the file says of itself in text, in its order.
    package let metadata: [SafetensorsHeader.MetadataEntry]
    /// Offset in the file of the first byte of data: what is before describes it.
    package let dataStart: UInt64
    /// Bytes of the file that describe its data, wherever they are.
    package let headerByteCount: UInt64
    /// Parts of the file that it states a CRC-32 of; `Shard.checkRecords()` compares them.
    package let checksums: [RecordChecksum]
    /// Further names of tensors, as tied weights have them.
    package let aliases: [Alias]
    /// What was odd about the file.
    package let warnings: [IngotWarning]
    /// Of a safetensors file, the first field of a tensor that the format does not have.
    package private(set) var unknownField: SafetensorsHeader.UnknownField?

    /// Makes a header of its parts.
    package init(
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
    package init(_ header: SafetensorsHeader) {
        self.init(
            .safetensors, tensors: header.tensors, metadata: header.metadata, dataStart: header.dataStart,
            warnings: header.warnings)
        unknownField = header.unknownField
    }
}
