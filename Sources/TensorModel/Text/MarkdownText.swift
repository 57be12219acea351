/// Text from files in Markdown, as GitHub and GitLab show it: in a cell of a table, or in a heading.
///
/// A code span is the only place where neither makes a link of an address or of the digits of a commit, a mention of `@name`, or
/// a reference of `#1`: they look for those in what the escapes of Markdown and HTML stand for.
package enum MarkdownText {
    /// A name as a code span.
    package static func name(_ text: String) -> String {
        guard !text.isEmpty else { return "" }
        // A pipe ends a cell even in a code span, unless a backslash is before it, which no backslash of the name may be.
        let safe = IngotErrorRenderer.escaped(text).replacing("|", with: IngotErrorRenderer.escape("|"))
        let fence = String(repeating: "`", count: longestRun(of: "`", in: safe) + 1)
        // One space on each side is taken away again.
        let needsSpace = safe.hasPrefix("`") || safe.hasSuffix("`") || safe.hasPrefix(" ") && safe.hasSuffix(" ")
        return needsSpace ? "\(fence) \(safe) \(fence)" : fence + safe + fence
    }

    /// A name of a tensor as a code span.
    package static func name(_ name: TensorName) -> String { self.name(name.text) }

    /// A sentence that may quote names: as it is where nothing in it can be taken for markup or a link, else as a code span.
    package static func sentence(_ text: String) -> String {
        guard isHarmless(text) else { return name(text) }
        return text.reduce(into: "") { safe, character in
            switch character {
            case "<": safe += "&lt;"
            case ">": safe += "&gt;"
            case "*", "_": safe += "\\\(character)"
            default: safe.append(character)
            }
        }
    }

    private static func isHarmless(_ text: String) -> Bool {
        let isPlain = text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
            default: " .,;:_*+-/()%'\"=<>?".utf8.contains(byte)
            }
        }
        guard isPlain, !["::", "://", "www.", "WWW."].contains(where: { text.contains($0) }) else { return false }
        return text.split(whereSeparator: { !$0.isLetter && !$0.isNumber }).allSatisfy { !isCommit($0) }
            && !namesIssue(text.lowercased())
    }

    /// Whether a word looks like the digits of a commit, which are links: 7 to 40, with a letter, as numbers have none.
    private static func isCommit(_ word: Substring) -> Bool {
        (7...40).contains(word.count) && word.allSatisfy(\.isHexDigit) && word.contains(where: \.isLetter)
    }

    /// Whether there is a `gh-1`, an issue of the repository.
    private static func namesIssue(_ text: String) -> Bool { text.contains(/gh-[0-9]/) }

    private static func longestRun(of character: Character, in text: String) -> Int {
        var (longest, run) = (0, 0)
        for other in text {
            run = other == character ? run + 1 : 0
            longest = max(longest, run)
        }
        return longest
    }
}
