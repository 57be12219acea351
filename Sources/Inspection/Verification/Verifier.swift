package import Checkpoints
package import Container
import FileAccess
import Publishing
import Quantization
import SystemPackage
package import TensorModel
import Weights
import Work

/// Verifies an Ingot checkpoint: every byte, the decoded weights, and, with the source, hashes and certificates.
///
/// Damaged bytes are thrown. Hashes and certificates that do not hold are collected in the report.
package struct Verifier: Sendable {
    /// The checkpoint.
    package let checkpoint: SealedCheckpoint
    /// The source to compare with; nil for none.
    package let source: Checkpoint?
    private let budget: MemoryBudget
    private let memory: UInt64, jobs: Int
    private let measures: Bool

    /// Prepares a verification; `memory` in bytes, `jobs` chunks at the same time.
    ///
    /// - Parameter measures: whether to gather statistics of weights and errors.
    package init(
        _ checkpoint: SealedCheckpoint, against source: Checkpoint?, memory: UInt64, jobs: Int, measures: Bool = true
    ) throws {
        self.checkpoint = checkpoint
        self.measures = measures
        self.source = source
        budget = try MemoryBudget(bytes: memory, jobs: jobs)
        (self.memory, self.jobs) = (memory, jobs)
    }

    /// Checks files, seals and chunks; with a source, also hashes, certificates and errors.
    ///
    /// - Parameter progress: called with a tensor, its file, and the bytes of it that were verified since the last call.
    package func run(
        progress: @escaping (TensorName, String, UInt64) -> Void = { _, _, _ in }
    ) async throws -> VerificationReport {
        let clock = ContinuousClock()
        let begin = clock.now
        try checkpoint.checkFiles()
        try checkpoint.checkConfiguration()
        var report = VerificationReport(
            comparison: source == nil ? nil : .source,
            sourceBytes: source?.shards.reduce(0) { $0 + $1.sizeBefore } ?? checkpoint.manifest.sourceBytes,
            outputBytes: checkpoint.shards.reduce(0) { $0 + $1.file.byteCount }, warnings: checkpoint.warnings)
        report.tensors.reserveCapacity(checkpoint.shards.reduce(0) { $0 + $1.payloads.count + $1.kept.count })
        var mismatches = Mismatches()
        for shard in checkpoint.shards { try await verify(shard, &report, &mismatches, progress) }
        if let source {
            report.failures += mismatches.failures
            let missing = findMissing(in: source, &report)
            if measures { report.values = try await exactness(&report, source, missing) }
        }
        report.seconds = (clock.now - begin).seconds
        return report
    }

    private func verify(
        _ shard: SealedShard, _ report: inout VerificationReport, _ mismatches: inout Mismatches,
        _ progress: @escaping (TensorName, String, UInt64) -> Void
    ) async throws {
        let file = shard.file.path.lastComponent?.string ?? ""
        let codes = Set(shard.payloads.lazy.filter(\.descriptor.holdsCodes).map(\.name))
        let calibrated = Dictionary(
            shard.payloads.compactMap { payload in payload.descriptor.calibrated.map { (payload.name, $0.sums) } },
            uniquingKeysWith: { first, _ in first })
        let verification = ShardVerification(shard, measures: measures) { original(of: $0, $1, $2) }
        for tensor in try await verification.run(budget, progress: { progress($0, file, $1) }) {
            let found = tensor.measurement
            // Kept tensors have no chunks with error sums; their error comes from the measured statistics.
            var reported =
                VerificationReport.Tensor(
                    name: tensor.name, scheme: tensor.scheme, certificate: tensor.certificate,
                    measured: tensor.measured ?? found?.errors?.sums, elements: tensor.elements,
                    byteCount: tensor.byteCount, sourceByteCount: tensor.sourceByteCount, errors: found?.errors,
                    restored: found?.restored, original: found?.original, restoredHistogram: found?.restoredHistogram)
            reported.calibrated = calibrated[tensor.name]
            reported.agreement = tensor.agreement
            reported.holdsCodes = codes.contains(tensor.name)
            report.tensors.append(reported)
            mismatches.check(tensor, shard.file.path)
        }
        shard.file.finishReading()
        for source in source?.shards ?? [] { source.file.finishReading() }
    }

    // MARK: - Source

    private func original(
        of name: TensorName, _ elementType: ElementType, _ shape: Shape
    ) -> TensorBytes? {
        guard let (shard, tensor) = source?.tensor(named: name), tensor.elementType == elementType,
            tensor.shape == shape
        else { return nil }
        return shard.bytes(of: tensor)
    }

    /// Adds a failure for each tensor of the source that the checkpoint lacks; returns these tensors.
    private func findMissing(in source: Checkpoint, _ report: inout VerificationReport) -> [StoredTensor] {
        let known = Set(report.tensors.map(\.name))
        var missing: [StoredTensor] = []
        for shard in source.shards {
            for tensor in shard.header.tensors where !known.contains(tensor.name) {
                missing.append(tensor)
                report.failures.append(
                    IngotError(
                        .sourceMismatch, file: shard.file.path.string, tensor: tensor.name,
                        found: PlainVerification.missingTensor,
                        remedy: "verify against the source it was converted from"))
            }
        }
        return missing
    }

    // MARK: - Values

    /// Whether the weights are the source's. Compares the tensors whose values the verification did not compare, because the source's tensor
    /// has another type, or because they are no weights and their hashes differ.
    private func exactness(
        _ report: inout VerificationReport, _ source: Checkpoint, _ missing: [StoredTensor]
    ) async throws -> ValueExactness {
        let open = report.tensors.indices.filter { report.tensors[$0].agreement == nil }
        if !open.isEmpty {
            let own = Dictionary(
                OpenedCheckpoint(checkpoint).tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
            let originals = Dictionary(
                OpenedCheckpoint(source).tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
            var pairs: [(index: Int, pair: ValueComparison.Pair)] = []
            for index in open {
                let name = report.tensors[index].name
                if let own = own[name], let original = originals[name] {
                    pairs.append((index, ValueComparison.Pair(own, original)))
                } else {
                    report.tensors[index].agreement = .incomparable(PlainVerification.addedTensor)
                }
            }
            let found = try await ValueComparison(memory: memory, jobs: jobs).run(pairs.map(\.pair))
            for (item, agreement) in zip(pairs, found) { report.tensors[item.index].agreement = agreement }
        }
        return ValueExactness(
            report.tensors.map { ValueExactness.Tensor($0.name, elements: $0.elements, $0.agreement ?? .equal) }
                + missing.map {
                    ValueExactness.Tensor(
                        $0.name, elements: $0.shape.elementCount, .incomparable(PlainVerification.missingTensor))
                })
    }
}

extension ShardVerification.Tensor {
    /// How the values compare with the source's; nil if they were not compared.
    fileprivate var agreement: ValueAgreement? {
        guard isFound else { return nil }
        if let measurement, measurement.errors != nil { return ValueAgreement(measurement.differences) }
        return hashMatches && scheme == "kept" || elements == 0 ? .equal : nil
    }
}

/// Tensors that differ from the source, or whose error differs from the certificate.
private struct Mismatches {
    private var broken: [(tensor: ShardVerification.Tensor, path: FilePath)] = []
    private var owners: [ContentHash: TensorName] = [:]

    mutating func check(_ tensor: ShardVerification.Tensor, _ path: FilePath) {
        owners[tensor.sealedHash] = owners[tensor.sealedHash] ?? tensor.name
        if !tensor.holds { broken.append((tensor, path)) }
    }

    /// Errors for the report. If a tensor has the bytes of another tensor, the error names that tensor.
    var failures: [IngotError] {
        let otherSource: Remedy = "verify against the source it was converted from"
        return broken.map { tensor, path in
            func failure(_ code: IngotError.Code, _ found: String, _ remedy: Remedy) -> IngotError {
                IngotError(code, file: path.string, tensor: tensor.name, found: found, remedy: remedy)
            }
            guard tensor.isFound else {
                return failure(
                    .sourceMismatch, "the source has no such tensor of the same type and shape", otherSource)
            }
            guard !tensor.hashMatches else {
                return failure(
                    .certificateMismatch, "an error against the source that is not the certificate's",
                    "convert the source again; the checkpoint claims what it does not keep")
            }
            if let owner = tensor.sourceHash.flatMap({ owners[$0] }) {
                return failure(
                    .sourceMismatch, "the source's bytes are those that became `\(owner.text)` here",
                    .both(otherSource, "unless both were exchanged in the checkpoint: then convert again"))
            }
            return failure(
                .sourceMismatch, "the source's bytes have another hash than the converted tensor's", otherSource)
        }
    }
}
