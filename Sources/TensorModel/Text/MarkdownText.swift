/// Text from files in Markdown for GitHub and GitLab, in a table cell or a heading.
///
/// Only a code span stays as it is. Elsewhere both sites make links of addresses, of the digits of a commit, of `@name` and of `#1`, and
/// they resolve the escapes of Markdown and HTML before they look for them.
package enum MarkdownText {
    /// A name as a code span; nothing for an empty name.
    package static func name(_ text: String) -> String {
        guard !text.isEmpty else { return "" }
        // A pipe ends a cell even in a code span. A backslash of the name right before it would pass for the pipe's escape.
        let safe = IngotErrorRenderer.escaped(text).replacing("|", with: IngotErrorRenderer.escape("|"))
        let fence = String(repeating: "`", count: longestRun(of: "`", in: safe) + 1)
        // Markdown removes one space on each side.
        let needsSpace = safe.hasPrefix("`") || safe.hasSuffix("`") || safe.hasPrefix(" ") && safe.hasSuffix(" ")
        return needsSpace ? "\(fence) \(safe) \(fence)" : fence + safe + fence
    }

    /// A name of a tensor as a code span.
    package static func name(_ name: TensorName) -> String { self.name(name.text) }

    /// A sentence that may quote names: escaped if nothing in it can become markup or a link, otherwise as a code span.
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

    /// Whether a word looks like a commit, which becomes a link: 7 to 40 hexadecimal digits. Digits without a letter are a number.
    private static func isCommit(_ word: Substring) -> Bool {
        (7...40).contains(word.count) && word.allSatisfy(\.isHexDigit) && word.contains(where: \.isLetter)
    }

    /// Whether the text has something like `gh-1`, which becomes a link to an issue.
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
