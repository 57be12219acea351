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

    // MARK: - Shards

    private func verify(
        _ shard: SealedShard, _ pipeline: OrderedPipeline<ChunkWorkspace>, _ report: inout VerificationReport
    ) async throws {
        try shard.checkSealPadding()
        let payloads = shard.payloads
        let fronts = try payloads.map { try shard.front(of: $0) }
        let originals = payloads.map { original(of: $0.name, $0.descriptor.format.elementType, $0.descriptor.shape) }
        let jobs = ChunkJob.all(fronts.map(\.count))
        var stored = ErrorSums.zero
        var measured = ErrorSums.zero
        var agrees = true
        var hasher = ContentHasher()
        try await pipeline.run(jobs) { job, workspace in
            let payload = payloads[job.payload]
            try workspace.decode(
                chunk: job.chunk, entry: fronts[job.payload][job.chunk], of: payload, in: shard.file)
            if let (range, file) = originals[job.payload] {
                try workspace.compare(chunk: job.chunk, of: range, in: file, as: payload.prologue)
            }
        } consume: { job, workspace in
            try Interruption.check()
            let payload = payloads[job.payload]
            let entry = fronts[job.payload][job.chunk]
            if job.chunk == 0 {
                (stored, measured, agrees, hasher) = (.zero, .zero, true, ContentHasher())
            }
            stored = stored + entry.sums
            if let (range, file) = originals[job.payload] {
                try workspace.hashSource(
                    into: hasher, chunk: job.chunk, of: range, in: file, as: payload.prologue)
                measured = measured + workspace.measured
                agrees = agrees && workspace.measured == entry.sums
            }
            guard job.chunk == fronts[job.payload].count - 1 else { return }
            guard stored == payload.descriptor.sums else {
                throw IngotError(
                    .payloadInvalid, file: shard.file.path.string, tensor: payload.name, offset: payload.range.start,
                    found: "error sums of the chunks that do not add up to the certificate")
            }
            report.tensors.append(
                VerificationReport.Tensor(
                    name: payload.name, scheme: payload.descriptor.scheme.summary,
                    certificate: payload.descriptor.sums,
                    measured: originals[job.payload] == nil ? nil : measured))
            guard source != nil else { return }
            report.check(
                payload.name, shard.file.path, found: originals[job.payload] != nil,
                hashMatches: hasher.finish() == payload.descriptor.sourceHash, certificateHolds: agrees)
        }
        for tensor in shard.ordinary { try verify(tensor, of: shard, &report) }
    }

    private func verify(_ tensor: StoredTensor, of shard: SealedShard, _ report: inout VerificationReport) throws {
        try Interruption.check()
        let sealed = try shard.checkOrdinary(tensor)
        report.tensors.append(
            VerificationReport.Tensor(name: tensor.name, scheme: "kept", certificate: .zero, measured: nil))
        guard source != nil else { return }
        let original = original(of: tensor.name, tensor.elementType, tensor.shape)
        let hash = try original.map { try $0.file.hash(of: $0.range) }
        report.check(
            tensor.name, shard.file.path, found: original != nil, hashMatches: hash == sealed,
            certificateHolds: true)
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
