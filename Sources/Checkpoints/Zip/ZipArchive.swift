package import FileAccess
import SystemPackage
package import TensorModel

/// The directory of a zip archive of stored records, checked: every byte of the file belongs to exactly one thing.
///
/// Readers of zip archives disagree wherever an archive contradicts itself, so nothing of the kind is accepted: there is one
/// end record, the first record begins at the first byte, each further one where the one before it ends, the directory follows the
/// last, and what it says of a record is what stands before the record. Nothing is compressed or encrypted. Source of the
/// layout: PKWARE's APPNOTE 6.3.10; zip64 included.
package struct ZipArchive: Sendable {
    /// A record of the archive.
    package struct Entry: Sendable, Hashable {
        /// Its name: relative, without `..`, with `/` between components.
        package let name: String
        /// Where its bytes are in the file.
        package let range: ByteRange
        /// The CRC-32 of its bytes, as the archive states it; 0 where its writer left it out.
        let checksum: UInt32
        /// Where its local header begins.
        package let headerStart: UInt64
        /// Bytes of the extra field before its data, with which writers align it.
        let paddingBytes: UInt64
    }

    /// The records, in the order of their bytes.
    package let entries: [Entry]
    /// Where the directory begins; the file ends with it and the end record.
    package let directoryStart: UInt64

    private let positions: [TensorName: Int]

    /// The most records an archive may have.
    static let maximumEntries: UInt64 = 1_000_000

    /// The record of a name; nil where there is none.
    package subscript(name: String) -> Entry? { positions[TensorName(name)].map { entries[$0] } }

    /// Whether a file that begins with these bytes, eight at least, is an archive.
    ///
    /// The signature alone could be the length of a safetensors header, which would have four zeros behind it.
    static func isOne(_ first: [UInt8]) -> Bool {
        first.starts(with: [0x50, 0x4B, 5, 6])
            || first.starts(with: [0x50, 0x4B, 3, 4]) && first.dropFirst(4).prefix(4).contains { $0 != 0 }
    }

    /// Reads the directory and every local header.
    ///
    /// - Parameter look: told each name, and where the directory has it, before anything else of the record is looked at: a format
    ///   that is not read may be told by its names.
    /// - Throws: `zipInvalid`, `invalidText`, `duplicateKey`, `headerTooLarge`.
    package static func read(
        _ file: MappedFile, limits: Limits = .standard,
        look: (_ name: String, _ place: UInt64) throws -> Void = { _, _ in }
    ) throws -> ZipArchive {
        do {
            let end = try ZipEndRecord.read(file, limits: limits)
            let listed = try ZipDirectory(file, end, limits: limits).entries(look)
            let entries = try ZipLocalHeaders(file, directoryStart: end.directory.start).check(listed)
            file.release(file.wholeRange)
            return try ZipArchive(entries: entries, directoryStart: end.directory.start)
        } catch let error as IngotError {
            throw error.inFile(file.path.string)
        }
    }

    private init(entries: [Entry], directoryStart: UInt64) throws {
        var positions: [TensorName: Int] = [:]
        positions.reserveCapacity(entries.count)
        for (index, entry) in entries.enumerated() {
            guard positions.updateValue(index, forKey: TensorName(entry.name)) == nil else {
                throw IngotError(
                    .duplicateKey, offset: entry.headerStart, found: "a second record `\(entry.name)`",
                    expected: "names that occur once")
            }
        }
        self.entries = entries
        self.directoryStart = directoryStart
        self.positions = positions
    }

    /// The bytes of a record, checked against its checksum.
    ///
    /// - Parameter limit: the most bytes to read.
    package func bytes(of entry: Entry, in file: MappedFile, limit: UInt64) throws -> [UInt8] {
        guard entry.range.count <= limit else {
            throw IngotError(
                .headerTooLarge, file: file.path.string, offset: entry.range.start,
                found: "a record `\(entry.name)` of \(entry.range.count) bytes", expected: "at most \(limit) bytes")
        }
        let bytes = try file.bytes(entry.range)
        var checksum = CRC32()
        checksum.update(bytes.span)
        try entry.recordChecksum.require(checksum.value, in: file)
        return bytes
    }
}

extension ZipArchive.Entry {
    /// The checksum of the record, to be compared when its bytes are read.
    var recordChecksum: RecordChecksum { RecordChecksum(name: name, range: range, value: checksum) }
}

/// A part of a file with the CRC-32 that the file states for it.
package struct RecordChecksum: Sendable, Hashable {
    /// The name of the part in the file.
    package let name: String
    /// Where its bytes are.
    package let range: ByteRange
    /// The checksum; 0 of a part with bytes says that its writer computed none.
    package let value: UInt32

    /// Reads the part, a piece at a time, and compares.
    ///
    /// - Throws: `checksum`.
    func check(_ file: MappedFile) throws {
        guard value != 0 else { return }
        var checksum = CRC32()
        try file.forEachPiece(of: range) { bytes, _ in checksum.update(bytes) }
        try require(checksum.value, in: file)
    }

    func require(_ found: UInt32, in file: MappedFile) throws {
        guard value != 0 || range.count == 0, found != value else { return }
        throw IngotError(
            .checksum, file: file.path.string, offset: range.start,
            found: "record `\(name)` with CRC-32 \(String(found, radix: 16))",
            expected: "\(String(value, radix: 16)), as the archive states",
            remedy: "the file is damaged: fetch it again")
    }
}
