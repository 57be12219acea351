import Container
import FileAccess
import Quantization
import SystemPackage
package import TensorModel
package import Weights
import Work

/// Verifies a checkpoint by its weights only: an export, or an Ingot checkpoint against a checkpoint it was not converted from.
///
/// Both must have the same tensors with the same shapes, and non-float tensors must have the same bytes. Element
/// types of floating-point tensors may differ. Errors of weights are measured and not judged.
package struct PlainVerification: Sendable {
    private let checkpoint: OpenedCheckpoint, source: OpenedCheckpoint
    private let comparison: TensorComparison
    private let bytes: ByteComparison

    /// Prepares a verification; `memory` in bytes, `jobs` pieces at the same time.
    package init(_ checkpoint: OpenedCheckpoint, against source: OpenedCheckpoint, memory: UInt64, jobs: Int) throws {
        self.checkpoint = checkpoint
        self.source = source
        comparison = try TensorComparison(memory: memory, jobs: jobs, wantsStatistics: true)
        bytes = ByteComparison(memory: memory, jobs: jobs)
    }

    /// Compares every tensor with the tensor of the same name in the source.
    ///
    /// - Throws: errors of reading; damage of an encoded tensor names the tensor.
    /// - Parameter progress: called with a tensor, its file, and its bytes, after it was compared.
    package func run(
        progress: @escaping (TensorName, String, UInt64) -> Void = { _, _, _ in }
    ) async throws -> VerificationReport {
        let clock = ContinuousClock()
        let begin = clock.now
        var result = VerificationReport(
            comparison: .weights, format: checkpoint.formatName, sourceBytes: source.sizeBefore,
            outputBytes: checkpoint.fileBytes, warnings: checkpoint.warnings)
        try checkpoint.checkKept { _ in true }
        try source.checkKept { _ in true }
        let originals = Dictionary(source.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        var matched: [(own: StoredWeights, original: StoredWeights)] = []
        for own in checkpoint.tensors {
            guard let original = originals[own.name] else {
                result.failures.append(failure(own, "a tensor that the source does not have"))
                continue
            }
            guard own.shape == original.shape else {
                result.failures.append(
                    failure(own, "the shape \(own.shape)", expected: "\(original.shape), as in the source"))
                continue
            }
            matched.append((own, original))
        }
        let names = Set(checkpoint.tensors.map(\.name))
        for original in source.tensors where !names.contains(original.name) {
            result.failures.append(
                IngotError(
                    .sourceMismatch, file: original.file.path.string, tensor: original.name,
                    found: "a tensor of the source that the checkpoint does not have",
                    remedy: PlainVerification.remedy))
        }
        let errors = try await weights(of: matched, progress)
        let same = try await bytes(of: matched)
        for (index, (own, original)) in matched.enumerated() {
            let found = errors[index]
            if let found, found.changedNonFinite > 0 {
                result.failures.append(
                    failure(
                        own, "\(found.changedNonFinite) weights that are NaN or infinite here or in the source",
                        expected: "the same weights NaN or infinite in both"))
            }
            if found == nil, same[index] != true {
                result.failures.append(
                    failure(own, "\(own.elementType.rawValue) of other bytes than the source's tensor"))
            }
            result.tensors.append(report(own, original, found))
        }
        result.seconds = (clock.now - begin).seconds
        return result
    }

    /// Describes a tensor. A tensor that is not encoded is `kept` if its element type and weights are those of the source.
    private func report(
        _ own: StoredWeights, _ original: StoredWeights, _ found: ComparedWeights?
    ) -> VerificationReport.Tensor {
        let isKept = !own.isEncoded && own.elementType == original.elementType && found?.isSame != false
        return VerificationReport.Tensor(
            name: own.name, scheme: own.isEncoded ? own.scheme : isKept ? "kept" : own.elementType.rawValue,
            certificate: checkpoint.isSealed ? own.descriptor?.sums ?? .zero : nil, measured: found?.errors.sums,
            elements: own.shape.elementCount,
            byteCount: own.byteCount, sourceByteCount: original.byteCount, errors: found?.errors,
            restored: found?.second, original: found?.first, restoredHistogram: found?.secondHistogram)
    }

    private static let remedy: Remedy = "verify against the source it was made from"

    private func failure(_ tensor: StoredWeights, _ found: String, expected: String? = nil) -> IngotError {
        IngotError(
            .sourceMismatch, file: tensor.file.path.string, tensor: tensor.name, found: found, expected: expected,
            remedy: PlainVerification.remedy)
    }

    private typealias Matched = [(own: StoredWeights, original: StoredWeights)]

    private func weights(
        of matched: Matched, _ progress: @escaping (TensorName, String, UInt64) -> Void
    ) async throws -> [Int: ComparedWeights] {
        var indices: [Int] = []
        var pairs: [TensorComparison.Pair] = []
        for (index, (own, original)) in matched.enumerated() {
            guard let pair = TensorComparison.Pair(original, own) else { continue }
            indices.append(index)
            pairs.append(pair)
        }
        var found: [Int: ComparedWeights] = [:]
        try await comparison.run(pairs) {
            found[indices[$0]] = $1
            let own = matched[indices[$0]].own
            progress(own.name, own.fileName, own.byteCount)
        }
        return found
    }

    /// Compares the bytes of non-float tensors; true if they are the same.
    private func bytes(of matched: Matched) async throws -> [Int: Bool] {
        var indices: [Int] = []
        var pairs: [ByteComparison.Pair] = []
        for (index, (own, original)) in matched.enumerated() {
            guard TensorComparison.Pair(original, own) == nil, let pair = ByteComparison.Pair(original, own) else {
                continue
            }
            indices.append(index)
            pairs.append(pair)
        }
        let results = try await bytes.run(pairs)
        return Dictionary(zip(indices, results.map(\.isSame)), uniquingKeysWith: { first, _ in first })
    }
}
