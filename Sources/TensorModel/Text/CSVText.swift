/// Cells of CSV tables, for spreadsheets and programs (RFC 4180).
package enum CSVText {
    /// First characters that get an apostrophe before them: those that begin a formula in a spreadsheet, with their full-width forms, and
    /// the apostrophe.
    private static let formula = "=+-@\u{FF1D}\u{FF0B}\u{FF0D}\u{FF20}'".unicodeScalars

    /// Text from a file as a cell: escaped by `IngotErrorRenderer`, in quotes if it needs them.
    ///
    /// An apostrophe before a formula makes it plain text. A leading apostrophe gets a second one, so that different names stay different.
    package static func name(_ text: String) -> String {
        let safe = IngotErrorRenderer.escaped(text)
        guard let first = safe.unicodeScalars.first, formula.contains(first) else { return cell(safe) }
        return cell("'" + safe)
    }

    /// A cell, in quotes if it needs them. A semicolon needs them: it separates cells where numbers have a decimal comma.
    package static func cell(_ text: String) -> String {
        let isSpaced = text.utf8.first == UInt8(ascii: " ") || text.utf8.last == UInt8(ascii: " ")
        guard isSpaced || text.utf8.contains(where: { "\",;\r\n".utf8.contains($0) }) else { return text }
        return "\"\(text.replacing("\"", with: "\"\""))\""
    }

    /// A number in full; an empty cell for nil, NaN and infinity.
    package static func number(_ value: Double?) -> String {
        guard let value, value.isFinite else { return "" }
        return "\(value)"
    }

    /// A whole number; an empty cell for nil.
    package static func number(_ value: (some BinaryInteger)?) -> String { value.map { "\($0)" } ?? "" }
}
