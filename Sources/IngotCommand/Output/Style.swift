#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// When to colour results.
enum ColorChoice: String, CaseIterable {
    case auto, always, never
}

/// Style of text for people: colours, and characters beyond ASCII.
///
/// Colour repeats what the words say.
struct Style: Sendable {
    /// Whether to use colours.
    let isColored: Bool
    /// Whether to draw bars with block characters; otherwise with ASCII.
    let usesBlocks: Bool
    /// Columns of a line; nil for lines of any length.
    let width: Int?

    /// Style for files and pipes: no colours, no limit of the width.
    static let plain = Style(isColored: false, usesBlocks: true, width: nil)

    /// Style for standard output.
    static func forOutput(_ choice: ColorChoice) -> Style {
        let isColored =
            switch choice {
            case .always: true
            case .never: false
            case .auto:
                Console.width != nil && Console.variable("NO_COLOR") == nil && Console.variable("TERM") != "dumb"
            }
        // Without a terminal, use `COLUMNS` if it is set.
        let given = Console.variable("COLUMNS").flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil }
        return Style(isColored: isColored, usesBlocks: isUTF8, width: Console.width ?? given)
    }

    /// Whether the locale in the environment uses UTF-8.
    private static var isUTF8: Bool {
        let name = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { Console.variable($0) }.first { !$0.isEmpty } ?? ""
        let upper = name.uppercased()
        return upper.contains("UTF-8") || upper.contains("UTF8")
    }

    /// Colours text about success.
    func good(_ text: String) -> String { colored(text, 32) }
    /// Colours text about failure.
    func bad(_ text: String) -> String { colored(text, 31) }
    /// Colours text that deserves attention.
    func warning(_ text: String) -> String { colored(text, 33) }
    /// Dims text that is less important.
    func faint(_ text: String) -> String { colored(text, 2) }
    /// Highlights headings.
    func strong(_ text: String) -> String { colored(text, 1) }

    private func colored(_ text: String, _ code: Int) -> String {
        isColored && !text.isEmpty ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }

    /// Counts as a row of bars; the largest count has full height.
    func sparkline(_ counts: [UInt64]) -> String {
        let bars = usesBlocks ? Array("▁▂▃▄▅▆▇█") : Array("_.:-=+*#")
        guard let maximum = counts.max(), maximum > 0 else { return String(repeating: " ", count: counts.count) }
        return String(
            counts.map { count in
                // Every count above 0 is visible; only 0 is a space.
                count == 0 ? " " : bars[min(bars.count - 1, Int(Double(count) / Double(maximum) * Double(bars.count)))]
            })
    }
}
