/// A table in Markdown for GitHub and GitLab, line by line. Cells are Markdown: escape text from files with `MarkdownText`.
package struct MarkdownTable {
    /// The lines so far, without line ends: titles, alignment, rows.
    package private(set) var lines: [String]

    /// Begins a table.
    ///
    /// - Parameter left: number of columns that are aligned left, from the first on; the others are aligned right.
    package init(_ titles: [String], left: Int) {
        lines = [
            MarkdownTable.line(titles), "|" + titles.indices.map { $0 < left ? "---|" : "---:|" }.joined(),
        ]
    }

    /// A table with all its rows.
    package init(_ titles: [String], left: Int, _ rows: [[String]]) {
        self.init(titles, left: left)
        for row in rows { append(row) }
    }

    /// Appends a row of as many cells as there are titles.
    package mutating func append(_ cells: [String]) { lines.append(MarkdownTable.line(cells)) }

    /// One row as a line.
    package static func line(_ cells: [String]) -> String {
        "|" + cells.map { $0.isEmpty ? " |" : " \($0) |" }.joined()
    }
}
