package import TensorModel

/// The format of a checkpoint's file.
package enum FileFormat: String, Sendable, Hashable {
    case safetensors, gguf, pytorch, numpy
}

/// The content of a checkpoint's file, independent of its format.
package struct ShardHeader: Sendable {
    /// A second name for a tensor.
    package struct Alias: Sendable, Hashable {
        /// The second name, which has no bytes of its own.
        package let name: TensorName
        /// The name under which the bytes are stored.
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
    /// The tensors that the file stores, in the order of their bytes. They differ from `tensors` if some are codes that are decoded.
    package let storedTensors: [StoredTensor]
    /// What stored tensors are to decoded ones; empty if none are decoded.
    package private(set) var roles: [TensorName: QuantizedForm.Role] = [:]
    /// The file's metadata as text, in the order of the file.
    package let metadata: [SafetensorsHeader.MetadataEntry]
    /// Offset in the file of the first byte of data. Everything before it describes the data.
    package let dataStart: UInt64
    /// Number of bytes in the file that describe its data, in any place.
    package let headerByteCount: UInt64
    /// Parts of the file with the CRC-32 that it states for them. `Shard.checkRecords()` checks them.
    package let checksums: [RecordChecksum]
    /// Second names of tensors, as tied weights have them.
    package let aliases: [Alias]
    /// Oddities of the file.
    package let warnings: [IngotWarning]
    /// What the file says about the model; nil if it says nothing. Only GGUF files say something.
    package let model: ModelDescription?
    /// Where the metadata of a GGUF file is that a conversion carries over; nil for other formats.
    package let carriedMetadata: GGUFMetadataBytes?
    /// In a safetensors file, the first field of a tensor that the format does not define; otherwise nil.
    package private(set) var unknownField: SafetensorsHeader.UnknownField?

    /// Makes a header from its parts. Without `headerByteCount`, everything before `dataStart` counts as header.
    package init(
        _ format: FileFormat, tensors: [StoredTensor], metadata: [SafetensorsHeader.MetadataEntry] = [],
        dataStart: UInt64, aliases: [Alias] = [], warnings: [IngotWarning] = [], headerByteCount: UInt64? = nil,
        checksums: [RecordChecksum] = [], model: ModelDescription? = nil,
        carriedMetadata: GGUFMetadataBytes? = nil
    ) {
        self.format = format
        self.tensors = tensors
        storedTensors = tensors
        self.metadata = metadata
        self.dataStart = dataStart
        self.headerByteCount = headerByteCount ?? dataStart
        self.checksums = checksums
        self.aliases = aliases
        self.warnings = warnings
        self.model = model
        self.carriedMetadata = carriedMetadata
    }

    fileprivate init(
        _ header: ShardHeader, _ decoded: [StoredTensor], _ roles: [TensorName: QuantizedForm.Role], _ aliases: [Alias]
    ) {
        format = header.format
        tensors = decoded
        storedTensors = header.tensors
        self.roles = roles
        metadata = header.metadata
        dataStart = header.dataStart
        headerByteCount = header.headerByteCount
        checksums = header.checksums
        self.aliases = aliases
        warnings = header.warnings
        model = header.model
        carriedMetadata = header.carriedMetadata
        unknownField = header.unknownField
    }

    /// Makes the header of a safetensors file.
    package init(_ header: SafetensorsHeader) {
        self.init(
            .safetensors, tensors: header.tensors, metadata: header.metadata, dataStart: header.dataStart,
            warnings: header.warnings)
        unknownField = header.unknownField
    }
}

extension ShardHeader {
    /// The header of the same file with decoded tensors.
    ///
    /// - Parameter roles: what the stored tensors are that decoded ones consist of.
    func decoded(_ decoded: [StoredTensor], roles: [TensorName: QuantizedForm.Role]) -> ShardHeader {
        let names = Set(decoded.map(\.name))
        return ShardHeader(self, decoded, roles, aliases.filter { names.contains($0.target) })
    }
}
