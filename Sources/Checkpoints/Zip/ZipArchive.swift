package import FileAccess
import SystemPackage
package import TensorModel

/// The checked directory of a zip archive with stored records. Every byte of the file belongs to exactly one part of the archive.
///
/// Zip readers disagree about archives that contradict themselves, so such archives are refused. There is one end record. The first record
/// begins at byte 0, and each further record begins where the one before it ends. The directory follows the last record, and agrees with
/// the local header of every record. No record is compressed or encrypted. Source of the layout: PKWARE's APPNOTE 6.3.10, with zip64.
package struct ZipArchive: Sendable {
    /// A record of the archive.
    package struct Entry: Sendable, Hashable {
        /// The name: relative, without `..`, with `/` between components.
        package let name: String
        /// The range of its bytes in the file.
        package let range: ByteRange
        /// The CRC-32 of its bytes, as the archive states it; 0 if the writer computed none.
        let checksum: UInt32
        /// Offset of its local header in the file.
        package let headerStart: UInt64
        /// Bytes of the extra field before its data. Writers align the data with it.
        let paddingBytes: UInt64
    }

    /// The records, in the order of their bytes.
    package let entries: [Entry]
    /// Offset of the directory. The file ends with the directory and the end record.
    package let directoryStart: UInt64

    private let positions: [TensorName: Int]

    /// Maximum number of records in an archive.
    static let maximumEntries: UInt64 = 1_000_000

    /// The record with this name; nil if there is none.
    package subscript(name: String) -> Entry? { positions[TensorName(name)].map { entries[$0] } }

    /// Whether a file that begins with these bytes (8 or more) is a zip archive.
    ///
    /// The signature of a record could also be the length of a safetensors header, but then four zeros follow.
    static func isOne(_ first: [UInt8]) -> Bool {
        first.starts(with: [0x50, 0x4B, 5, 6])
            || first.starts(with: [0x50, 0x4B, 3, 4]) && first.dropFirst(4).prefix(4).contains { $0 != 0 }
    }

    /// Reads the directory and every local header.
    ///
    /// - Parameter look: called with each name and its offset in the directory before the rest of the record is checked. Names can show
    ///   that the archive is of a format that is not read.
    /// - Throws: `zipInvalid`, `invalidText`, `nameTooLong`, `duplicateKey`, `headerTooLarge`.
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
    /// - Parameter limit: maximum size of the record in bytes.
    /// - Throws: `headerTooLarge` above the limit, `checksum` if the CRC-32 differs.
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
    /// The checksum of the record, for checks when its bytes are read.
    var recordChecksum: RecordChecksum { RecordChecksum(name: name, range: range, value: checksum) }
}

/// A part of a file, and the CRC-32 that the file states for it.
package struct RecordChecksum: Sendable, Hashable {
    /// The name of the part in the file.
    package let name: String
    /// The range of its bytes in the file.
    package let range: ByteRange
    /// The CRC-32. If it is 0 and the part is not empty, the writer computed none.
    package let value: UInt32

    /// Reads the part piece by piece and compares its CRC-32. Does nothing if `value` is 0.
    ///
    /// - Throws: `checksum` if it differs.
    func check(_ file: MappedFile) throws {
        guard value != 0 else { return }
        var checksum = CRC32()
        try file.forEachPiece(of: range) { bytes, _ in checksum.update(bytes) }
        try require(checksum.value, in: file)
    }

    /// Throws `checksum` if the computed CRC-32 `found` differs from the stated one.
    func require(_ found: UInt32, in file: MappedFile) throws {
        guard value != 0 || range.count == 0, found != value else { return }
        throw IngotError(
            .checksum, file: file.path.string, offset: range.start,
            found: "record `\(name)` with CRC-32 \(String(found, radix: 16))",
            expected: "\(String(value, radix: 16)), as the archive states",
            remedy: "the file is damaged: fetch it again")
    }
}
