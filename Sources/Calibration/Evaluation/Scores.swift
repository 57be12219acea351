import TensorModel

/// Scores of the tokens of one sequence.
package struct SequenceScores: Sendable, Hashable {
    /// Negative log-likelihood of each scored token, in nats.
    package let losses: [Double]
    /// The same by the reference; empty without a reference.
    package let referenceLosses: [Double]
    /// KL divergence of the model from the reference at each scored token, in nats; empty without a reference.
    package let divergences: [Double]
    /// Number of tokens at which both models find the same token the most likely.
    package let agreements: Int

    init(_ sums: ArraySlice<LogitSums>, hasReference: Bool) {
        losses = sums.map { -$0.logProbability }
        referenceLosses = hasReference ? sums.map { -$0.referenceLogProbability } : []
        divergences = hasReference ? sums.map(\.divergence) : []
        agreements = hasReference ? sums.count(where: \.agrees) : 0
    }
}

/// A mean over tokens, with its standard error over sequences.
package struct Estimate: Sendable, Hashable {
    /// The value, and its standard error; nil with fewer than two sequences.
    package let value: Double, standardError: Double?

    /// The mean over sequences of equal length.
    init(_ means: [Double]) {
        let count = Double(means.count)
        let mean = means.reduce(0, +) / count
        value = mean
        let squares = means.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        standardError = means.count < 2 ? nil : (squares / (count - 1) / count).squareRoot()
    }

    init(value: Double, standardError: Double?) { (self.value, self.standardError) = (value, standardError) }

    /// Another estimate times a factor.
    package init(scaled other: Estimate, by factor: Double) {
        self.init(value: other.value * factor, standardError: other.standardError.map { $0 * factor })
    }

    /// e to the value; its standard error to first order.
    var exponential: Estimate {
        let value = Activation.exponential(self.value)
        return Estimate(value: value, standardError: standardError.map { $0 * value })
    }
}

/// Scores of one text, or of several texts together.
package struct TextScores: Sendable, Hashable {
    /// Name of the text.
    package let name: String
    /// Scores of its sequences, in order.
    package let sequences: [SequenceScores]

    /// Scores.
    package init(name: String, sequences: [SequenceScores]) { (self.name, self.sequences) = (name, sequences) }

    /// Number of scored tokens.
    package var tokens: Int { sequences.reduce(0) { $0 + $1.losses.count } }

    /// The mean of numbers, of which there is at least one.
    static func mean(_ numbers: [Double]) -> Double { numbers.reduce(0, +) / Double(numbers.count) }

    /// Perplexity: e to the mean loss.
    package var perplexity: Estimate { Estimate(sequences.map { TextScores.mean($0.losses) }).exponential }

    /// Whether there is a reference.
    package var isCompared: Bool { sequences.contains { !$0.divergences.isEmpty } }

    /// Perplexity of the reference; nil without one.
    package var referencePerplexity: Estimate? {
        isCompared ? Estimate(sequences.map { TextScores.mean($0.referenceLosses) }).exponential : nil
    }

    /// Perplexity divided by that of the reference, with the standard error of paired differences; nil without a reference.
    package var perplexityRatio: Estimate? {
        guard isCompared else { return nil }
        return Estimate(sequences.map { TextScores.mean($0.losses) - TextScores.mean($0.referenceLosses) }).exponential
    }

    /// Mean KL divergence in nats; nil without a reference.
    package var divergence: Estimate? {
        isCompared ? Estimate(sequences.map { TextScores.mean($0.divergences) }) : nil
    }

    /// Share of tokens at which both models find the same token the most likely; nil without a reference.
    package var agreement: Estimate? {
        isCompared ? Estimate(sequences.map { Double($0.agreements) / Double($0.losses.count) }) : nil
    }

    /// The smallest divergence that at least a share of the tokens do not exceed; nil without a reference.
    package func divergencePercentile(_ share: Double) -> Double? {
        guard isCompared else { return nil }
        let sorted = sequences.flatMap(\.divergences).sorted()
        return sorted[min(sorted.count - 1, max(0, Int((share * Double(sorted.count)).rounded(.up)) - 1))]
    }
}
