import FileAccess
import Foundation
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Reports of claims for other programs: names that mean harm stay names.
@Suite struct ClaimsReportTests {
    private static let harm = [
        "::error title=x::y", "two\nlines::error::z", "50%,a:b", "<script>&\"']]>", "a|b`c[d](e)",
        "\u{1B}[31m\u{0}\u{FFFE}\u{7F}",
        "##[error]x", "@everyone #1 https://example.org", "\u{202E}reversed",
    ]

    /// A report with a claim that fails for each name, and as many warnings.
    private func report(_ names: [String] = harm) throws -> ClaimsReport {
        var facts = ClaimEvaluationTests.facts()
        facts.tensors = names.map { ClaimEvaluationTests.tensor($0) }
        let claims = names.flatMap { name -> [Claim] in
            // The name in which a set is opened is matched by one that is closed.
            let pattern = NamePattern(name) ?? NamePattern("*")
            let isMatching = pattern?.matches(TensorName(name)) == true
            let patterns = isMatching ? [pattern].compactMap { $0 } : nil
            return [
                Claim(.figure(.maxError, 0.1), patterns: patterns, line: 3),
                Claim(.figure(.relativeMSE, 0.001), level: .warn, patterns: patterns, line: 4),
            ]
        }
        return try ClaimEvaluation(facts).run(claims, subject: names[0], file: "dir/50%,a:b.json")
    }

    @Test func junit() throws {
        let text = ClaimsJUnit.text(try report(), seconds: 1.25, time: 1_795_272_659)
        #expect(text.contains("timestamp=\"2026-11-21T14:50:59\"") && text.contains("time=\"1.250\""))
        let parser = XMLParserCheck(text)
        #expect(parser.parses, "\(text)")
        #expect(parser.counts["failure"] == ClaimsReportTests.harm.count)
        #expect(parser.counts["testcase"] == 3 + 2 * ClaimsReportTests.harm.count)
        #expect(!text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" || $0 == "\u{FFFE}" || $0 == "\u{202E}" })
    }

    @Test(arguments: [
        (0, "1970-01-01T00:00:00"), (951_782_400, "2000-02-29T00:00:00"), (1_709_251_199, "2024-02-29T23:59:59"),
        (1_709_251_200, "2024-03-01T00:00:00"), (4_102_444_799, "2099-12-31T23:59:59"),
        (4_107_542_400, "2100-03-01T00:00:00"),
    ])
    func timestamps(time: Int, text: String) throws {
        #expect(ClaimsJUnit.text(try report(["a"]), seconds: 0, time: time).contains("timestamp=\"\(text)\""))
    }

    @Test func gitHub() throws {
        let text = ClaimsGitHub.text(try report())
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let commands = lines.filter { $0.contains("::") && $0.drop(while: \.isWhitespace).hasPrefix("::") }
        #expect(commands.count == 2 * ClaimsReportTests.harm.count)
        for line in commands {
            let isOurs = [
                "::error file=dir/50%25%2Ca%3Ab.json,line=3,title=",
                "::warning file=dir/50%25%2Ca%3Ab.json,line=4,title=",
            ]
            .contains { line.hasPrefix($0) }
            #expect(isOurs, "\(line)")
            let properties = line.dropFirst(2).prefix { $0 != ":" }
            #expect(properties.split(separator: ",").count == 3, "\(line)")
        }
        #expect(!text.contains("##[") || !lines.contains { !$0.hasPrefix("::") && $0.contains("##[") })
    }

    /// GitHub shows ten annotations of a kind; the summary has the rest.
    @Test func gitHubLimits() throws {
        let names = (0..<2000).map { "layers.\($0).weight" }
        let report = try report(names)
        let lines = ClaimsGitHub.text(report).split(separator: "\n")
        #expect(lines.count { $0.hasPrefix("::error ") } == 10 && lines.count { $0.hasPrefix("::warning ") } == 10)
        #expect(lines.contains("... and 1990 more; the step's summary has all of them"))
        for used in [UInt64(0), 1_000_000, 1 << 20, 1 << 40] {
            let summary = ClaimsGitHub.summary(report, used: used)
            #expect(used + UInt64(summary.utf8.count) < max(1 << 20, used + 1))
        }
        #expect(ClaimsGitHub.summary(report, used: 900_000).contains("\n... and "))
    }

    @Test func markdown() throws {
        let text = ClaimsMarkdown.text(try report())
        let rows = text.split(separator: "\n").filter { $0.hasPrefix("| ") && !$0.hasPrefix("| | ") }
        #expect(rows.count == 3 + 2 * ClaimsReportTests.harm.count)
        for row in rows {
            // Pipes that end a cell are those without a backslash.
            let bars = row.replacing("\\|", with: "").count { $0 == "|" }
            #expect(bars == 6, "\(row)")
        }
        // Names that would be markup or links stand in code, where they are neither.
        #expect(
            text.contains("`max_error of @everyone #1 https://example.org`") && text.contains(" in @everyone #1 https"))
        #expect(ClaimsMarkdown.text(try report((0..<3000).map { "t\($0)" })).utf8.count < 65_536)
    }

    @Test func sarif() throws {
        let report = try report()
        let log = try JSONValue.parse(Array(ClaimsSARIF.json(report).text(indented: true).utf8))
        let run = try #require(log["runs"]?.array?.first)
        let rules = run["tool"]?["driver"]?["rules"]?.array ?? []
        let results = run["results"]?.array ?? []
        #expect(results.count == report.failed.count + report.warned.count)
        for result in results {
            let index = Int(result["ruleIndex"]?.unsigned ?? 99)
            #expect(rules.indices.contains(index) && rules[index]["id"] == result["ruleId"])
            let place = result["locations"]?.array?[0]["physicalLocation"]
            #expect(place?["artifactLocation"]?["uri"]?.string == "dir/50%25%2Ca%3Ab.json")
            #expect([3, 4].contains(place?["region"]?["startLine"]?.unsigned))
        }
        #expect(Set(results.compactMap { $0["level"]?.string }) == ["error", "warning"])
        #expect(rules.allSatisfy { $0["help"]?["text"]?.string?.isEmpty == false })
    }

    @Test func damage() throws {
        let error = IngotError(
            .checksum, file: "dest/model.safetensors", tensor: TensorName("a"), offset: 7, found: "other bytes")
        let report = ClaimsReport.damaged(error, subject: "dest", file: nil)
        #expect(!report.holds && report.results.map(\.kind) == [.bytesIntact])
        #expect(
            ClaimsGitHub.text(report).hasPrefix("::error title=ingot%3A bytes_intact::checksum: other bytes (dest/"))
    }
}

/// Whether a text is XML that the system's parser takes, and how often each element occurs.
private struct XMLParserCheck {
    let parses: Bool
    let counts: [String: Int]

    init(_ text: String) {
        let places = ["python3"].map { Subprocess.find($0) }
        let program = """
            import sys, json, collections, xml.dom.minidom as m
            d = m.parseString(sys.argv[1].encode())
            print(json.dumps(collections.Counter(e.tagName for e in d.getElementsByTagName('*'))))
            """
        let result = try? Subprocess(
            places[0], [Array("-c".utf8), Array(program.utf8), Array(text.utf8)], environment: [:]
        ).wait()
        parses = result?.status == 0
        let members = (try? JSONValue.parse(Array((result?.output ?? "").utf8)))?.object ?? []
        counts = Dictionary(uniqueKeysWithValues: members.map { ($0.key, Int($0.value.unsigned ?? 0)) })
    }
}
