package import Architectures
package import Checkpoints
package import Container
import FileAccess
package import Quantization
package import SystemPackage
package import TensorModel
package import Weights

/// Report of `inspect` about a checkpoint of any format.
package struct CheckpointReport: Sendable {
    /// A tensor of the checkpoint.
    package struct Tensor: Sendable {
        /// The tensor as it is stored.
        package let stored: StoredWeights
        /// Whether its values are weights, so that they count in the figures of groups: floats that are no codes or scales of another
        /// quantizer.
        package let holdsWeights: Bool
        /// Statistics of the decoded weights; nil if weights were not read, and for F4, F6 and C64.
        package internal(set) var statistics: WeightStatistics?
        /// Statistics of the slice of each expert; empty if they were not read.
        package internal(set) var slices: [WeightStatistics] = []

        /// A warning about scales that are zero, NaN or infinite; nil if there are none.
        var scaleWarning: IngotWarning? {
            guard let coded = statistics?.coded, coded.zeros + coded.notFinite > 0 else { return nil }
            var texts: [String] = []
            if coded.zeros > 0 {
                texts.append("\(coded.zeros) of \(coded.scales) scales are zero: their weights are zero")
            }
            if coded.notFinite > 0 { texts.append("\(coded.notFinite) of \(coded.scales) scales are NaN or infinite") }
            return IngotWarning(
                file: stored.file.path.string, tensor: name, texts.joined(separator: "; "))
        }

        /// Its name.
        package var name: TensorName { stored.name }
        /// Its kind and layer in the model.
        package var role: TensorRole { stored.role }
        /// Name of its file.
        package var fileName: String { stored.fileName }
        /// Element type of the original tensor.
        package var elementType: ElementType { stored.elementType }
        /// Name of the element type of the original tensor; nil if Ingot cannot read the tensor.
        package var elementTypeName: String? { stored.isReadable ? elementType.rawValue : nil }
        /// Shape of the original tensor.
        package var shape: Shape { stored.shape }
        /// Bytes in the file.
        package var byteCount: UInt64 { stored.byteCount }
        /// Description of the payload in the header; nil for a kept tensor.
        package var descriptor: TensorDescriptor? { stored.descriptor }
        /// Bits per element; nil for an empty tensor.
        package var bitsPerElement: Double? { stored.bitsPerElement }
    }

    /// A weight file.
    package struct File: Sendable {
        /// Its name.
        package let name: String
        /// Its size in bytes.
        package let byteCount: UInt64
        /// Bytes of each part of the file.
        package let account: ByteAccount
        /// Entries of `__metadata__`, without Ingot's own. In an Ingot shard: those of the source's shard, if they were carried over.
        package let metadata: [JSONValue.Member]
    }

    /// Path that was inspected.
    package let path: FilePath
    /// Whether this is an Ingot checkpoint.
    package let isSealed: Bool
    /// Name of the format (`OpenedCheckpoint.formatName`).
    package let formatName: String
    /// What the files say about the model; nil if they say nothing.
    package let model: ModelDescription?
    /// Elements of all tensors, also of tensors that `select` removed.
    package let elements: Int
    /// Number of tensors of the checkpoint.
    package let tensorCount: Int
    /// The codes of other quantizers that the checkpoint has, those with the most weights first; empty if it has none.
    package let quantization: [SourceQuantization]
    /// The weight files.
    package let files: [File]
    /// The tensors that `select` and `order` kept, in the order of the files until `order` is called.
    package private(set) var tensors: [Tensor]
    /// Whether weights were read.
    package private(set) var weightsRead = false
    /// Warnings to show to the user; `readWeights` adds those about scales.
    package private(set) var warnings: [IngotWarning]

    private let checkpoint: OpenedCheckpoint

    /// Opens a checkpoint and reads its headers, and the chunk tables of Ingot shards.
    package init(_ path: FilePath) throws { try self.init(try OpenedCheckpoint(path)) }

    /// Describes an opened checkpoint from its headers, and the chunk tables of Ingot shards.
    package init(_ checkpoint: OpenedCheckpoint) throws {
        self.checkpoint = checkpoint
        path = checkpoint.path
        isSealed = checkpoint.isSealed
        formatName = checkpoint.formatName
        let described = checkpoint.describedModel()
        model = described.model
        warnings = checkpoint.warnings + [described.warning].compactMap { $0 }
        let parts = QuantizedTensors.parts(of: checkpoint.tensors.map { ($0.name, $0.elementType) })
        tensors = checkpoint.tensors.map { tensor in
            Tensor(
                stored: tensor,
                holdsWeights: tensor.isReadable && tensor.elementType.isFloat && !parts.contains(tensor.name))
        }
        quantization = SourceQuantization.kinds(of: checkpoint.tensors)
        tensorCount = tensors.count
        elements = tensors.reduce(0) { $0 + $1.shape.elementCount }
        switch checkpoint.content {
        case .sealed(let checkpoint):
            files = try checkpoint.shards.map { shard in
                File(
                    name: shard.file.path.lastComponent?.string ?? "", byteCount: shard.file.byteCount,
                    account: try ByteAccount(shard),
                    metadata: shard.sourceMetadata.map { .init($0.key, .string($0.value)) })
            }
        case .plain(let checkpoint):
            files = checkpoint.shards.map { shard in
                File(
                    name: shard.fileName, byteCount: shard.file.byteCount, account: ByteAccount(shard),
                    metadata: shard.header.metadata.map { .init($0.key, .string($0.value)) })
            }
        }
    }

    /// Keeps the tensors whose name matches at least one pattern; an empty list keeps all.
    package mutating func select(_ patterns: [NamePattern]) {
        guard !patterns.isEmpty else { return }
        tensors.removeAll { tensor in !patterns.contains { $0.matches(tensor.name) } }
    }

    /// Reads the weights of the kept tensors and sets their statistics.
    ///
    /// - Parameters:
    ///   - slicesExperts: whether to set the statistics of the slices of experts too.
    ///   - progress: called regularly with the current tensor and the bytes of all finished tensors.
    package mutating func readWeights(
        by reader: StatisticsReader, slicesExperts: Bool = false,
        progress: @escaping (StoredWeights, UInt64) -> Void = { _, _ in }
    ) async throws {
        let names = Set(tensors.map(\.name))
        try checkpoint.checkRecords { names.contains($0) }
        let statistics = try await reader.read(
            tensors.map(\.stored), slicesExperts: slicesExperts, progress: progress)
        for (index, found) in statistics.enumerated() {
            (tensors[index].statistics, tensors[index].slices) = (found.whole, found.slices)
        }
        weightsRead = true
        warnings += tensors.compactMap(\.scaleWarning)
    }

    /// Sorts the tensors by `key` and keeps the first `maximum`, or all if `maximum` is nil.
    package mutating func order(by key: TensorOrder, top maximum: Int? = nil) {
        tensors = key.ordered(tensors, top: maximum) { TensorFigures($0) }
    }

    /// Bytes of each part, over all files.
    package var account: ByteAccount { files.reduce(ByteAccount()) { $0 + $1.account } }

    /// Bytes of all files.
    package var fileBytes: UInt64 { files.reduce(0) { $0 + $1.byteCount } }
}
