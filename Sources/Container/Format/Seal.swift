package import FileAccess
internal import SystemPackage
package import TensorModel

/// The end of a shard: the hash of each byte range without a chunk checksum (Specs/container.md, "Seal").
package struct Seal: Sendable, Hashable {
    static let magic = Array("INGOTSEL".utf8)
    static let recordBytes = 32
    static let trailerBytes = 64
    private static let hashOffset = 48

    /// A byte range of the file and its hash.
    package struct Record: Sendable, Hashable {
        /// The range.
        package let range: ByteRange
        /// XXH3-128 of its bytes.
        package let hash: ContentHash
    }

    /// The records, in the order of the file.
    package let records: [Record]
    /// Size of the whole file in bytes.
    package let fileBytes: UInt64
    /// Offset of the first record.
    package let recordsStart: UInt64

    /// Bytes of a seal with this number of records: records and trailer.
    package static func byteCount(records: Int) -> UInt64 { UInt64(records * recordBytes + trailerBytes) }

    func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        for record in records {
            LittleEndian.append(record.range.start, to: &bytes)
            LittleEndian.append(record.range.count, to: &bytes)
            Seal.append(record.hash, to: &bytes)
        }
        bytes += Seal.magic
        LittleEndian.append(UInt32(ContainerFormat.version), to: &bytes)
        LittleEndian.append(UInt32(records.count), to: &bytes)
        LittleEndian.append(fileBytes, to: &bytes)
        LittleEndian.append(recordsStart, to: &bytes)
        LittleEndian.append(UInt64(0), to: &bytes)
        LittleEndian.append(UInt64(0), to: &bytes)
        Seal.append(ContentHash(of: bytes.span), to: &bytes)
        return bytes
    }

    /// The hash of the seal itself. It identifies the whole file: the seal covers all other bytes, some of them through chunk tables.
    package var hash: ContentHash { Seal.hash(atEndOf: encoded()) }

    /// Reads the seal at the end of a file. Does not need the header.
    ///
    /// - Throws: `sealInvalid`; `containerVersion` if the format version differs.
    package static func read(_ file: MappedFile) throws -> Seal {
        func failure(_ found: String, _ expected: String? = nil) -> IngotError {
            IngotError(
                .sealInvalid, file: file.path.string, offset: file.byteCount - min(file.byteCount, 64), found: found,
                expected: expected)
        }
        let size = file.byteCount
        guard size >= UInt64(trailerBytes), let place = ByteRange(start: size - 64, end: size) else {
            throw failure("a file of \(size) bytes", "a seal in the last 64 bytes")
        }
        let trailer = try file.bytes(place)
        guard trailer.starts(with: magic) else {
            throw failure("no seal in the last 64 bytes", "a shard ends with its seal; the file may be cut short")
        }
        let version = LittleEndian.load(UInt32.self, trailer, at: 8)
        let count = UInt64(LittleEndian.load(UInt32.self, trailer, at: 12))
        let fileBytes = LittleEndian.load(UInt64.self, trailer, at: 16)
        let start = LittleEndian.load(UInt64.self, trailer, at: 24)
        guard fileBytes == size else { throw failure("\(size) bytes", "\(fileBytes) bytes, by the seal") }
        guard let whole = ByteRange(start: start, end: size), whole.count == count * UInt64(recordBytes) + 64 else {
            throw failure("a seal of \(count) records that begins at byte \(start)")
        }
        guard count <= UInt64(Limits.standard.tensorsPerFile + 1) else {
            throw failure("a seal of \(count) records", "at most one a tensor, and the header's")
        }
        let bytes = try file.bytes(whole)
        let body = bytes.span.extracting(0..<bytes.count - 16)
        guard ContentHash(of: body) == hash(atEndOf: bytes) else { throw failure("a seal whose own hash differs") }
        guard version == ContainerFormat.version else {
            throw IngotError(
                .containerVersion, file: file.path.string, found: "format version \(version)",
                expected: "version \(ContainerFormat.version)")
        }
        var records: [Record] = []
        for index in 0..<Int(count) {
            let at = index * recordBytes
            guard
                let range = ByteRange(
                    start: LittleEndian.load(UInt64.self, bytes, at: at),
                    count: LittleEndian.load(UInt64.self, bytes, at: at + 8)), range.end <= start
            else { throw failure("record \(index) covers bytes behind the data") }
            records.append(Record(range: range, hash: hash(in: bytes, at: at + 16)))
        }
        let seal = Seal(records: records, fileBytes: fileBytes, recordsStart: start)
        guard seal.encoded() == bytes else { throw failure("a reserved byte of the seal is not zero") }
        return seal
    }

    private static func hash(atEndOf bytes: [UInt8]) -> ContentHash { hash(in: bytes, at: bytes.count - 16) }

    /// Reads a hash, which is stored in the canonical big-endian form of XXH3-128.
    private static func hash(in bytes: [UInt8], at index: Int) -> ContentHash {
        ContentHash(
            high: LittleEndian.load(UInt64.self, bytes, at: index).byteSwapped,
            low: LittleEndian.load(UInt64.self, bytes, at: index + 8).byteSwapped)
    }

    private static func append(_ hash: ContentHash, to bytes: inout [UInt8]) {
        LittleEndian.append(hash.high.byteSwapped, to: &bytes)
        LittleEndian.append(hash.low.byteSwapped, to: &bytes)
    }
}
