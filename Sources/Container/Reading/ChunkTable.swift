import FileAccess
import SystemPackage
import TensorModel

/// The checked chunk table of a payload. Entries are read from the file on demand: a table may have 2^22 of them, and a shard many
/// tables.
package struct ChunkTable: Sendable {
    private let file: MappedFile
    private let payload: SealedShard.Payload

    /// A table of which `check` verifies all entries at once, or `entry` verifies each one when it is read.
    init(of payload: SealedShard.Payload, in file: MappedFile) {
        self.payload = payload
        self.file = file
    }

    /// Number of chunks.
    package var count: Int { payload.prologue.grid.count }

    /// Bytes of a table read at a time. Behind an entry read by `entry`, at most this many bytes stay resident.
    static let windowBytes = 1 << 20

    /// Reads the entry of a chunk.
    ///
    /// - Throws: `payloadInvalid` if the file has changed since the table was checked.
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

    /// At the first entry of a window, releases the pages of the two windows before it. Two, because slower threads may still read
    /// the later one and make its pages resident again.
    private func releaseWindows(before index: Int, _ range: ByteRange) {
        guard index % (ChunkTable.windowBytes / payload.prologue.entryBytes) == 0 else { return }
        let back = min(UInt64(2 * ChunkTable.windowBytes), range.start)
        if let window = ByteRange(start: range.start - back, end: range.start) { file.release(window) }
    }

    /// Checks the whole table, without its hash in the seal: each entry, that chunks are contiguous, and the padding behind the last.
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
            bytes, at: place, prologue.scheme, prologue.elementType, prologue.codec,
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
