/// Code spans of Markdown as in CommonMark: from a run of backticks to the next run of the same length.
package enum MarkdownCode {
    /// The line without its code spans. Renderers may treat the rest as markup or links.
    package static func removed(from line: String) -> String {
        var (rest, plain) = (line[...], "")
        while let start = rest.firstIndex(of: "`") {
            plain += rest[..<start]
            let fence = rest[start...].prefix { $0 == "`" }
            var inner = rest[fence.endIndex...]
            var end: Substring?
            while let next = inner.firstIndex(of: "`") {
                let run = inner[next...].prefix { $0 == "`" }
                if run.count == fence.count {
                    end = run
                    break
                }
                inner = inner[run.endIndex...]
            }
            guard let end else { return plain + rest[start...] }
            rest = rest[end.endIndex...]
        }
        return plain + rest
    }
}
