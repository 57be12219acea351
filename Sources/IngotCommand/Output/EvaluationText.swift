import Calibration
import SystemPackage
import TensorModel

/// Report of an evaluation as text for people.
enum EvaluationText {
    /// The report.
    static func text(_ report: EvaluationReport) -> String {
        let name = IngotErrorRenderer.escaped(report.model.path.string)
        let against = report.reference.map { " against \(IngotErrorRenderer.escaped($0.path.string))" } ?? ""
        var lines = ["\(name)\(against)"]
        for text in report.rows {
            lines += [""] + card(text, report.options)
        }
        return lines.joined(separator: "\n")
    }

    private static func card(_ text: TextScores, _ options: EvaluationOptions) -> [String] {
        let count = text.sequences.count
        var lines = [
            "\(IngotErrorRenderer.escaped(text.name)): \(count) \(count == 1 ? "sequence" : "sequences") of "
                + "\(options.context) tokens, \(Format.grouped(UInt64(text.tokens))) scored"
        ]
        func add(_ label: String, _ value: String) { lines.append("  " + Format.filled(label, to: 18) + value) }
        add("perplexity", estimate(text.perplexity, 4))
        guard let reference = text.referencePerplexity, let ratio = text.perplexityRatio,
            let divergence = text.divergence, let agreement = text.agreement
        else { return lines }
        add("of the reference", estimate(reference, 4))
        add("ratio", estimate(ratio, 5))
        add("KL divergence", estimate(divergence, 6) + " nats a token")
        func percentile(_ share: Double) -> String { NumberText.fixed(text.divergencePercentile(share) ?? 0, 4) }
        add("", "99 % of the tokens at most \(percentile(0.99)), 99.9 % at most \(percentile(0.999))")
        let percent = Estimate(scaled: agreement, by: 100)
        add("same top token", estimate(percent, 2) + " %")
        return lines
    }

    private static func estimate(_ estimate: Estimate, _ digits: Int) -> String {
        let error = estimate.standardError.map { " ± \(NumberText.fixed($0, digits))" } ?? ""
        return NumberText.fixed(estimate.value, digits) + error
    }
}
