public import Checkpoints
public import Container
import Conversion
import FileAccess
import Quantization
import SystemPackage
import TensorModel

/// Checks a checkpoint of ours: every byte, and, with the source, every claim.
///
/// Broken bytes are thrown. Claims that do not hold are collected, so that one report names them all.
public struct Verifier: Sendable {
    /// The checkpoint.
    public let checkpoint: SealedCheckpoint
    /// The source to compare with, if there is one.
    public let source: Checkpoint?
    private let budget: MemoryBudget

    /// Prepares a verification.
    public init(_ checkpoint: SealedCheckpoint, against source: Checkpoint?, memory: UInt64, jobs: Int) throws {
        self.checkpoint = checkpoint
        self.source = source
        budget = try MemoryBudget(bytes: memory, jobs: jobs)
    }

    /// Checks files, seals, chunks and certificates, and with a source hashes and errors.
    public func run() async throws -> VerificationReport {
        let clock = ContinuousClock()
        let begin = clock.now
        try checkpoint.checkFiles()
        try checkIndex()
        var report = VerificationReport(compared: source != nil, warnings: checkpoint.warnings)
        let pipeline = budget.pipeline()
        for shard in checkpoint.shards { try await verify(shard, pipeline, &report) }
        if let source { findMissing(in: source, &report) }
        let time = clock.now - begin
        report.seconds = Double(time.components.seconds) + Double(time.components.attoseconds) / 1e18
        return report
    }

    private func verify(
        _ shard: SealedShard, _ pipeline: OrderedPipeline<ChunkWorkspace>, _ report: inout VerificationReport
    ) async throws {
        let verification = ShardVerification(shard) { original(of: $0, $1, $2) }
        for tensor in try await verification.run(pipeline) {
            report.tensors.append(
                VerificationReport.Tensor(
                    name: tensor.name, scheme: tensor.scheme, certificate: tensor.certificate,
                    measured: tensor.measured, role: TensorRole(tensor.name), elements: 0, byteCount: 0,
                    sourceByteCount: nil, errors: nil, restored: nil, original: nil))
            guard source != nil else { continue }
            report.check(
                tensor.name, shard.file.path, found: tensor.isFound, hashMatches: tensor.hashMatches,
                certificateHolds: tensor.certificateHolds)
        }
    }

    // MARK: - Source and index

    private func original(
        of name: TensorName, _ elementType: ElementType, _ shape: Shape
    ) -> (range: ByteRange, file: MappedFile)? {
        guard let (shard, tensor) = source?.tensor(named: name), tensor.elementType == elementType,
            tensor.shape == shape
        else { return nil }
        return (tensor.range, shard.file)
    }

    private func findMissing(in source: Checkpoint, _ report: inout VerificationReport) {
        let known = Set(report.tensors.map(\.name))
        for shard in source.shards {
            for tensor in shard.header.tensors where !known.contains(tensor.name) {
                report.failures.append(
                    IngotError(
                        .sourceMismatch, file: shard.file.path.string, tensor: tensor.name,
                        found: "a tensor of the source that the checkpoint does not have",
                        remedy: "verify against the source it was converted from"))
            }
        }
    }

    /// Requires that the index of several shards names each tensor's shard, no more and no less.
    private func checkIndex() throws {
        guard checkpoint.shards.count > 1 else { return }
        let path = checkpoint.path.appending(ShardIndexWriter.fileName)
        guard checkpoint.manifest.files.contains(where: { $0.name == ShardIndexWriter.fileName }) else {
            throw IngotError(
                .missingShard, file: path.string, found: "several shards without an index in the manifest",
                expected: "an index that names each tensor's shard")
        }
        let value: JSONValue
        do {
            value = try JSONValue.parse(try WholeFile.read(path, limit: Limits.standard.documentBytes))
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
        let expected = checkpoint.shards.flatMap { shard in
            (shard.payloads.map(\.name) + shard.ordinary.map(\.name)).map {
                JSONValue.Member($0.text, .string(shard.file.path.lastComponent?.string ?? ""))
            }
        }
        let found = value["weight_map"]?.object ?? []
        guard found.count == expected.count, Set(found.map(IndexEntry.init)) == Set(expected.map(IndexEntry.init))
        else {
            throw IngotError(
                .indexMismatch, file: path.string, found: "an index that names other tensors than the shards hold")
        }
    }

    private struct IndexEntry: Hashable {
        let name: TensorName
        let shard: TensorName?

        init(_ member: JSONValue.Member) {
            name = TensorName(member.key)
            shard = member.value.string.map { TensorName($0) }
        }
    }
}
