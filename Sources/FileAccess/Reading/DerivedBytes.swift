import Synchronization
import SystemPackage
package import TensorModel

/// Bytes of a tensor, row by row, that a file holds in another form: in blocks of codes, or with strides between its elements.
package protocol DerivedBytes: Sendable {
    /// How many there are.
    var byteCount: UInt64 { get }
    /// The bytes of the file that hold them.
    var storedRange: ByteRange { get }

    /// Whether any part of them may come from bytes all over the stored range, as the rows of a transposed matrix do.
    var isScattered: Bool { get }

    /// Derives a part of the bytes.
    ///
    /// - Parameters:
    ///   - start: the first of them.
    ///   - count: how many; no more than there are.
    ///   - file: the file that holds them.
    ///   - offset: where in the buffer the first belongs; the buffer is large enough.
    func read(_ start: UInt64, count: Int, of file: MappedFile, into buffer: inout [UInt8], at offset: Int) throws

    /// Derives parts of one length, `stride` bytes apart, next to each other into the first bytes of the buffer.
    ///
    /// - Parameter start: the first byte of the first of them.
    func read(
        _ start: UInt64, count: Int, rows: Int, stride: Int, of file: MappedFile, into buffer: inout [UInt8]) throws
}

extension DerivedBytes {
    /// A part comes from the same part of the stored range, in proportion.
    package var isScattered: Bool { false }
}

extension DerivedBytes {
    /// One part after the other.
    package func read(
        _ start: UInt64, count: Int, rows: Int, stride: Int, of file: MappedFile, into buffer: inout [UInt8]
    ) throws {
        for row in 0..<rows {
            try read(start + UInt64(row * stride), count: count, of: file, into: &buffer, at: row * count)
        }
    }
}

/// The ranges of a file that stand for derived bytes: they begin where no file ends, so that no other range can be meant.
final class DerivedRanges: Sendable {
    private struct Entry: Sendable {
        let range: ByteRange
        let bytes: any DerivedBytes
    }

    private let entries = Mutex<[Entry]>([])

    /// Where the first begins: the greatest offset of a file is 2^63 - 1, and no file system has one near half of that.
    private static let base: UInt64 = 1 << 62

    /// Whether a range is one of them.
    static func contain(_ range: ByteRange) -> Bool { range.start >= base }

    func add(_ bytes: any DerivedBytes, to file: MappedFile) throws -> ByteRange {
        try entries.withLock { entries in
            let start = entries.last?.range.end ?? DerivedRanges.base
            guard let range = ByteRange(start: start, count: bytes.byteCount), range.end < UInt64(Int64.max) else {
                throw IngotError(
                    .tooManyTensors, file: file.path.string, found: "tensors of more bytes than can be addressed",
                    expected: "less than 2^62 bytes")
            }
            entries.append(Entry(range: range, bytes: bytes))
            return range
        }
    }

    /// The entry that holds a range; nil where there is none.
    private func entry(_ range: ByteRange) -> Entry? {
        let found = entries.withLock { entries in
            // The last that begins no later; entries without bytes begin where the next one does.
            var (low, high) = (0, entries.count)
            while low < high {
                let middle = (low + high) / 2
                if entries[middle].range.start <= range.start { low = middle + 1 } else { high = middle }
            }
            return low > 0 ? entries[low - 1] : nil
        }
        return found.flatMap { range.end <= $0.range.end ? $0 : nil }
    }

    /// The entry that holds a range.
    ///
    /// - Throws: `invalidOffsets` where there is none.
    @discardableResult
    private func check(_ range: ByteRange, of file: MappedFile) throws -> Entry {
        guard let entry = entry(range) else {
            throw IngotError(
                .invalidOffsets, file: file.path.string, offset: range.start,
                found: "a range up to byte \(range.end)",
                expected: "at most \(file.byteCount) bytes, the size of the file")
        }
        return entry
    }

    /// Requires that a range is one of derived bytes, or a part of one.
    func require(_ range: ByteRange, of file: MappedFile) throws { try check(range, of: file) }

    func copy(_ range: ByteRange, rows: Int, stride: Int, of file: MappedFile, into buffer: inout [UInt8]) throws {
        guard range.count > 0 else { return }
        let entry = try check(range, of: file)
        let start = range.start - entry.range.start
        let reach = Checked.add(start, UInt64(stride) * UInt64(max(0, rows - 1))).flatMap {
            Checked.add($0, range.count)
        }
        precondition(reach.map { $0 <= entry.range.count } == true, "a range of no derived bytes")
        try entry.bytes.read(start, count: Int(range.count), rows: rows, stride: stride, of: file, into: &buffer)
    }

    /// Gives back pages in proportion: where derived bytes come from is known for all of them together only. All pages go
    /// where each part comes from all over them.
    func release(_ range: ByteRange, of file: MappedFile) {
        guard range.count > 0, let entry = entry(range) else { return }
        let stored = entry.bytes.storedRange
        let share = Double(stored.count) / Double(entry.range.count)
        if entry.bytes.isScattered { return file.release(stored) }
        let start = stored.start + UInt64(Double(range.start - entry.range.start) * share)
        let end = min(stored.end, stored.start + UInt64((Double(range.end - entry.range.start) * share).rounded(.up)))
        if let part = ByteRange(start: min(start, end), end: end) { file.release(part) }
    }
}
