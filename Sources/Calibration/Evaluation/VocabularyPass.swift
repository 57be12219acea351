import Container
import Products
import Quantization
import TensorModel
import Weights
import Work

/// What the logits of one token sum up to: of a model alone, or of a model and its reference.
///
/// Sums over parts of the vocabulary can be merged in any order. Logits are binary32, sums binary64.
package struct LogitSums: Sendable, Hashable {
    /// Sums over no logits.
    package init() {}

    /// Largest logit, and the sum of e^(logit - largest).
    package var maximum = -Double.infinity, sum = 0.0
    /// The token with the largest logit; the smaller token of two.
    package var best = -1
    /// The logit of the token that follows in the text.
    package var target = 0.0
    /// The same of the reference.
    package var referenceMaximum = -Double.infinity, referenceSum = 0.0, referenceBest = -1, referenceTarget = 0.0
    /// Sum of e^(r - referenceMaximum) * (r - l), with r the reference's logit and l the model's.
    package var difference = 0.0

    /// The natural logarithm of the probability of the following token.
    package var logProbability: Double { target - maximum - Activation.logarithm(sum) }

    /// The same by the reference.
    package var referenceLogProbability: Double {
        referenceTarget - referenceMaximum - Activation.logarithm(referenceSum)
    }

    /// KL divergence of the model from the reference: sum of p_r (ln p_r - ln p), in nats. Not below 0, which rounding could give.
    package var divergence: Double {
        let own = maximum + Activation.logarithm(sum)
        let reference = referenceMaximum + Activation.logarithm(referenceSum)
        return max(0, difference / referenceSum - reference + own)
    }

    /// Whether both models find the same token the most likely.
    package var agrees: Bool { best == referenceBest }

    /// Adds the sums of another part of the vocabulary.
    package mutating func add(_ other: LogitSums) {
        if other.maximum > maximum || (other.maximum == maximum && other.best < best) { best = other.best }
        let maximum = Swift.max(maximum, other.maximum)
        sum =
            sum * Activation.exponential(self.maximum - maximum)
            + other.sum * Activation.exponential(other.maximum - maximum)
        self.maximum = maximum
        target += other.target
        guard other.referenceBest >= 0 || referenceBest >= 0 else { return }
        if other.referenceMaximum > referenceMaximum
            || (other.referenceMaximum == referenceMaximum && other.referenceBest < referenceBest)
        {
            referenceBest = other.referenceBest
        }
        let referenceMaximum = Swift.max(referenceMaximum, other.referenceMaximum)
        let mine = Activation.exponential(self.referenceMaximum - referenceMaximum)
        let others = Activation.exponential(other.referenceMaximum - referenceMaximum)
        referenceSum = referenceSum * mine + other.referenceSum * others
        difference = difference * mine + other.difference * others
        self.referenceMaximum = referenceMaximum
        referenceTarget += other.referenceTarget
    }
}

/// Computes logits of scored tokens, a part of the vocabulary at a time, and sums them up.
struct VocabularyPass: Sendable {
    /// Parts of the vocabulary in work at the same time, and between reading and adding.
    let jobs: Int, lookahead: Int
    /// Tokens of the vocabulary in a part.
    static let partTokens = 512

    /// The buffers of a worker.
    private struct Workspace {
        var reader = RowReader(), referenceReader = RowReader()
        var band = ReadWeights()
        var logits: [Float] = [], referenceLogits: [Float] = []
    }

    /// The sums of each scored token.
    ///
    /// - Parameters:
    ///   - states: normed states of the scored tokens, and those of the reference; nil without a reference.
    ///   - targets: for each scored token the token that follows.
    func run(
        _ model: ModelWeights, _ states: TokenStates, _ reference: (model: ModelWeights, states: TokenStates)?,
        targets: [Int32]
    ) async throws -> [LogitSums] {
        let vocabulary = model.hyperparameters.vocabulary
        let parts = stride(from: 0, to: vocabulary, by: VocabularyPass.partTokens).map {
            $0..<min($0 + VocabularyPass.partTokens, vocabulary)
        }
        var all = [LogitSums](repeating: LogitSums(), count: states.tokens)
        try await Pipeline(jobs: jobs, lookahead: lookahead) { Workspace() }.run(parts, makeOutput: { [LogitSums]() }) {
            part, workspace, output in
            try VocabularyPass.logits(
                model, states, part, &workspace.reader, &workspace.band, into: &workspace.logits)
            if let reference {
                try VocabularyPass.logits(
                    reference.model, reference.states, part, &workspace.referenceReader, &workspace.band,
                    into: &workspace.referenceLogits)
            }
            output.removeAll(keepingCapacity: true)
            for token in 0..<states.tokens {
                output.append(
                    VocabularyPass.sums(
                        token, part, Int(targets[token]), workspace.logits,
                        reference == nil ? nil : workspace.referenceLogits))
            }
        } consume: { _, output in
            for token in output.indices { all[token].add(output[token]) }
        }
        return all
    }

    /// Logits of a part of the vocabulary: tokens x part.
    private static func logits(
        _ model: ModelWeights, _ states: TokenStates, _ part: Range<Int>, _ reader: inout RowReader,
        _ band: inout ReadWeights, into logits: inout [Float]
    ) throws {
        try reader.read(
            ChunkPlace(row: part.lowerBound, column: 0, rows: part.count, columns: states.width),
            of: model.head.matrix.weights, into: &band)
        logits.grow(to: states.tokens * part.count)
        var target = logits.mutableSpan
        Products.multiply(
            states.values.span, states.shape, transposed: band.weights.span,
            MatrixShape(rows: part.count, columns: states.width), into: &target,
            MatrixShape(rows: states.tokens, columns: part.count))
    }

    /// The sums of one token over a part of the vocabulary.
    static func sums(
        _ token: Int, _ part: Range<Int>, _ target: Int, _ logits: [Float], _ reference: [Float]?
    ) -> LogitSums {
        let start = token * part.count
        var sums = LogitSums()
        let own = logits.span
        for index in 0..<part.count {
            let logit = Double(own[start + index])
            if logit > sums.maximum { (sums.maximum, sums.best) = (logit, part.lowerBound + index) }
        }
        for index in 0..<part.count {
            sums.sum += Activation.exponential(Double(own[start + index]) - sums.maximum)
        }
        let isHere = part.contains(target)
        if isHere { sums.target = Double(own[start + target - part.lowerBound]) }
        guard let reference else { return sums }
        let other = reference.span
        for index in 0..<part.count {
            let logit = Double(other[start + index])
            if logit > sums.referenceMaximum {
                (sums.referenceMaximum, sums.referenceBest) = (logit, part.lowerBound + index)
            }
        }
        for index in 0..<part.count {
            let logit = Double(other[start + index])
            let weight = Activation.exponential(logit - sums.referenceMaximum)
            sums.referenceSum += weight
            sums.difference += weight * (logit - Double(own[start + index]))
        }
        if isHere { sums.referenceTarget = Double(other[start + target - part.lowerBound]) }
        return sums
    }
}
