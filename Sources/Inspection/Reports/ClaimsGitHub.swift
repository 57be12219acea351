import TensorModel

/// The results of claims as GitHub Actions reads them from a step's output: an annotation for each that does not hold.
package enum ClaimsGitHub {
    /// Annotations of one kind that GitHub shows of a step at most.
    static let annotationLimit = 10
    /// Bytes of a step's summary at most; the rest would be dropped with an error.
    static let summaryLimit = 1 << 20

    /// The lines for standard output.
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
        lines.append("ingot: \(report.summary)")
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

    /// A summary for the step's page, with no more rows than fit behind what other steps wrote.
    ///
    /// - Parameter used: bytes that the summary has already.
    package static func summary(_ report: ClaimsReport, used: UInt64) -> String {
        let room = summaryLimit - 1024 - Int(clamping: used)
        return room < 512 ? "" : ClaimsMarkdown.text(report, byteLimit: room) + "\n"
    }

    /// The message of a command.
    static func data(_ text: String) -> String {
        IngotErrorRenderer.escaped(text).replacing("%", with: "%25").replacing("\r", with: "%0D").replacing(
            "\n", with: "%0A")
    }

    /// A property of a command.
    static func property(_ text: String) -> String {
        data(text).replacing(":", with: "%3A").replacing(",", with: "%2C")
    }
}
