import FileAccess
import TensorModel

/// Reads little-endian numbers. The caller has checked that the bytes exist.
private struct Numbers {
    let bytes: [UInt8]

    func u16(_ at: Int) -> UInt64 { UInt64(bytes[at]) | UInt64(bytes[at + 1]) << 8 }
    func u32(_ at: Int) -> UInt64 { u16(at) | u16(at + 2) << 16 }
    func u64(_ at: Int) -> UInt64 { u32(at) | u32(at + 4) << 32 }
}

private enum Signature {
    static let local: UInt64 = 0x0403_4B50
    static let central: UInt64 = 0x0201_4B50
    static let descriptor: UInt64 = 0x0807_4B50
    static let end: UInt64 = 0x0605_4B50
    static let end64: UInt64 = 0x0606_4B50
    static let locator64: UInt64 = 0x0706_4B50
}

private func refusal(_ offset: UInt64, _ found: String, _ expected: String? = nil) -> IngotError {
    IngotError(.zipInvalid, offset: offset, found: found, expected: expected)
}

extension MappedFile {
    /// The bytes of a range; nil if it exceeds the file.
    fileprivate func numbers(_ start: UInt64, _ count: UInt64) throws -> Numbers? {
        guard let range = ByteRange(start: start, count: count), range.end <= byteCount else { return nil }
        return Numbers(bytes: try bytes(range))
    }
}

/// The end record of an archive: the number of records, and the place of the directory.
struct ZipEndRecord {
    let entryCount: UInt64
    let directory: ByteRange

    private static let fixedBytes: UInt64 = 22
    private static let locatorBytes: UInt64 = 20

    /// Finds and checks the end record. Throws `zipInvalid` or `headerTooLarge`.
    static func read(_ file: MappedFile, limits: Limits) throws -> ZipEndRecord {
        let start = try find(file)
        guard let end = try file.numbers(start, fixedBytes) else { throw refusal(start, "no end record") }
        guard end.u16(4) == 0, end.u16(6) == 0, end.u16(8) == end.u16(10) else {
            throw refusal(start, "an archive in several parts", "one file")
        }
        var count = end.u16(10)
        var size = end.u32(12)
        var offset = end.u32(16)
        var directoryEnd = start
        if let wide = try wideRecord(file, endStart: start) {
            let pairs = [
                (count, wide.count, UInt64(UInt16.max)), (size, wide.size, UInt64(UInt32.max)),
                (offset, wide.offset, UInt64(UInt32.max)),
            ]
            guard pairs.allSatisfy({ $0.0 == $0.1 || $0.0 == $0.2 }) else {
                throw refusal(start, "an end record that contradicts the zip64 one", "the same numbers in both")
            }
            (count, size, offset, directoryEnd) = (wide.count, wide.size, wide.offset, wide.start)
        } else if count == UInt64(UInt16.max) || size == UInt64(UInt32.max) || offset == UInt64(UInt32.max) {
            throw refusal(start, "an end record that refers to a zip64 one, which is not there")
        }
        guard count <= ZipArchive.maximumEntries else {
            throw refusal(start, "\(count) records", "at most \(ZipArchive.maximumEntries)")
        }
        guard let directory = ByteRange(start: offset, count: size), directory.end == directoryEnd else {
            throw refusal(
                start, "a directory of \(size) bytes at byte \(offset)",
                "one that ends at byte \(directoryEnd), where the end record begins; nothing before the archive")
        }
        guard size <= limits.headerBytes else {
            throw IngotError(
                .headerTooLarge, offset: offset, found: "a directory of \(size) bytes",
                expected: "at most \(limits.headerBytes) bytes")
        }
        return ZipEndRecord(entryCount: count, directory: directory)
    }

    /// Finds the end record: its comment must end with the file, and no other record may look like an end record.
    private static func find(_ file: MappedFile) throws -> UInt64 {
        let count = min(file.byteCount, fixedBytes + UInt64(UInt16.max))
        guard count >= fixedBytes, let tail = try file.numbers(file.byteCount - count, count) else {
            throw refusal(0, "a file of \(file.byteCount) bytes", "a zip archive")
        }
        var candidates: [Int] = []
        var last = -1
        for index in 0...Int(count - fixedBytes) where tail.bytes[index] == 0x50 {
            guard tail.u32(index) == Signature.end else { continue }
            last = index
            if UInt64(index) + fixedBytes + tail.u16(index + 20) == count { candidates.append(index) }
        }
        let start = file.byteCount - count
        guard let only = candidates.first else {
            let found = last < 0 ? "no end record" : "an end record that the file goes on behind"
            throw refusal(last < 0 ? file.byteCount : start + UInt64(last), found, "one end record, at the end")
        }
        guard candidates.count == 1, only == last else {
            throw refusal(start + UInt64(last), "two end records", "one, and none in its comment")
        }
        return start + UInt64(only)
    }

    /// The content of the zip64 end record; nil if no locator stands before the end record.
    private static func wideRecord(
        _ file: MappedFile, endStart: UInt64
    ) throws -> (start: UInt64, count: UInt64, size: UInt64, offset: UInt64)? {
        guard endStart >= locatorBytes, let locator = try file.numbers(endStart - locatorBytes, locatorBytes),
            locator.u32(0) == Signature.locator64
        else { return nil }
        let place = endStart - locatorBytes
        let start = locator.u64(8)
        guard locator.u32(4) == 0, locator.u32(16) <= 1, start < place, place - start >= 56,
            let record = try file.numbers(start, 56), record.u32(0) == Signature.end64,
            Checked.add(record.u64(4), 12) == place - start
        else {
            throw refusal(
                place, "a zip64 locator that points at byte \(start)", "at the zip64 end record, right before it")
        }
        guard record.u32(16) == 0, record.u32(20) == 0, record.u64(24) == record.u64(32) else {
            throw refusal(start, "an archive in several parts", "one file")
        }
        return (start, record.u64(32), record.u64(40), record.u64(48))
    }
}

/// The directory's entry for a record.
struct ZipListing {
    var name: String
    var nameBytes: [UInt8]
    var flags: UInt64
    var checksum: UInt64
    var size: UInt64
    var headerStart: UInt64
    /// Offset of the entry in the file, for messages.
    var place: UInt64

    var hasDescriptor: Bool { flags & 8 != 0 }
}

/// The directory of an archive.
struct ZipDirectory {
    private let end: ZipEndRecord
    private let numbers: Numbers
    private let limits: Limits
    /// Bytes that a record's name may have in addition to a tensor's name: the archive's directory and the suffix of a format.
    private static let nameRoom = 512

    /// Reads the directory that the end record points to.
    init(_ file: MappedFile, _ end: ZipEndRecord, limits: Limits) throws {
        self.end = end
        self.limits = limits
        guard end.entryCount <= end.directory.count / 46 else {
            throw refusal(
                end.directory.start, "\(end.entryCount) records in a directory of \(end.directory.count) bytes",
                "46 bytes for each at least")
        }
        numbers = Numbers(bytes: try file.bytes(end.directory))
    }

    /// The records, in the order of the directory. `look` is called with each name first.
    func entries(_ look: (_ name: String, _ place: UInt64) throws -> Void) throws -> [ZipListing] {
        var entries: [ZipListing] = []
        entries.reserveCapacity(Int(end.entryCount))
        var at = 0
        for _ in 0..<end.entryCount { entries.append(try entry(&at, look)) }
        guard at == numbers.bytes.count else {
            throw refusal(
                end.directory.start + UInt64(at),
                "\(numbers.bytes.count - at) bytes of the directory after its last record",
                "\(end.entryCount) records that fill it")
        }
        return entries
    }

    private func entry(
        _ at: inout Int, _ look: (_ name: String, _ place: UInt64) throws -> Void
    ) throws -> ZipListing {
        let place = end.directory.start + UInt64(at)
        let rest = numbers.bytes.count - at
        guard rest >= 46, numbers.u32(at) == Signature.central else {
            throw refusal(place, "no record of the directory", "\(end.entryCount) of them")
        }
        let (nameCount, extraCount) = (Int(numbers.u16(at + 28)), Int(numbers.u16(at + 30)))
        let total = 46 + nameCount + extraCount + Int(numbers.u16(at + 32))
        guard total <= rest else { throw refusal(place, "a record of the directory that leaves it") }
        let nameBytes = Array(numbers.bytes[at + 46..<at + 46 + nameCount])
        let name = try checkedName(nameBytes, place)
        try look(name, place)
        do {
            let listing = try listing(
                at, name, nameBytes, extra: at + 46 + nameCount..<at + 46 + nameCount + extraCount)
            at += total
            return listing
        } catch var error as IngotError {
            error.found = "record `\(name)`: " + error.found
            throw error
        }
    }

    private func listing(_ at: Int, _ name: String, _ nameBytes: [UInt8], extra: Range<Int>) throws -> ZipListing {
        let place = end.directory.start + UInt64(at)
        let flags = numbers.u16(at + 8)
        guard flags & ~0x0808 == 0 else {
            let what =
                flags & 0x2041 != 0
                ? "encrypted" : flags & 0x20 != 0 ? "a patch" : "flags 0x" + String(flags, radix: 16)
            throw refusal(place, what, "a plain record, flags 0x8 and 0x800 at most")
        }
        guard numbers.u16(at + 10) == 0 else {
            throw IngotError(
                .zipInvalid, offset: place, found: "compressed by method \(numbers.u16(at + 10))",
                expected: "stored records, as PyTorch and NumPy write them",
                remedy: "save it anew with torch.save, or with numpy.savez in place of savez_compressed")
        }
        let wide = try ZipExtra(numbers.bytes, extra, place)
        var reader = wide.values.makeIterator()
        func value(_ narrow: UInt64) throws -> UInt64 {
            guard narrow == UInt64(UInt32.max), wide.isPresent else { return narrow }
            guard let next = reader.next() else { throw refusal(place, "a zip64 field that is too short") }
            return next
        }
        let size = try value(numbers.u32(at + 24))
        let stored = try value(numbers.u32(at + 20))
        let start = try value(numbers.u32(at + 42))
        guard size == stored else {
            throw refusal(place, "\(stored) bytes stored for \(size)", "as many stored as there are")
        }
        guard numbers.u16(at + 34) == 0 else { throw refusal(place, "a record in another part of the archive") }
        return ZipListing(
            name: name, nameBytes: nameBytes, flags: flags, checksum: numbers.u32(at + 16), size: size,
            headerStart: start,
            place: place)
    }

    /// Checks that no reader could take the name for a path outside the archive.
    private func checkedName(_ bytes: [UInt8], _ place: UInt64) throws -> String {
        guard bytes.count <= limits.nameBytes + ZipDirectory.nameRoom else {
            throw IngotError(
                .nameTooLong, offset: place, found: "a record's name of \(bytes.count) bytes",
                expected: "at most \(limits.nameBytes + ZipDirectory.nameRoom)")
        }
        guard let name = String(validating: bytes, as: UTF8.self) else {
            throw IngotError(.invalidText, offset: place, found: "a record's name that is not UTF-8")
        }
        let parts = bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        let problem: String? =
            if bytes.isEmpty { "is empty" } else if bytes.contains(0) { "holds NUL" } else if bytes.contains(0x5C) {
                "holds a backslash"
            } else if bytes.first == UInt8(ascii: "/") || bytes.dropFirst().first == UInt8(ascii: ":") {
                "is absolute"
            } else if parts.contains(where: { $0.elementsEqual("..".utf8) || $0.elementsEqual(".".utf8) }) {
                "leaves its directory"
            } else if parts.dropLast().contains(where: \.isEmpty) { "has an empty component" } else { nil }
        if let problem {
            throw refusal(
                place, "the record's name `\(name.prefix(80))`, which \(problem)", "relative names without `..`")
        }
        return name
    }
}

/// The 64-bit numbers of a zip64 extra field, which replace 32-bit numbers.
private struct ZipExtra {
    private(set) var values: [UInt64] = []
    private(set) var isPresent = false

    init(_ bytes: [UInt8], _ range: Range<Int>, _ place: UInt64) throws {
        let numbers = Numbers(bytes: bytes)
        var at = range.lowerBound
        while at < range.upperBound {
            guard range.upperBound - at >= 4 else { throw refusal(place, "an extra field that is cut off") }
            let (kind, count) = (numbers.u16(at), Int(numbers.u16(at + 2)))
            guard count <= range.upperBound - at - 4 else { throw refusal(place, "an extra field that is cut off") }
            if kind == 1 {
                guard !isPresent else { throw refusal(place, "two zip64 fields", "one") }
                isPresent = true
                for index in 0..<count / 8 { values.append(numbers.u64(at + 4 + 8 * index)) }
            }
            // Info-ZIP's Unicode path field: some readers take the record's name from it.
            guard kind != 0x7075 else {
                throw refusal(place, "a second name for the record (extra field 0x7075)", "one")
            }
            at += 4 + count
        }
    }
}

/// Compares the local header and descriptor of each record with the directory.
struct ZipLocalHeaders {
    private let file: MappedFile
    private let directoryStart: UInt64

    init(_ file: MappedFile, directoryStart: UInt64) {
        self.file = file
        self.directoryStart = directoryStart
    }

    /// The records in the order of their bytes. They must fill the file up to the directory.
    func check(_ listed: [ZipListing]) throws -> [ZipArchive.Entry] {
        let sorted = listed.sorted { $0.headerStart < $1.headerStart }
        let first = sorted.first?.headerStart ?? directoryStart
        guard first == 0 || sorted.isEmpty && directoryStart == 0 else {
            throw refusal(0, "\(first) bytes before the first record", "an archive from the first byte on")
        }
        var entries: [ZipArchive.Entry] = []
        entries.reserveCapacity(sorted.count)
        var behind: UInt64 = 0
        for (index, listing) in sorted.enumerated() {
            let end = index + 1 < sorted.count ? sorted[index + 1].headerStart : directoryStart
            do {
                entries.append(try entry(listing, end: end))
            } catch var error as IngotError {
                error.found = "record `\(listing.name)`: " + error.found
                throw error
            }
            // Release the pages that were read, so that a large archive does not stay in memory.
            let dataStart = entries[index].range.start
            if index % 256 == 255 || listing.size > 1 << 20, let done = ByteRange(start: behind, end: dataStart) {
                file.release(done)
                behind = dataStart
            }
        }
        return entries
    }

    private func entry(_ listing: ZipListing, end: UInt64) throws -> ZipArchive.Entry {
        let start = listing.headerStart
        guard let header = try file.numbers(start, 30), start < directoryStart else {
            throw refusal(listing.place, "a local header at byte \(start)", "one before the directory")
        }
        let (nameCount, extraCount) = (header.u16(26), header.u16(28))
        guard header.u32(0) == Signature.local, header.u16(6) == listing.flags, header.u16(8) == 0,
            nameCount == UInt64(listing.nameBytes.count),
            let text = try file.numbers(start + 30, nameCount + extraCount),
            text.bytes.prefix(Int(nameCount)).elementsEqual(listing.nameBytes)
        else {
            throw refusal(
                start, "a local header that contradicts the directory",
                "its signature, and the name, flags and method that the directory states")
        }
        let wide = try ZipExtra(text.bytes, Int(nameCount)..<text.bytes.count, start)
        try compareSizes(header, wide, listing)
        guard let range = ByteRange(start: start + 30 + nameCount + extraCount, count: listing.size), range.end <= end
        else { throw refusal(start, "\(listing.size) bytes, which overlap what follows", "an end at byte \(end)") }
        try checkDescriptor(listing, from: range.end, to: end)
        return ZipArchive.Entry(
            name: listing.name, range: range, checksum: UInt32(truncatingIfNeeded: listing.checksum),
            headerStart: start,
            paddingBytes: extraCount)
    }

    /// Compares sizes and checksum in the local header. A writer that puts them in a descriptor may set them to 0 here.
    private func compareSizes(_ header: Numbers, _ wide: ZipExtra, _ listing: ZipListing) throws {
        var values = wide.values.makeIterator()
        func value(_ narrow: UInt64) -> UInt64? {
            narrow == UInt64(UInt32.max) && wide.isPresent ? values.next() : narrow
        }
        let (checksum, size, stored) = (header.u32(14), value(header.u32(22)), value(header.u32(18)))
        func fits(_ found: UInt64?, _ expected: UInt64) -> Bool {
            found == expected || listing.hasDescriptor && found == 0
        }
        guard fits(checksum, listing.checksum), fits(size, listing.size), fits(stored, listing.size) else {
            throw refusal(
                listing.headerStart, "a local header that contradicts the directory", "the same sizes and checksum")
        }
    }

    /// Checks the descriptor after a record's bytes: with or without signature, with sizes of 32 or 64 bits. It must fill the space up to
    /// the next record.
    private func checkDescriptor(_ listing: ZipListing, from start: UInt64, to end: UInt64) throws {
        let count = end - start
        if !listing.hasDescriptor {
            guard count == 0 else {
                throw refusal(start, "\(count) bytes behind it that belong to no record", "records without gaps")
            }
            return
        }
        guard [12, 16, 20, 24].contains(count), let numbers = try file.numbers(start, count) else {
            throw refusal(start, "\(count) bytes behind it", "a descriptor of 12 to 24 bytes")
        }
        let isSigned = count == 16 || count == 24
        let at = isSigned ? 4 : 0
        let sizes =
            count < 20 ? (numbers.u32(at + 4), numbers.u32(at + 8)) : (numbers.u64(at + 4), numbers.u64(at + 12))
        guard !isSigned || numbers.u32(0) == Signature.descriptor, numbers.u32(at) == listing.checksum,
            sizes == (listing.size, listing.size)
        else { throw refusal(start, "a descriptor that contradicts the directory", "the same sizes and checksum") }
    }
}
