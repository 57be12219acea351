import Conversion
import TensorModel

/// What a conversion calibrated and what not, as lines of its report.
enum CalibrationSummaryText {
    /// Reasons to list, and columns of a line behind its label.
    private static let maximumReasons = 3, width = 58

    /// Labels and lines: calibrated matrices and the mean of their errors, then a line for each reason why matrices were quantized plain.
    ///
    /// - Parameter count: number of all encoded matrices.
    static func lines(_ summary: CalibrationSummary, of count: Int) -> [(label: String, text: String)] {
        var lines = [("calibrated", "\(summary.matrices) of \(count) matrices")]
        if let error = summary.meanError {
            lines.append(("", "mean relative error over activations \(Format.scientific(error))"))
        }
        for (index, text) in reasons(summary.plain).enumerated() {
            lines.append((index == 0 ? "quantized plain" : "", text))
        }
        return lines
    }

    /// Reasons with their numbers of matrices and the first names, the most frequent reason first.
    private static func reasons(_ plain: [CalibrationSummary.Plain]) -> [String] {
        let groups = ReasonForPlain.allCases.map { reason in (reason, plain.filter { $0.reason == reason }.map(\.name))
        }
        .filter { !$0.1.isEmpty }.enumerated()
        .sorted { a, b in
            let (x, y) = (a.element.1.count, b.element.1.count)
            return x != y ? x > y : a.offset < b.offset
        }.map(\.element)
        var lines: [String] = []
        for (index, (reason, names)) in groups.enumerated() {
            if index == maximumReasons - 1, groups.count > maximumReasons {
                let rest = groups[index...].reduce(0) { $0 + $1.1.count }
                lines.append("\(rest) for other reasons; --format json lists all")
                break
            }
            let head = "\(names.count), \(reason.rawValue): "
            let more = names.count > 1 ? ", ..." : ""
            let room = max(16, width - head.width - more.width)
            lines.append(head + Format.shortened(IngotErrorRenderer.escaped(names[0].text), to: room) + more)
        }
        return lines
    }
}
