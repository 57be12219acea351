import Architectures
import Inspection
import Quantization
import TensorModel
import Weights

/// Report of a verification as CSV and Markdown.
enum VerificationTable {
    // MARK: - CSV

    /// CSV with one row per tensor (RFC 4180): numbers with all digits, empty cells for missing ones.
    ///
    /// Names are escaped, because the table may be shown on a terminal or in a log.
    static func csv(_ report: VerificationReport) -> String {
        let head = [
            "tensor", "kind", "layer", "stored_as", "elements", "bytes", "bits_per_weight", "source_bytes",
            "certified_relative_mse", "relative_mse", "snr_db", "max_error", "error_p999", "cosine", "changed",
            "sign_flips", "zeroed", "nan", "infinite", "failure", "certified_relative_activation_error",
            "value_exact", "first_different_row", "first_different_column", "value", "reference",
        ]
        let failures = Dictionary(
            report.failures.compactMap { failure in failure.tensor.map { ($0, failure.code.rawValue) } },
            uniquingKeysWith: { first, _ in first })
        let rows = report.tensors.map { tensor -> [String] in
            let measured = tensor.errors?.sums ?? tensor.measured
            return [
                CSVText.name(tensor.name.text), tensor.role.kind.rawValue, CSVText.number(tensor.role.layer),
                CSVText.cell(tensor.scheme), "\(tensor.elements)", "\(tensor.byteCount)",
                CSVText.number(tensor.bitsPerWeight), CSVText.number(tensor.sourceByteCount),
                CSVText.number(tensor.certificate?.relativeMSE), CSVText.number(measured?.relativeMSE),
                CSVText.number(measured?.signalToNoise), CSVText.number(measured?.maxError),
                CSVText.number(tensor.errors?.p999Error), CSVText.number(tensor.errors?.cosine),
                CSVText.number(tensor.errors?.changed), CSVText.number(tensor.errors?.signFlips),
                CSVText.number(tensor.errors?.zeroed), CSVText.number(tensor.restored?.nan),
                CSVText.number(tensor.restored?.infinite), failures[tensor.name] ?? "",
                CSVText.number(tensor.calibrated?.relativeError),
            ] + exactness(tensor.agreement)
        }
        // The caller adds the newline of the last line.
        return ([head] + rows).map { $0.joined(separator: ",") + "\r" }.joined(separator: "\n")
    }

    /// Whether the values are the source's, and the first difference: row, column and both values.
    private static func exactness(_ agreement: ValueAgreement?) -> [String] {
        var first: ValueDifferences.Weight?
        if case .different(let found) = agreement { first = found.first }
        return [
            agreement.map { $0 == .equal ? "true" : "false" } ?? "", CSVText.number(first?.row),
            CSVText.number(first?.column), first?.value?.text ?? "", first?.reference?.text ?? "",
        ]
    }

    // MARK: - Markdown

    /// Markdown for GitHub: the verdict, the offenders, and the `top` largest errors.
    static func markdown(_ report: VerificationReport, _ verdict: Verdict, top: Int) -> String {
        let size = "\(Format.bytes(report.sourceBytes)) to \(Format.bytes(report.outputBytes))"
        let bits = ErrorText.bits(report.bitsPerWeight)
        var blocks = ["**\(verdict.rawValue)**: \(size), \(bits) bits per weight"]
        if let sentence = report.exactness { blocks.append(MarkdownText.sentence(sentence)) }
        if let names = report.names { blocks.append(MarkdownText.sentence(names.sentence)) }
        if !report.failures.isEmpty {
            blocks.append(
                block(
                    ["does not hold", "what", "to do"], left: 3,
                    report.failures.prefix(max(1, top)).map { failure in
                        [
                            MarkdownText.name(failure.tensor?.text ?? ""), MarkdownText.sentence(failure.found),
                            MarkdownText.sentence(failure.remedy.text(RemedyText.words)),
                        ]
                    }))
            let hidden = report.failures.count - max(1, top)
            if hidden > 0 { blocks.append("... and \(hidden) more") }
        }
        let shown = report.worst(top).shown
        let hasCalibrated = report.tensors.contains { $0.calibrated != nil }
        let titles =
            ["tensor", "stored as", "rel MSE", "SNR dB", "max error", "p99.9", "cosine", "flips", "zeroed"]
            + (hasCalibrated ? ["relative error over activations"] : [])
        if !shown.isEmpty {
            blocks.append(
                block(
                    titles, left: 2,
                    shown.map { tensor in
                        let errors = tensor.errors
                        return [
                            MarkdownText.name(tensor.name), tensor.scheme, ErrorText.relative(tensor.sums),
                            ErrorText.signalToNoise(tensor.sums), Format.scientific(tensor.sums.maxError),
                            errors.map { Format.scientific($0.p999Error) } ?? "-",
                            errors.map(ErrorText.cosine) ?? "-", errors.map { "\($0.signFlips)" } ?? "-",
                            errors.map { "\($0.zeroed)" } ?? "-",
                        ] + (hasCalibrated ? [ErrorText.activation(tensor)] : [])
                    }))
        }
        return blocks.joined(separator: "\n\n")
    }

    private static func block(_ titles: [String], left: Int, _ rows: [[String]]) -> String {
        MarkdownTable(titles, left: left, rows).lines.joined(separator: "\n")
    }
}
