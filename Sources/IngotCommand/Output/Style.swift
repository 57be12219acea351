#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// When results are coloured.
enum ColorChoice: String, CaseIterable {
    case auto, always, never
}

/// How text for people is set: whether its meaning is coloured, and whether characters beyond ASCII are understood.
///
/// Colour says nothing that the words do not say.
struct Style: Sendable {
    /// Whether colours are used.
    let isColored: Bool
    /// Whether bars are drawn with block characters; in ASCII otherwise.
    let usesBlocks: Bool
    /// Columns of the terminal; nil where the text goes elsewhere, and lines may be of any length.
    let width: Int?

    /// Text as it is, for files and for pipes.
    static let plain = Style(isColored: false, usesBlocks: true, width: nil)

    /// The style of standard output.
    static func forOutput(_ choice: ColorChoice) -> Style {
        let isColored =
            switch choice {
            case .always: true
            case .never: false
            case .auto:
                Console.width != nil && Console.variable("NO_COLOR") == nil && Console.variable("TERM") != "dumb"
            }
        // Without a terminal, as wide as `COLUMNS` says, where it does.
        let given = Console.variable("COLUMNS").flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil }
        return Style(isColored: isColored, usesBlocks: isUTF8, width: Console.width ?? given)
    }

    /// Whether the locale's characters are UTF-8, as the environment says.
    private static var isUTF8: Bool {
        let name = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { Console.variable($0) }.first { !$0.isEmpty } ?? ""
        let upper = name.uppercased()
        return upper.contains("UTF-8") || upper.contains("UTF8")
    }

    /// What holds.
    func good(_ text: String) -> String { colored(text, 32) }
    /// What does not.
    func bad(_ text: String) -> String { colored(text, 31) }
    /// What is worth a look.
    func warning(_ text: String) -> String { colored(text, 33) }
    /// What is less important than the rest.
    func faint(_ text: String) -> String { colored(text, 2) }
    /// Headings.
    func strong(_ text: String) -> String { colored(text, 1) }

    private func colored(_ text: String, _ code: Int) -> String {
        isColored && !text.isEmpty ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }

    /// Counts as a row of bars, the highest as high as a line.
    func sparkline(_ counts: [UInt64]) -> String {
        let bars = usesBlocks ? Array("▁▂▃▄▅▆▇█") : Array("_.:-=+*#")
        guard let most = counts.max(), most > 0 else { return String(repeating: " ", count: counts.count) }
        return String(
            counts.map { count in
                // What is there is seen: a space means none at all.
                count == 0 ? " " : bars[min(bars.count - 1, Int(Double(count) / Double(most) * Double(bars.count)))]
            })
    }
}
