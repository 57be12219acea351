import TensorModel

/// Results of claims as JUnit XML, in the form that Jenkins, GitLab and GitHub actions read.
package enum ClaimsJUnit {
    /// The report as an XML document: one suite with one case per claim.
    ///
    /// - Parameters:
    ///   - seconds: duration of the verification.
    ///   - time: time of the report, in seconds since 1970.
    package static func text(_ report: ClaimsReport, seconds: Double, time: Int) -> String {
        let results = report.results
        let failures = results.count { $0.status == .fail && $0.level == .error }
        let skipped = results.count { $0.status == .skip }
        let duration = decimal(seconds)
        var lines = [
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>", "<testsuites>",
            "  <testsuite id=\"0\" package=\"ingot\" name=\"\(shown(report.subject))\" timestamp=\"\(timestamp(time))\" "
                + "hostname=\"localhost\" tests=\"\(results.count)\" failures=\"\(failures)\" errors=\"0\" "
                + "skipped=\"\(skipped)\" time=\"\(duration)\">",
            "    <properties>",
        ]
        if let file = report.file { lines.append("      <property name=\"claims\" value=\"\(shown(file))\"/>") }
        lines.append("    </properties>")
        for result in results {
            let open =
                "    <testcase name=\"\(shown(result.title))\" classname=\"ingot.claims\" time=\"0.000\""
            switch (result.status, result.level) {
            case (.pass, _): lines.append(open + "/>")
            case (.skip, _):
                lines += [
                    open + ">", "      <skipped message=\"\(shown(report.message(result)))\"/>", "    </testcase>",
                ]
            case (.fail, .error):
                lines += [
                    open + ">",
                    "      <failure message=\"\(shown(report.message(result)))\" type=\"\(result.kind.rawValue)\">"
                        + "\(MarkupText.escaped(ClaimDetails.text(result)))</failure>",
                    "    </testcase>",
                ]
            case (.fail, _): lines.append(open + "/>")
            }
        }
        // Warnings are in the output of the suite, because some readers ignore the output of a single case.
        let warnings = report.warned.map { IngotErrorRenderer.escaped("WARN \($0.title): \(report.message($0))") }
            .joined(separator: "\n")
        lines += [
            "    <system-out>\(MarkupText.escaped("\(report.verdict.rawValue): \(report.summary)" + (warnings.isEmpty ? "" : "\n" + warnings)))</system-out>",
            "    <system-err></system-err>", "  </testsuite>", "</testsuites>",
        ]
        return lines.joined(separator: "\n")
    }

    /// Escapes text from files for XML content and attributes; control characters as for a terminal, because readers print the text.
    private static func shown(_ text: String) -> String { MarkupText.escaped(IngotErrorRenderer.escaped(text)) }

    /// Seconds with three decimal places, as XML Schema's `decimal`.
    private static func decimal(_ seconds: Double) -> String {
        let thousandths = UInt64(max(0, min(seconds, 1e9)) * 1000)
        return "\(thousandths / 1000)." + NumberText.padded(thousandths % 1000, digits: 3)
    }

    /// UTC time without a zone, as in the JUnit schema: `2026-11-21T14:50:59`.
    static func timestamp(_ time: Int) -> String {
        func two(_ number: Int) -> String { NumberText.padded(number, digits: 2) }
        let seconds = max(0, time)
        // Calendar cycles of 400 years that begin in March (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
        let days = seconds / 86_400 + 719_468
        let day = days % 146_097
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365
        let dayOfYear = day - (365 * year + year / 4 - year / 100)
        let month = (5 * dayOfYear + 2) / 153
        let date = dayOfYear - (153 * month + 2) / 5 + 1
        let calendarMonth = month < 10 ? month + 3 : month - 9
        let calendarYear = year + days / 146_097 * 400 + (calendarMonth <= 2 ? 1 : 0)
        let clock = seconds % 86_400
        return
            "\(calendarYear)-\(two(calendarMonth))-\(two(date))T\(two(clock / 3600)):\(two(clock / 60 % 60)):\(two(clock % 60))"
    }
}
