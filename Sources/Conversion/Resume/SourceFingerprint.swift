import Checkpoints
import FileAccess
import TensorModel

/// A fingerprint of a shard of the source, to find out later whether the file is still the same.
struct SourceFingerprint: Sendable, Hashable {
    /// Device, inode, size and times of the file; they stay the same if nobody touches it.
    let identity: FileIdentity
    /// XXH3-128 of the length field and the header.
    let header: ContentHash
    /// XXH3-128 of the sampled ranges together; of the whole file if it has at most 4 MiB.
    let samples: ContentHash

    /// 64 ranges of 64 KiB, evenly spread: the first at the start of the file, the last at its end.
    private static let sampleCount: UInt64 = 64
    private static let sampleBytes: UInt64 = 64 << 10

    /// The given values.
    init(identity: FileIdentity, header: ContentHash, samples: ContentHash) {
        self.identity = identity
        self.header = header
        self.samples = samples
    }

    /// Reads the fingerprint of an open shard.
    ///
    /// - Throws: errors of reading.
    init(_ shard: Shard) throws {
        let file = shard.file
        identity = file.identity
        header =
            try ByteRange(start: 0, end: shard.header.dataStart).map { try file.hash(of: $0) }
            ?? ContentHasher().finish()
        let hasher = ContentHasher()
        for range in SourceFingerprint.ranges(file.byteCount) { try file.hash(range, into: hasher) }
        samples = hasher.finish()
    }

    private static func ranges(_ byteCount: UInt64) -> [ByteRange] {
        guard byteCount > sampleCount * sampleBytes else {
            return ByteRange(start: 0, end: byteCount).map { [$0] } ?? []
        }
        return (0..<sampleCount).compactMap { index in
            ByteRange(start: index * ((byteCount - sampleBytes) / (sampleCount - 1)), count: sampleBytes)
        }
    }

    /// What differs from an earlier fingerprint in size, header or samples, in words; nil if nothing does. Inode and times are not
    /// compared.
    func difference(from earlier: SourceFingerprint) -> String? {
        if identity.byteCount != earlier.identity.byteCount {
            return "\(identity.byteCount) bytes, where there were \(earlier.identity.byteCount)"
        }
        if header != earlier.header { return "a header of other bytes" }
        if samples != earlier.samples { return "weights of other bytes" }
        return nil
    }

    // MARK: - In the journal

    /// The member `file` of a `source` line (Specs/journal.md).
    var json: JSONValue {
        .object([
            .init("bytes", .unsigned(identity.byteCount)), .init("device", .unsigned(identity.device)),
            .init("inode", .unsigned(identity.inode)),
            .init("modified", .string("\(identity.modifiedSeconds).\(identity.modifiedNanoseconds)")),
            .init("changed", .string("\(identity.changedSeconds).\(identity.changedNanoseconds)")),
            .init("header_xxh3_128", .string(header.description)),
            .init("samples_xxh3_128", .string(samples.description)),
        ])
    }

    /// Reads the member `file`; nil if it is none.
    init?(_ value: JSONValue) {
        func time(_ key: String) -> (seconds: Int, nanoseconds: Int)? {
            let parts =
                value[key]?.string?.split(separator: ".", omittingEmptySubsequences: false).map { Int($0) } ?? []
            guard parts.count == 2, let seconds = parts[0], let rest = parts[1], (0..<1_000_000_000).contains(rest)
            else { return nil }
            return (seconds, rest)
        }
        guard let bytes = value["bytes"]?.unsigned, let device = value["device"]?.unsigned,
            let inode = value["inode"]?.unsigned, let modified = time("modified"), let changed = time("changed"),
            let header = value["header_xxh3_128"]?.string.flatMap({ ContentHash(hexadecimal: $0) }),
            let samples = value["samples_xxh3_128"]?.string.flatMap({ ContentHash(hexadecimal: $0) })
        else { return nil }
        self.init(
            identity: FileIdentity(
                device: device, inode: inode, byteCount: bytes, modifiedSeconds: modified.seconds,
                modifiedNanoseconds: modified.nanoseconds, changedSeconds: changed.seconds,
                changedNanoseconds: changed.nanoseconds),
            header: header, samples: samples)
    }
}
