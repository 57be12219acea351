import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `--format html`; what the page looks like and does is tested in a browser (Tests/Browser).
@Suite struct PageTests {
    /// The text of the element `id`, as a browser reads it: up to the first `</script`.
    private static func block(_ id: String, of page: String) throws -> String {
        let start = try #require(page.range(of: "<script type=\"application/json\" id=\"\(id)\">"))
        let end = try #require(page.range(of: "</script", range: start.upperBound..<page.endIndex))
        return String(page[start.upperBound..<end.lowerBound])
    }

    @Test func `a page holds the whole report and asks for nothing`() async throws {
        let sample = try await CommandSample()
        for verb in [
            ["inspect", sample.sealed.string], ["inspect", sample.source.string],
            ["verify", sample.sealed.string, "--against", sample.source.string],
        ] {
            let page = try IngotProcess.run(verb + ["--format", "html"])
            #expect(page.status == 0)
            let data = try JSONValue.parse(Array(PageTests.block("data", of: page.output).utf8))
            let plain = try JSONValue.parse(Array(IngotProcess.run(verb + ["--format", "json"]).output.utf8))
            #expect(data["tensors"] == plain["tensors"] && data["schema"] == plain["schema"])
            #expect(
                try JSONValue.parse(Array(PageTests.block("peers", of: page.output).utf8))["sets"]?.array?.count == 3)
            #expect(page.output.contains("default-src 'none'"))
            #expect(!page.output.contains("{{") && !page.output.contains(" src=") && !page.output.contains("<link"))
        }
    }
}
