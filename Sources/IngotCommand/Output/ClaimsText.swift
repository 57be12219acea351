import Inspection
import TensorModel

/// Results of claims as text for people.
enum ClaimsText {
    private static let columns = 80
    /// Widest title, in columns, that shares a line with its message.
    private static let titleColumns = 24

    /// One or more lines per claim, failures first, and a summary.
    static func text(_ report: ClaimsReport, style: Style) -> String {
        let width = max(40, min(style.width ?? columns, 120))
        var lines: [String] = []
        for result in report.results {
            let title = IngotErrorRenderer.escaped(result.title)
            let message = IngotErrorRenderer.escaped(report.message(result))
            let word = colored(result, style)
            if result.status != .fail, title.width <= titleColumns {
                let indent = 6 + titleColumns + 2
                let parts = Format.wrapped(message, to: width - indent)
                lines.append("\(word)  \(Format.filled(title, to: titleColumns))  \(parts[0])".trimmingSuffix)
                lines += parts.dropFirst().map { String(repeating: " ", count: indent) + $0 }
            } else {
                lines.append("\(word)  \(result.status == .fail ? style.strong(title) : title)")
                let remedy = result.remedy.map { "to do: \($0.text(report.words))" }
                let parts =
                    result.status == .fail
                    ? [result.finding, remedy].compactMap { $0 }.map(IngotErrorRenderer.escaped) : [message]
                for part in parts { lines += Format.wrapped(part, to: width - 6).map { "      \($0)" } }
            }
        }
        let summary = "claims: \(report.summary)"
        lines.append(report.holds ? style.good(summary) : style.bad(summary))
        return lines.joined(separator: "\n")
    }

    private static func colored(_ result: ClaimResult, _ style: Style) -> String {
        switch result.word {
        case "FAIL": style.bad(result.word)
        case "WARN": style.warning(result.word)
        case "SKIP": style.faint(result.word)
        default: style.good(result.word)
        }
    }

    /// Changes that `--update-baseline` made, one per line.
    static func text(_ changes: [ClaimsBaseline.Change], of file: String, isNew: Bool) -> String {
        let head = "\(IngotErrorRenderer.escaped(file)) \(isNew ? "made" : "updated")"
        let rows = changes.map { change in
            let title = IngotErrorRenderer.escaped(change.title)
            let (old, new) = (change.old.map(shortDigests), change.new.map(shortDigests))
            let text: String =
                if let reason = change.reason {
                    "\(isNew ? "left out" : "kept\(old.map { " \($0)" } ?? "")"): \(reason)"
                        + (change.remedy.map { "; \($0.text(RemedyText.words))" } ?? "")
                } else if let new {
                    old == nil ? new : change.old == change.new ? "\(new), unchanged" : "\(old ?? "") -> \(new)"
                } else {
                    "holds"
                }
            return (title, IngotErrorRenderer.escaped(text))
        }
        let width = min(40, rows.map(\.0.width).max() ?? 0)
        let indent = String(repeating: " ", count: width + 4)
        let lines = rows.flatMap { title, text in
            Format.wrapped(text, to: max(columns - width - 4, 24)).enumerated().map { index, part in
                index == 0 ? "  \(Format.filled(title, to: width))  \(part)" : indent + part
            }
        }
        return ([head] + lines).joined(separator: "\n")
    }

    /// Shortens SHA-256 digests to 12 digits.
    private static func shortDigests(_ text: String) -> String {
        text.split(separator: " ", omittingEmptySubsequences: false).map { word in
            let digits = word.prefix { $0.isHexDigit }
            return digits.count == 64 ? digits.prefix(12) + "..." + word.dropFirst(64) : word
        }.joined(separator: " ")
    }
}
