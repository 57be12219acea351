package import Architectures
import Checkpoints
package import Container
import FileAccess
package import Quantization
package import SystemPackage
package import TensorModel
package import Weights

/// What `inspect` says of a checkpoint, ours or a source.
package struct CheckpointReport: Sendable {
    /// A tensor of the checkpoint.
    package struct Tensor: Sendable {
        /// The tensor as it is stored.
        package let stored: StoredWeights
        /// What its weights, as they are restored, have to say; nil where they were not read, or are no numbers of a kind we read.
        package internal(set) var statistics: WeightStatistics?

        /// Its name.
        package var name: TensorName { stored.name }
        /// What it does in its model.
        package var role: TensorRole { stored.role }
        /// File it is in.
        package var fileName: String { stored.fileName }
        /// Element type of the original.
        package var elementType: ElementType { stored.elementType }
        /// Shape of the original.
        package var shape: Shape { stored.shape }
        /// Bytes it takes in the file.
        package var byteCount: UInt64 { stored.byteCount }
        /// What the header says of its payload; nil for a tensor kept as it is.
        package var descriptor: TensorDescriptor? { stored.descriptor }
        /// Bits per element; nil for an empty tensor.
        package var bitsPerElement: Double? { stored.bitsPerElement }
    }

    /// A file with tensors.
    package struct File: Sendable {
        /// Its name.
        package let name: String
        /// Its size.
        package let byteCount: UInt64
        /// Where its bytes go.
        package let account: ByteAccount
        /// Its `__metadata__`, without Ingot's own members; of one of our shards, its source's, where that was carried over.
        package let metadata: [JSONValue.Member]
    }

    /// The path that was inspected.
    package let path: FilePath
    /// Whether it is one of our checkpoints.
    package let isSealed: Bool
    /// The name of its format (`OpenedCheckpoint.formatName`).
    package let formatName: String
    /// Number of elements of all tensors, those left out of `tensors` too.
    package let elements: Int
    /// How many tensors the checkpoint has.
    package let tensorCount: Int
    /// The files.
    package let files: [File]
    /// The tensors, in order of the files; those that `select` has left.
    package private(set) var tensors: [Tensor]
    /// Whether statistics were taken.
    package private(set) var weightsRead = false
    /// What is odd but stops nothing.
    package let warnings: [IngotWarning]

    private let checkpoint: OpenedCheckpoint

    /// Reads what there is to say without weights: headers, and chunk tables of our own shards.
    package init(_ path: FilePath) throws { try self.init(try OpenedCheckpoint(path)) }

    /// Reads what there is to say of a checkpoint without weights.
    package init(_ checkpoint: OpenedCheckpoint) throws {
        self.checkpoint = checkpoint
        path = checkpoint.path
        isSealed = checkpoint.isSealed
        formatName = checkpoint.formatName
        warnings = checkpoint.warnings
        tensors = checkpoint.tensors.map { Tensor(stored: $0, statistics: nil) }
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

    /// Keeps only the tensors whose names match one of the patterns; all of them where there is none.
    package mutating func select(_ patterns: [NamePattern]) {
        guard !patterns.isEmpty else { return }
        tensors.removeAll { tensor in !patterns.contains { $0.matches(tensor.name) } }
    }

    /// Reads the weights of the tensors there are.
    ///
    /// - Parameter progress: called now and then with the tensor under way, and the bytes of all tensors that are done.
    package mutating func readWeights(
        by reader: StatisticsReader, progress: @escaping (StoredWeights, UInt64) -> Void = { _, _ in }
    ) async throws {
        let names = Set(tensors.map(\.name))
        try checkpoint.checkRecords { names.contains($0) }
        let statistics = try await reader.read(tensors.map(\.stored), progress: progress)
        for (index, found) in statistics.enumerated() { tensors[index].statistics = found }
        weightsRead = true
    }

    /// Orders the tensors; the `most` first of them stay, or all.
    package mutating func order(by key: TensorOrder, top most: Int? = nil) {
        tensors = key.ordered(tensors, top: most) { TensorFigures($0) }
    }

    /// Where the bytes of all files go.
    package var account: ByteAccount { files.reduce(ByteAccount()) { $0 + $1.account } }

    /// Bytes of all files.
    package var fileBytes: UInt64 { files.reduce(0) { $0 + $1.byteCount } }
}
