import TensorModel

/// Results of claims as Markdown, for comments on pull requests and for summaries.
package enum ClaimsMarkdown {
    /// A heading, a table of the failed claims, and a folded table of the others.
    ///
    /// - Parameter byteLimit: largest size of the text in bytes; rows that do not fit are only counted.
    package static func text(_ report: ClaimsReport, byteLimit: Int = 60_000) -> String {
        let verdict =
            switch report.verdict {
            case .pass: "holds what it claims"
            case .fail: "does not hold what it claims"
            case .compared: "was compared, and nothing judged its weights"
            }
        var text =
            "### ingot: \(MarkdownText.name(report.subject)) \(verdict)\n\n**\(report.verdict.rawValue)**: \(report.summary)\n"
        var left = byteLimit - text.utf8.count - 600
        let failing = report.results.filter { $0.status == .fail }
        let others = report.results.filter { $0.status != .fail }
        if !failing.isEmpty { text += "\n" + table(failing, of: report, room: &left) }
        if !others.isEmpty {
            text +=
                "\n<details><summary>\(others.count) \(failing.isEmpty ? "claims" : "others")</summary>\n\n"
                + table(others, of: report, room: &left)
            text += "\n</details>\n"
        }
        if text.hasSuffix("\n") { text.removeLast() }
        return text
    }

    private static func table(_ results: [ClaimResult], of report: ClaimsReport, room: inout Int) -> String {
        var table = MarkdownTable(["", "claim", "limit", "measured", "what"], left: 5)
        var hidden = 0
        for result in results {
            let row = [
                mark(result), MarkdownText.name(result.title), result.limit?.text ?? "", result.measured?.text ?? "",
                MarkdownText.sentence(report.message(result)),
            ]
            let byteCount = MarkdownTable.line(row).utf8.count + 1
            if hidden > 0 || byteCount > room {
                hidden += 1
            } else {
                room -= byteCount
                table.append(row)
            }
        }
        let lines = table.lines + (hidden > 0 ? ["\n... and \(hidden) more"] : [])
        return lines.joined(separator: "\n") + "\n"
    }

    private static func mark(_ result: ClaimResult) -> String {
        result.status == .fail ? "**\(result.word)**" : result.word
    }
}
