import FileAccess
import SystemPackage
import TensorModel

/// The chunk table of a payload, checked. Its entries stay in the file until one is asked for: a table may have 2^22 of them, and a
/// shard many tables.
package struct ChunkTable: Sendable {
    private let file: MappedFile
    private let payload: SealedShard.Payload

    /// A table that was checked, or whose entries are checked one by one.
    init(of payload: SealedShard.Payload, in file: MappedFile) {
        self.payload = payload
        self.file = file
    }

    /// Number of chunks.
    package var count: Int { payload.prologue.grid.count }

    /// Bytes of a table that are read at a time, and stay resident behind an entry that was read.
    static let windowBytes = 1 << 20

    /// Reads an entry.
    ///
    /// - Throws: `payloadInvalid` where the file is not what it was when the table was checked.
    package func entry(_ index: Int) throws -> ChunkEntry {
        let size = UInt64(payload.prologue.entryBytes)
        let start = payload.range.start + UInt64(PayloadPrologue.byteCount) + UInt64(index) * size
        guard index >= 0, index < count, let range = ByteRange(start: start, count: size) else {
            preconditionFailure("a chunk outside its payload")
        }
        let bytes = try file.bytes(range)
        releaseWindows(before: index, range)
        guard let entry = parse(bytes, index, at: 0), let end = Checked.add(entry.offset, entry.byteCount),
            end <= payload.range.count
        else { throw failure(ofEntry: index, at: start - payload.range.start) }
        return entry
    }

    /// With the first entry of a window, gives back the pages of the two windows before it: others may still read in the last one.
    private func releaseWindows(before index: Int, _ range: ByteRange) {
        guard index % (ChunkTable.windowBytes / payload.prologue.entryBytes) == 0 else { return }
        let back = min(UInt64(2 * ChunkTable.windowBytes), range.start)
        if let window = ByteRange(start: range.start - back, end: range.start) { file.release(window) }
    }

    /// Checks the whole table, the seal's hash of it aside: the entries one by one, that chunks follow each other without gaps, and
    /// the padding behind the last.
    ///
    /// - Parameter body: called with each entry, in order.
    /// - Throws: `payloadInvalid`.
    func check(_ body: (ChunkEntry) throws -> Void) throws {
        let prologue = payload.prologue
        let size = prologue.entryBytes
        let entries = ChunkTable.windowBytes / size
        var window = [UInt8](repeating: 0, count: min(count, entries) * size)
        var offset = UInt64(prologue.frontBytes)
        for first in stride(from: 0, to: count, by: entries) {
            try Interruption.check()
            let start = payload.range.start + UInt64(PayloadPrologue.byteCount + first * size)
            guard let range = ByteRange(start: start, count: UInt64(min(entries, count - first) * size)) else {
                throw failure("a chunk table beyond the end of the file", "\(count) entries of \(size) bytes")
            }
            try file.read(range, into: &window)
            for index in first..<min(first + entries, count) {
                let place = (index - first) * size
                guard let entry = parse(window, index, at: place), entry.offset == offset,
                    let end = Checked.add(offset, entry.byteCount), end <= payload.range.count
                else {
                    throw failure(ofEntry: index, at: UInt64(PayloadPrologue.byteCount + index * size))
                }
                try body(entry)
                offset = end
            }
        }
        guard payload.range.count - offset < ContainerFormat.alignment,
            let padding = ByteRange(start: payload.range.start + offset, end: payload.range.end),
            try file.bytes(padding).allSatisfy({ $0 == 0 })
        else {
            throw failure("padding that is too long or not zero", "zeros, up to a multiple of 64 bytes", at: offset)
        }
    }

    private func parse(_ bytes: [UInt8], _ index: Int, at place: Int) -> ChunkEntry? {
        let prologue = payload.prologue
        return ChunkEntry(
            bytes, at: place, prologue.scheme, prologue.format, prologue.codec,
            weights: prologue.grid.place(of: index).count)
    }

    private func failure(_ found: String, _ expected: String, at offset: UInt64 = 0) -> IngotError {
        IngotError(
            .payloadInvalid, file: file.path.string, tensor: payload.name, offset: payload.range.start + offset,
            found: found, expected: expected)
    }

    private func failure(ofEntry index: Int, at offset: UInt64) -> IngotError {
        failure(
            "entry \(index) of the chunk table is not one",
            "a chunk behind the one before it, with sums, codecs and sizes that a writer makes", at: offset)
    }
}
