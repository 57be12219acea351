/// Cells of tables for spreadsheets and programs (RFC 4180).
package enum CSVText {
    /// Characters that a spreadsheet takes for the beginning of a formula, those of East Asian keyboards too.
    private static let formula = "=+-@\u{FF1D}\u{FF0B}\u{FF0D}\u{FF20}'".unicodeScalars

    /// Text from a file as a cell: escaped as everywhere, in quotes where it needs them.
    ///
    /// An apostrophe before what a spreadsheet would take for a formula keeps it text; one stands before an apostrophe, too, so that
    /// no two names become the same.
    package static func name(_ text: String) -> String {
        let safe = IngotErrorRenderer.escaped(text)
        guard let first = safe.unicodeScalars.first, formula.contains(first) else { return cell(safe) }
        return cell("'" + safe)
    }

    /// A cell as it is, in quotes where it needs them: a semicolon separates cells where the comma is in numbers.
    package static func cell(_ text: String) -> String {
        let isSpaced = text.utf8.first == UInt8(ascii: " ") || text.utf8.last == UInt8(ascii: " ")
        guard isSpaced || text.utf8.contains(where: { "\",;\r\n".utf8.contains($0) }) else { return text }
        return "\"\(text.replacing("\"", with: "\"\""))\""
    }

    /// A number in full; an empty cell for none, NaN and infinity.
    package static func number(_ value: Double?) -> String {
        guard let value, value.isFinite else { return "" }
        return "\(value)"
    }

    /// A whole number; an empty cell for none.
    package static func number(_ value: (some BinaryInteger)?) -> String { value.map { "\($0)" } ?? "" }
}
