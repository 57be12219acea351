import TensorModel
import Testing

/// Names in Markdown: nothing in them is a link, a mention, a reference, markup, or the end of a cell.
@Suite struct MarkdownTextTests {
    @Test(arguments: [
        ("a.q_proj.weight", "`a.q_proj.weight`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("a``b`", "``` a``b` ```"),
        ("a|b", "`a\\u{7c}b`"), ("a\\|b", "`a\\\\u{7c}b`"), ("", ""), (" x ", "`  x  `"),
        ("@org/team #1", "`@org/team #1`"),
        ("two\nlines", "`two\\u{a}lines`"), ("a\\", "`a\\`"),
    ])
    func names(name: String, expected: String) {
        #expect(MarkdownText.name(name) == expected)
    }

    @Test(arguments: [
        ("0.02 in b.q_w, at most 1e-06", "0.02 in b.q\\_w, at most 1e-06"), ("a <b> *c*", "a &lt;b&gt; \\*c\\*"),
        ("SHA-256 of 1234567 bytes", "SHA-256 of 1234567 bytes"),
    ])
    func sentences(text: String, expected: String) {
        #expect(MarkdownText.sentence(text) == expected)
    }

    /// What GitHub or GitLab would make a link, a mention or a reference of, in a sentence.
    @Test(arguments: [
        "in @org/team", "in x#1", "see http://a.example/", "see HTTPS://a.example", "at www.example.org",
        "a user@host.example",
        "in deadbeef", "in 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567", "in GH-12", "in [x](y)", "in ![x]", "in $x$",
        "in ~x~",
        "in &amp;", "in a|b", "in `x`", "in a\\b", "in \u{E9}", "in ::x::",
    ])
    func sentencesThatNeedCode(text: String) {
        #expect(MarkdownText.sentence(text) == MarkdownText.name(text))
    }

    /// A code span ends where it should, and holds no pipe.
    @Test func fences() throws {
        var generator = ErrorRenderingTests.Generator(state: 3)
        let letters = Array("`` |\\a ")
        for _ in 0..<5000 {
            let name = String(
                (0..<Int(1 + generator.next() % 9)).map { _ in letters[Int(generator.next() % UInt64(letters.count))] })
            let span = MarkdownText.name(name)
            let fence = span.prefix { $0 == "`" }
            let inner = span.dropFirst(fence.count)
            #expect(!span.contains("|") && inner.hasSuffix(fence) && !fence.isEmpty, "\(span)")
            // No run of as many backticks before the end.
            let runs = inner.split(whereSeparator: { $0 != "`" }).map(\.count)
            #expect(runs.last == fence.count && !runs.dropLast().contains(fence.count), "\(span)")
        }
    }
}
