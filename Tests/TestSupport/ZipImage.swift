/// A zip archive of stored (uncompressed) records; every field can be set to a wrong value.
package struct ZipImage: Sendable {
    /// Fields of a header of a record.
    package struct Header: Sendable {
        /// Name of the record.
        package var name: [UInt8]
        /// Flags, compression method, CRC-32, uncompressed size, stored size.
        package var flags: UInt64 = 0, method: UInt64 = 0, checksum: UInt64 = 0, size: UInt64 = 0, stored: UInt64 = 0
        /// Extra field.
        package var extra: [UInt8] = []
    }

    /// A record with its local header and its entry in the directory.
    package struct Record: Sendable {
        /// Data of the record.
        package var data: [UInt8]
        /// Local header, before the data.
        package var local: Header
        /// Entry in the directory.
        package var central: Header
        /// Data descriptor, after the data.
        package var descriptor: [UInt8] = []
        /// Offset in the directory entry; nil for the true offset.
        package var offset: UInt64?

        /// A valid record.
        package init(_ name: String, _ data: [UInt8]) {
            self.data = data
            local = Header(name: Array(name.utf8))
            local.checksum = UInt64(ZipImage.checksum(data))
            local.size = UInt64(data.count)
            local.stored = local.size
            central = local
        }

        /// Moves sizes and checksum from the local header to a data descriptor, as PyTorch does.
        package mutating func useDescriptor(isSigned: Bool = true, isWide: Bool = false) {
            central.flags |= 8
            local.flags |= 8
            descriptor = isSigned ? ZipImage.number(0x0807_4B50, 4) : []
            descriptor += ZipImage.number(central.checksum, 4)
            for _ in 0..<2 { descriptor += ZipImage.number(central.size, isWide ? 8 : 4) }
            (local.checksum, local.size, local.stored) = (0, 0, 0)
        }
    }

    /// The records.
    package var records: [Record]
    /// Bytes before the first record, between the last record and the directory, after the directory, and after the end record.
    package var before: [UInt8] = [], gap: [UInt8] = [], behindDirectory: [UInt8] = [], behind: [UInt8] = []
    /// Whether there is a zip64 end record, and the error of the offset in its locator.
    package var isWide = false, locatorError: UInt64 = 0
    /// Added to number of records, directory size and directory offset in the end records.
    package var countError: UInt64 = 0, sizeError: UInt64 = 0, offsetError: UInt64 = 0
    /// Added to the number of records in the 32-bit end record only.
    package var narrowError: UInt64 = 0
    /// Number of this disk in the end record.
    package var part: UInt64 = 0
    /// Comment of the archive.
    package var comment: [UInt8] = []

    /// A valid archive.
    package init(_ records: [Record]) { self.records = records }

    /// The record with a name.
    package subscript(name: String) -> Record {
        get { records[position(name)] }
        set { records[position(name)] = newValue }
    }

    private func position(_ name: String) -> Int {
        guard let index = records.firstIndex(where: { $0.local.name.elementsEqual(name.utf8) }) else {
            preconditionFailure("no record \(name)")
        }
        return index
    }

    /// A changed copy.
    package func with(_ change: (inout ZipImage) -> Void) -> ZipImage {
        var copy = self
        change(&copy)
        return copy
    }

    /// Bytes of the file.
    package var bytes: [UInt8] {
        var file = before
        var directory: [UInt8] = []
        for record in records {
            let offset = record.offset ?? UInt64(file.count)
            let local = record.local
            file += ZipImage.number(0x0403_4B50, 4) + ZipImage.number(20, 2) + ZipImage.fields(local) + local.name
            file += local.extra + record.data + record.descriptor
            let central = record.central
            directory += ZipImage.number(0x0201_4B50, 4) + ZipImage.number(20, 2) + ZipImage.number(20, 2)
            directory += ZipImage.fields(central) + [UInt8](repeating: 0, count: 10) + ZipImage.number(offset, 4)
            directory += central.name + central.extra
        }
        file += gap
        let start = UInt64(file.count) &+ offsetError
        let (count, size) = (UInt64(records.count) &+ countError, UInt64(directory.count) &+ sizeError)
        file += directory + behindDirectory
        if isWide {
            let place = UInt64(file.count) &+ locatorError
            file +=
                ZipImage.number(0x0606_4B50, 4) + ZipImage.number(44, 8) + ZipImage.number(45, 2)
                + ZipImage.number(45, 2)
            file += [UInt8](repeating: 0, count: 8) + ZipImage.number(count, 8) + ZipImage.number(count, 8)
            file += ZipImage.number(size, 8) + ZipImage.number(start, 8)
            file +=
                ZipImage.number(0x0706_4B50, 4) + ZipImage.number(0, 4) + ZipImage.number(place, 8)
                + ZipImage.number(1, 4)
        }
        let narrow = min(count, 0xFFFF) &+ narrowError
        file += ZipImage.number(0x0605_4B50, 4) + ZipImage.number(part, 2) + ZipImage.number(0, 2)
        file += ZipImage.number(narrow, 2) + ZipImage.number(narrow, 2) + ZipImage.number(size, 4)
        file += ZipImage.number(start, 4) + ZipImage.number(UInt64(comment.count), 2) + comment
        return file + behind
    }

    /// Fields that both headers share: from the flags to the length of the extra field.
    private static func fields(_ header: Header) -> [UInt8] {
        number(header.flags, 2) + number(header.method, 2) + number(0, 4) + number(header.checksum, 4)
            + number(header.stored, 4) + number(header.size, 4) + number(UInt64(header.name.count), 2)
            + number(UInt64(header.extra.count), 2)
    }

    /// A little-endian number of `count` bytes.
    package static func number(_ value: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
    }

    /// CRC-32, bit by bit; independent of the code under test.
    package static func checksum(_ bytes: [UInt8]) -> UInt32 {
        var crc: UInt32 = ~0
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 0 ? crc >> 1 : crc >> 1 ^ 0xEDB8_8320 }
        }
        return ~crc
    }
}
