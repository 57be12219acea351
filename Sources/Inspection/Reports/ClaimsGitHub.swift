import TensorModel

/// Results of claims as workflow commands of GitHub Actions: one annotation for each claim that does not hold.
package enum ClaimsGitHub {
    /// GitHub shows at most this many annotations of one kind per step.
    static let annotationLimit = 10
    /// Largest summary of a step in bytes; GitHub refuses a larger one with an error.
    static let summaryLimit = 1 << 20

    /// Lines for standard output.
    package static func text(_ report: ClaimsReport) -> String {
        var lines: [String] = []
        for (command, results) in [("error", report.failed), ("warning", report.warned)] {
            for result in results.prefix(annotationLimit) { lines.append(annotation(command, result, report)) }
            let hidden = results.count - annotationLimit
            if hidden > 0 { lines.append("... and \(hidden) more; the step's summary has all of them") }
        }
        for result in report.results {
            lines.append("\(result.word)  \(IngotErrorRenderer.escaped("\(result.title): \(report.message(result))"))")
        }
        lines.append("ingot: \(report.verdict.rawValue): \(report.summary)")
        return lines.joined(separator: "\n")
    }

    private static func annotation(_ command: String, _ result: ClaimResult, _ report: ClaimsReport) -> String {
        var properties: [String] = []
        if let file = report.file {
            properties.append("file=\(property(file))")
            if let line = result.line { properties.append("line=\(line)") }
        }
        properties.append("title=\(property("ingot: \(result.title)"))")
        return "::\(command) \(properties.joined(separator: ","))::\(data(report.message(result)))"
    }

    /// Summary for the page of the step, cut to the space that other steps left.
    ///
    /// - Parameter used: bytes already in the summary.
    package static func summary(_ report: ClaimsReport, used: UInt64) -> String {
        let room = summaryLimit - 1024 - Int(clamping: used)
        return room < 512 ? "" : ClaimsMarkdown.text(report, byteLimit: room) + "\n"
    }

    /// Escapes the message of a workflow command.
    static func data(_ text: String) -> String {
        IngotErrorRenderer.escaped(text).replacing("%", with: "%25").replacing("\r", with: "%0D").replacing(
            "\n", with: "%0A")
    }

    /// Escapes a property of a workflow command.
    static func property(_ text: String) -> String {
        data(text).replacing(":", with: "%3A").replacing(",", with: "%2C")
    }
}
