import Calibration
import TensorModel

/// Report of an evaluation as CSV: a row per text, and one of all texts if there are several.
enum EvaluationCSV {
    private static let columns =
        "text,sequences,tokens,perplexity,perplexity_se,reference_perplexity,reference_perplexity_se,perplexity_ratio,"
        + "perplexity_ratio_se,kl,kl_se,kl_p99,kl_p999,top1,top1_se"

    /// The rows by RFC 4180, titles first.
    static func parts(_ report: EvaluationReport) -> [String] {
        return [columns + "\r\n"] + report.rows.map { fields($0).joined(separator: ",") + "\r\n" }
    }

    private static func fields(_ text: TextScores) -> [String] {
        func pair(_ estimate: Estimate?) -> [String] {
            [CSVText.number(estimate?.value), CSVText.number(estimate?.standardError)]
        }
        return [CSVText.name(text.name), "\(text.sequences.count)", "\(text.tokens)"] + pair(text.perplexity)
            + pair(text.referencePerplexity) + pair(text.perplexityRatio) + pair(text.divergence)
            + [
                CSVText.number(text.divergencePercentile(0.99)), CSVText.number(text.divergencePercentile(0.999)),
            ] + pair(text.agreement)
    }
}
