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
/// types of floating-point tensors may differ. Errors of weights are measured and not judged. If one has the names of GGUF and the other those
/// of Hugging Face, tensors are matched by `NameCorrespondence`; the report has the names and places of the verified checkpoint.
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

    /// Compares every tensor with the tensor of the same name in the source, or with those that match it.
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
        let matching = try TensorMatching(checkpoint, source)
        result.names = matching.names
        var agreements: [TensorName: ValueAgreement] = [:]
        for (own, obstacle) in matching.obstacles {
            result.failures.append(failure(own, obstacle.found, expected: obstacle.expected))
            agreements[own.name] = .incomparable(obstacle.sentence)
        }
        for original in matching.missing {
            result.failures.append(
                IngotError(
                    .sourceMismatch, file: original.file.path.string, tensor: original.name,
                    found: PlainVerification.missingTensor, remedy: PlainVerification.remedy))
        }
        let matched = matching.pairs
        let errors = try await weights(of: matched, progress)
        let others = matched.indices.filter { errors[$0] == nil }
        let compared = Dictionary(
            zip(others, try await values.run(others.map { matched[$0] })), uniquingKeysWith: { first, _ in first })
        for (index, pair) in matched.enumerated() {
            let (own, original) = (pair.own, pair.original)
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
            var tensor = report(pair, found)
            tensor.agreement = agreement
            result.tensors.append(tensor)
        }
        try await setApart(matching, &result)
        let outputs = zip(matching.outputs, try await values.run(matching.outputs.map(\.pair))).map {
            output, agreement in
            ValueExactness.Tensor(output.name, elements: output.pair.own.shape.elementCount, agreement)
        }
        let isApart = Set(matching.apart.lazy.filter(\.isOwn).map(\.tensor.name))
        result.values = ValueExactness(
            checkpoint.tensors.filter { !isApart.contains($0.name) }.map {
                ValueExactness.Tensor($0.name, elements: $0.shape.elementCount, agreements[$0.name] ?? .equal)
            } + outputs
                + matching.missing.map {
                    ValueExactness.Tensor(
                        $0.name, elements: $0.shape.elementCount, .incomparable(PlainVerification.missingTensor))
                })
        result.seconds = (clock.now - begin).seconds
        return result
    }

    /// Notes the tensors that only one checkpoint stores, with the statistics of the verified one's. One that contradicts the other checkpoint
    /// is a failure.
    private func setApart(_ matching: TensorMatching, _ result: inout VerificationReport) async throws {
        let own = matching.apart.filter(\.isOwn).map(\.tensor)
        let counted = own.compactMap { tensor in TensorComparison.Pair(tensor, tensor).map { (tensor.name, $0) } }
        var statistics: [TensorName: WeightStatistics] = [:]
        try await comparison.run(counted.map(\.1)) { statistics[counted[$0].0] = $1.second }
        for tensor in matching.apart {
            let (name, file) = (tensor.tensor.name, tensor.tensor.file.path.string)
            result.apart.append(
                VerificationReport.Apart(
                    name: name, isInSource: !tensor.isOwn, reason: tensor.reason,
                    statistics: tensor.isOwn ? statistics[name] : nil))
            guard tensor.contradicts else { continue }
            result.failures.append(
                IngotError(
                    .sourceMismatch, file: file, tensor: name, found: tensor.reason, remedy: PlainVerification.remedy))
        }
    }

    /// Describes a tensor. A tensor that is not encoded is `kept` if its element type and weights are those of the source.
    private func report(_ pair: ValueComparison.Pair, _ found: ComparedWeights?) -> VerificationReport.Tensor {
        let own = pair.own
        let isKept = !own.isEncoded && own.elementType == pair.original.elementType && found?.isSame != false
        var reported = VerificationReport.Tensor(
            name: own.name, scheme: own.isEncoded ? own.scheme : isKept ? "kept" : own.elementType.rawValue,
            certificate: checkpoint.isSealed ? own.descriptor?.sums ?? .zero : nil, measured: found?.errors.sums,
            elements: own.shape.elementCount,
            byteCount: own.byteCount, sourceByteCount: pair.originalBytes, errors: found?.errors,
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

    /// Compares the weights of the pairs of floating-point tensors of 16 and 32 bits. Those whose rows change places come last: they need more
    /// memory.
    private func weights(
        of matched: [ValueComparison.Pair], _ progress: @escaping (TensorName, String, UInt64) -> Void
    ) async throws -> [Int: ComparedWeights] {
        let pairs = matched.enumerated().compactMap { index, pair in pair.weights.map { (index: index, weights: $0) } }
        let sorted = pairs.filter { !$0.weights.isArranged } + pairs.filter(\.weights.isArranged)
        var found: [Int: ComparedWeights] = [:]
        try await comparison.run(sorted.map(\.weights)) {
            found[sorted[$0].index] = $1
            let own = matched[sorted[$0].index].own
            progress(own.name, own.fileName, own.byteCount)
        }
        return found
    }
}
