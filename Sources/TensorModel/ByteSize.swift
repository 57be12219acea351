/// A number of bytes as people write it: `268435456`, `256MiB`, `1GB`. Units may be in upper or lower case.
package enum ByteSize {
    private static let units: [(name: String, bytes: UInt64)] = [
        ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("kB", 1_000), ("MB", 1_000_000),
        ("GB", 1_000_000_000), ("TB", 1_000_000_000_000), ("B", 1), ("", 1),
    ]

    /// Reads a whole number with or without a unit; nil for any other text, and for 2^64 or more.
    package static func parse(_ text: String) -> UInt64? {
        for (name, scale) in units where text.lowercased().hasSuffix(name.lowercased()) {
            let digits = text.dropLast(name.count)
            guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt64(digits) else { continue }
            return Checked.multiply(number, scale)
        }
        return nil
    }
}
