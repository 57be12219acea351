package import TensorModel

/// The metadata of a GGUF file as it is stored: where its entries are, without those that say how the file was split.
package struct GGUFMetadataBytes: Sendable, Hashable {
    /// Number of entries.
    package private(set) var count: UInt64 = 0
    /// The bytes of the entries, in the order of the file. Neighbouring entries share a range.
    package private(set) var ranges: [ByteRange] = []

    /// Name of the file in a converted checkpoint that has the metadata of a GGUF source, and no tensors.
    package static let fileName = "source-metadata.gguf"

    /// No entries.
    init() {}

    /// Adds the bytes of the next entry.
    mutating func add(_ bytes: Range<UInt64>) {
        count += 1
        if let last = ranges.last, last.end == bytes.lowerBound,
            let joined = ByteRange(start: last.start, end: bytes.upperBound)
        {
            ranges[ranges.count - 1] = joined
        } else if let range = ByteRange(start: bytes.lowerBound, end: bytes.upperBound) {
            ranges.append(range)
        }
    }

    /// Bytes of a file that has these entries and no tensors.
    package var fileBytes: UInt64 { ranges.reduce(GGUFFile.fixedBytes) { $0 + $1.count } }

    /// The first bytes of such a file: magic, version 3, no tensors, the number of entries. The entries follow, and end the file.
    package var front: [UInt8] {
        func word(_ value: UInt64, _ count: Int) -> [UInt8] {
            (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
        }
        return GGUFFile.magic + word(3, 4) + word(0, 8) + word(count, 8)
    }
}
