import TensorModel

/// Formats numbers and columns for people.
enum Format {
    /// A size in decimal units with three significant digits, such as `12.3 MB`; whole bytes below 1000.
    static func bytes(_ count: UInt64) -> String {
        let units = ["B", "kB", "MB", "GB", "TB", "PB"]
        var value = Double(count)
        var unit = 0
        while value >= 999.5, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        return unit == 0
            ? "\(count) B" : "\(NumberText.fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0)) \(units[unit])"
    }

    /// A number with three significant digits, such as `6.94e-03`; `0` for zero.
    static func scientific(_ value: Double) -> String {
        guard value != 0 else { return "0" }
        guard value.isFinite else { return "\(value)" }
        var exponent = 0
        var mantissa = abs(value)
        while mantissa >= 9.995 {
            mantissa /= 10
            exponent += 1
        }
        while mantissa < 0.9995 {
            mantissa *= 10
            exponent -= 1
        }
        return (value < 0 ? "-" : "") + NumberText.fixed(mantissa, 2) + "e" + (exponent < 0 ? "-" : "+")
            + NumberText.padded(abs(exponent), digits: 2)
    }

    /// Pads text on the left, to align it right in `width` columns.
    static func padded(_ text: String, to width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.width)) + text
    }

    /// Pads text on the right, to align it left in `width` columns.
    static func filled(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.width))
    }

    /// Shortens a dotted name to `width` columns, as a pattern that `--filter` accepts: `*` stands for what is left out.
    ///
    /// It takes up to four steps: the components before the first number become one initial; other components become initials; the last
    /// component (before `weight` or `bias`) loses its middle (`m*.0.post_*norm.w*`); the name loses its middle.
    static func shortened(_ text: String, to width: Int) -> String {
        guard text.width > width else { return text }
        var parts = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        func excess() -> Int { parts.joined(separator: ".").width - width }
        var telling =
            parts.count > 1 && ["weight", "bias"].contains(parts[parts.count - 1]) ? parts.count - 2 : parts.count - 1
        let leading = min(telling, parts.firstIndex { $0.first?.isNumber == true } ?? telling)
        if leading > 0, let initial = parts[0].first {
            parts.replaceSubrange(0..<leading, with: ["\(initial)*"])
            telling -= leading - 1
        }
        for index in parts.indices where index != telling && parts[index].width > 2 && excess() > 0 {
            if let initial = parts[index].first, !initial.isNumber { parts[index] = "\(initial)*" }
        }
        // At least four characters of the component remain.
        if case let excess = excess(), excess > 0, parts[telling].width >= excess + 5 {
            let kept = parts[telling].width - excess - 1
            parts[telling] = parts[telling].prefix((kept + 1) / 2) + "*" + parts[telling].suffix(kept / 2)
        }
        let short = parts.joined(separator: ".")
        guard short.width > width, width > 3 else { return short }
        let tail = (width - 1) * 2 / 3
        return short.prefix(width - 1 - tail) + "*" + short.suffix(tail)
    }

    /// Breaks text into lines of at most `width` characters, at spaces; a longer word is cut.
    static func wrapped(_ text: String, to width: Int) -> [String] {
        var lines = [""]
        for word in text.split(separator: " ") {
            let last = lines[lines.count - 1]
            // A word may have millions of characters: measure no more than a line.
            if !last.isEmpty, last.width + 1 + String(word.prefix(width + 1)).width > width { lines.append("") }
            var rest = word
            while !rest.dropFirst(width).isEmpty {
                lines[lines.count - 1] += rest.prefix(width)
                rest = rest.dropFirst(width)
                lines.append("")
            }
            lines[lines.count - 1] += (lines[lines.count - 1].isEmpty ? "" : " ") + rest
        }
        return lines
    }

    /// A label and items separated by commas, in lines of at most `width` characters, indented below the label.
    static func list(_ label: String, _ items: [String], width: Int = 78) -> String {
        var lines = [label]
        for (index, item) in items.enumerated() {
            let item = item + (index == items.count - 1 ? "" : ",")
            if lines[lines.count - 1].width + 1 + item.width > width {
                lines.append(String(repeating: " ", count: label.width))
            }
            lines[lines.count - 1] += " " + item
        }
        return lines.joined(separator: "\n")
    }

    /// Rows as aligned columns, two spaces apart. The first column is aligned left and shortened so that lines fit `width`.
    static func table(_ rows: [[String]], width: Int?, left: Set<Int> = [0]) -> String {
        guard let columns = rows.first?.count else { return "" }
        var widths = (0..<columns).map { column in rows.map { $0[column].width }.max() ?? 0 }
        if let width {
            let others = widths.dropFirst().reduce(0) { $0 + $1 + 2 }
            widths[0] = min(widths[0], max(16, width - others))
        }
        return rows.map { row in
            row.enumerated().map { column, cell in
                let cell = column == 0 ? shortened(cell, to: widths[0]) : cell
                return left.contains(column) ? filled(cell, to: widths[column]) : padded(cell, to: widths[column])
            }.joined(separator: "  ").trimmingSuffix
        }.joined(separator: "\n")
    }
}

extension String {
    /// Columns that the text takes on a terminal, without escape sequences for colours. Fast for ASCII.
    var width: Int {
        if utf8.allSatisfy({ $0 < 0x80 && $0 != 0x1B }) { return utf8.count }
        var columns = 0
        var isEscape = false
        for character in self {
            if isEscape {
                isEscape = character != "m"
            } else if character == "\u{1B}" {
                isEscape = true
            } else {
                columns += 1
            }
        }
        return columns
    }

    /// The text without trailing spaces.
    var trimmingSuffix: String {
        var end = utf8.endIndex
        while end > utf8.startIndex, utf8[utf8.index(before: end)] == UInt8(ascii: " ") {
            end = utf8.index(before: end)
        }
        return String(self[..<end])
    }
}
