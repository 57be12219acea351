package import FileAccess

/// Figures of an evaluation of a checkpoint against its source, for claims about quality.
package struct QualityFacts: Sendable {
    /// A mean over tokens, with its standard error over sequences; nil with fewer than two sequences.
    package struct Estimate: Sendable, Hashable {
        /// The mean.
        package let value: Double
        /// Its standard error.
        package let standardError: Double?

        /// Makes an estimate.
        package init(_ value: Double, _ standardError: Double?) {
            (self.value, self.standardError) = (value, standardError)
        }
    }

    /// The figures of a text, or of all texts.
    package struct Figures: Sendable, Hashable {
        /// Name of the text.
        package let name: String
        /// Number of sequences.
        package let sequences: Int
        /// KL divergence in nats per token; perplexity divided by that of the source; share of equal most likely tokens.
        package let divergence: Estimate, perplexityRatio: Estimate, agreement: Estimate

        /// Makes figures.
        package init(
            name: String, sequences: Int, divergence: Estimate, perplexityRatio: Estimate, agreement: Estimate
        ) {
            (self.name, self.sequences) = (name, sequences)
            (self.divergence, self.perplexityRatio, self.agreement) = (divergence, perplexityRatio, agreement)
        }

        subscript(rule: Claim.QualityRule) -> Estimate {
            switch rule {
            case .divergence: divergence
            case .perplexityRatio: perplexityRatio
            case .agreement: agreement
            }
        }
    }

    /// Figures of all texts together.
    package let all: Figures
    /// Each text by its hash; a text of ids by that of the ids.
    package let texts: [(hash: ContentHash, figures: Figures)]

    /// Makes facts.
    package init(all: Figures, texts: [(hash: ContentHash, figures: Figures)]) { (self.all, self.texts) = (all, texts) }

    /// The figures of a text; nil for none of this hash. Without a hash those of all texts.
    func figures(of text: ContentHash?) -> Figures? {
        guard let text else { return all }
        return texts.first { $0.hash == text }?.figures
    }

    /// Claims for a new claims file: each text that was evaluated, at 95 % confidence if there are standard errors.
    var rules: [Claim.Rule] {
        texts.flatMap { hash, figures in
            let confidence = figures.divergence.standardError.map { _ in 0.95 }
            return Claim.QualityRule.allCases.map {
                Claim.Rule.quality($0, 0, Claim.QualityScope(confidence: confidence, text: hash))
            }
        }
    }
}
