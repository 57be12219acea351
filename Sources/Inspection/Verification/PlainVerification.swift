import Container
import FileAccess
import Quantization
import SystemPackage
package import TensorModel
package import Weights
import Work

/// Verifies a checkpoint by its weights only: an export, or an Ingot checkpoint against a checkpoint it was not converted from.
///
/// Both must have the same tensors with the same shapes, and tensors of other types than F16, BF16 and F32 must have the same values. Element
/// types of floating-point tensors may differ. Errors of weights are measured and not judged.
package struct PlainVerification: Sendable {
    private let checkpoint: OpenedCheckpoint, source: OpenedCheckpoint
    private let comparison: TensorComparison
    private let values: ValueComparison

    /// Prepares a verification; `memory` in bytes, `jobs` pieces at the same time.
    package init(_ checkpoint: OpenedCheckpoint, against source: OpenedCheckpoint, memory: UInt64, jobs: Int) throws {
        self.checkpoint = checkpoint
        self.source = source
        comparison = try TensorComparison(memory: memory, jobs: jobs, wantsStatistics: true)
        values = ValueComparison(memory: memory, jobs: jobs)
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
        var agreements: [TensorName: ValueAgreement] = [:]
        var matched: [ValueComparison.Pair] = []
        for own in checkpoint.tensors {
            guard let original = originals[own.name] else {
                result.failures.append(failure(own, PlainVerification.addedTensor))
                agreements[own.name] = .incomparable(PlainVerification.addedTensor)
                continue
            }
            guard own.shape == original.shape else {
                result.failures.append(
                    failure(own, "the shape \(own.shape)", expected: "\(original.shape), as in the source"))
                agreements[own.name] = .incomparable("the shape \(own.shape), in the source \(original.shape)")
                continue
            }
            matched.append((own, original))
        }
        let names = Set(checkpoint.tensors.map(\.name))
        let missing = source.tensors.filter { !names.contains($0.name) }
        for original in missing {
            result.failures.append(
                IngotError(
                    .sourceMismatch, file: original.file.path.string, tensor: original.name,
                    found: PlainVerification.missingTensor, remedy: PlainVerification.remedy))
        }
        let errors = try await weights(of: matched, progress)
        let others = matched.indices.filter { errors[$0] == nil }
        let compared = Dictionary(
            zip(others, try await values.run(others.map { matched[$0] })), uniquingKeysWith: { first, _ in first })
        for (index, (own, original)) in matched.enumerated() {
            let found = errors[index]
            if let found, found.unequalNonFinite > 0 {
                result.failures.append(
                    failure(
                        own, "\(found.unequalNonFinite) weights that are NaN or infinite here or in the source",
                        expected: "the same weights NaN or infinite in both"))
            }
            let agreement = found.map { ValueAgreement($0.differences) } ?? compared[index] ?? .equal
            if found == nil, agreement != .equal {
                result.failures.append(
                    failure(
                        own,
                        own.elementType == original.elementType
                            ? "\(own.elementType.rawValue) of other bytes than the source's tensor"
                            : "\(own.elementType.rawValue) with other values than \(original.elementType.rawValue) in the source"
                    ))
            }
            agreements[own.name] = agreement
            var tensor = report(own, original, found)
            tensor.agreement = agreement
            result.tensors.append(tensor)
        }
        result.values = ValueExactness(
            checkpoint.tensors.map {
                ValueExactness.Tensor($0.name, elements: $0.shape.elementCount, agreements[$0.name] ?? .equal)
            }
                + missing.map {
                    ValueExactness.Tensor(
                        $0.name, elements: $0.shape.elementCount, .incomparable(PlainVerification.missingTensor))
                })
        result.seconds = (clock.now - begin).seconds
        return result
    }

    /// Describes a tensor. A tensor that is not encoded is `kept` if its element type and weights are those of the source.
    private func report(
        _ own: StoredWeights, _ original: StoredWeights, _ found: ComparedWeights?
    ) -> VerificationReport.Tensor {
        let isKept = !own.isEncoded && own.elementType == original.elementType && found?.isSame != false
        var reported = VerificationReport.Tensor(
            name: own.name, scheme: own.isEncoded ? own.scheme : isKept ? "kept" : own.elementType.rawValue,
            certificate: checkpoint.isSealed ? own.descriptor?.sums ?? .zero : nil, measured: found?.errors.sums,
            elements: own.shape.elementCount,
            byteCount: own.byteCount, sourceByteCount: original.byteCount, errors: found?.errors,
            restored: found?.second, original: found?.first, restoredHistogram: found?.secondHistogram)
        reported.holdsCodes = own.descriptor?.holdsCodes == true
        return reported
    }

    private static let remedy: Remedy = "verify against the source it was made from"

    private func failure(_ tensor: StoredWeights, _ found: String, expected: String? = nil) -> IngotError {
        IngotError(
            .sourceMismatch, file: tensor.file.path.string, tensor: tensor.name, found: found, expected: expected,
            remedy: PlainVerification.remedy)
    }

    /// What is found about a tensor that only one checkpoint has.
    static let addedTensor = "a tensor that the source does not have"
    static let missingTensor = "a tensor of the source that the checkpoint does not have"

    private func weights(
        of matched: [ValueComparison.Pair], _ progress: @escaping (TensorName, String, UInt64) -> Void
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
}
