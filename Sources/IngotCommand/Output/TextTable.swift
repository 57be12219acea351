import TensorModel

/// A table for people: aligned columns. On a narrow terminal, the less important columns are left out.
struct TextTable {
    /// Meaning of a cell, for its colour.
    enum Tone {
        case plain, faint, strong, warning, bad
    }

    /// A cell.
    struct Cell {
        let text: String
        let tone: Tone

        init(_ text: String, _ tone: Tone = .plain) {
            self.text = text
            self.tone = tone
        }
    }

    /// A column.
    struct Column {
        let title: String
        /// Whether to align left; numbers are aligned right.
        let isLeft: Bool
        /// Columns of rank 0 always stay. If the table is too wide, the column with the largest rank is left out first.
        let rank: Int

        init(_ title: String, isLeft: Bool = false, rank: Int = 0) {
            self.title = title
            self.isLeft = isLeft
            self.rank = rank
        }
    }

    /// The columns; the first one has the names.
    let columns: [Column]
    /// The rows, one cell per column.
    var rows: [[Cell]] = []
    /// The column of names keeps this many columns of text; other columns are left out first.
    private static let minimumName = 20
    private static let gap = 2

    /// Makes a table without rows.
    init(_ columns: [Column]) { self.columns = columns }

    /// Titles of columns that have text and are left out because the table would be wider than `style.width`.
    func leftOut(_ style: Style) -> [String] {
        let shown = Set(fitting(style).shown)
        return columns.indices.filter { column in
            !shown.contains(column) && rows.contains { !$0[column].text.isEmpty }
        }.map { columns[$0].title }
    }

    /// Lines of the table. Names in the first column are shortened to fit `style.width`; rows are not wrapped.
    func lines(_ style: Style) -> [String] {
        let (shown, widths) = fitting(style)
        let head = shown.map { style.strong(set(columns[$0].title, $0, widths[$0])) }
        return [joined(head)]
            + rows.map { row in
                joined(
                    shown.map { column in
                        let cell = row[column]
                        let text = column == 0 ? Format.shortened(cell.text, to: widths[0]) : cell.text
                        return style.toned(set(text, column, widths[column]), cell.tone)
                    })
            }
    }

    /// The columns that fit, and the width of every column.
    private func fitting(_ style: Style) -> (shown: [Int], widths: [Int]) {
        var widths = columns.indices.map { column in
            max(columns[column].title.width, rows.lazy.map { $0[column].text.width }.max() ?? 0)
        }
        // Leave out columns without any text.
        var shown = columns.indices.filter { column in
            columns[column].rank == 0 || rows.contains { !$0[column].text.isEmpty }
        }
        if let width = style.width {
            func others() -> Int { shown.dropFirst().reduce(0) { $0 + widths[$1] + TextTable.gap } }
            while others() + min(widths[0], TextTable.minimumName) > width,
                let minimum = shown.filter({ columns[$0].rank > 0 }).max(by: { columns[$0].rank < columns[$1].rank })
            {
                shown.removeAll { $0 == minimum }
            }
            widths[0] = min(widths[0], max(8, width - others()))
        }
        return (shown, widths)
    }

    private func set(_ text: String, _ column: Int, _ width: Int) -> String {
        columns[column].isLeft ? Format.filled(text, to: width) : Format.padded(text, to: width)
    }

    private func joined(_ cells: [String]) -> String {
        cells.joined(separator: String(repeating: " ", count: TextTable.gap)).trimmingSuffix
    }
}

extension Style {
    /// Colours text by its meaning; surrounding spaces stay outside the colour.
    func toned(_ text: String, _ tone: TextTable.Tone) -> String {
        guard tone != .plain, isColored else { return text }
        let inner = text.trimmingSuffix
        let start = inner.prefix { $0 == " " }
        let word = String(inner.dropFirst(start.count))
        let tail = String(text.dropFirst(inner.count))
        let colored =
            switch tone {
            case .plain: word
            case .faint: faint(word)
            case .strong: strong(word)
            case .warning: warning(word)
            case .bad: bad(word)
            }
        return start + colored + tail
    }
}

extension Format {
    /// A number in at most six columns, with three significant digits if they fit: `0.0213`, `12.5`, `-3.1e-9`.
    static func brief(_ value: Double) -> String {
        guard value != 0 else { return "0" }
        guard value.isFinite else { return "\(value)" }
        let size = abs(value)
        switch size {
        case 999.5...99_999: return NumberText.fixed(value, 0)
        case 99.95...: return size < 999.5 ? NumberText.fixed(value, 0) : shortScientific(value)
        case 9.995...: return NumberText.fixed(value, 1)
        case 0.9995...: return NumberText.fixed(value, 2)
        case 0.09995...: return NumberText.fixed(value, 3)
        case 0.00995...: return NumberText.fixed(value, 4)
        default: return shortScientific(value)
        }
    }

    /// A number with two significant digits and a short exponent: `3.1e-9`.
    private static func shortScientific(_ value: Double) -> String {
        let text = scientific(value)
        guard let mark = text.firstIndex(of: "e"),
            let exponent = Int(text[text.index(after: mark)...].drop { $0 == "+" })
        else { return text }
        let mantissa = Double(text[..<mark]) ?? 0
        let short = NumberText.fixed(mantissa, 1)
        // 9.96 rounds to 10.0, one column too many.
        return (short.hasSuffix("10.0") ? short.replacing("10.0", with: "9.9") : short) + "e\(exponent)"
    }

    /// A count in at most five columns: `987`, `12k`, `3.4M`.
    static func count(_ number: UInt64) -> String {
        guard number >= 10_000 else { return "\(number)" }
        let units = ["", "k", "M", "G", "T", "P"]
        var value = Double(number)
        var unit = 0
        while value >= 999.5, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        return NumberText.fixed(value, value < 9.95 ? 1 : 0) + units[unit]
    }

    /// A whole number with its digits in groups of three.
    static func grouped(_ number: UInt64) -> String {
        var digits = Array("\(number)")
        var place = digits.count - 3
        while place > 0 {
            digits.insert(",", at: place)
            place -= 3
        }
        return String(digits)
    }

    /// A share in percent.
    static func percent(_ part: UInt64, of whole: UInt64) -> String {
        guard whole > 0, part > 0 else { return "0 %" }
        let share = Double(part) / Double(whole) * 100
        return share < 0.005 ? "<0.01 %" : "\(NumberText.fixed(share, share < 0.995 ? 2 : 1)) %"
    }
}
