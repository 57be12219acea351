import Container
import FileAccess
package import SystemPackage
import TestSupport

/// A shard that a test changes and seals again: a forgery with valid hashes.
///
/// Reads and writes the seal by the byte tables of Specs/container.md, without the code under test.
package struct ForgedShard {
    /// Bytes of the shard.
    package var bytes: [UInt8]
    /// Path of the shard.
    package let path: FilePath
    private static let trailer = 64
    private static let record = 32

    /// Reads a shard.
    package init(_ path: FilePath) throws {
        self.path = path
        bytes = try Files.read(path)
    }

    /// A little-endian number of `count` bytes.
    package func number(at offset: Int, _ count: Int = 8) -> Int {
        (0..<count).reversed().reduce(0) { $0 << 8 | Int(bytes[offset + $1]) }
    }

    /// Writes a little-endian number of `count` bytes.
    package mutating func set(_ number: UInt64, at offset: Int, _ count: Int = 8) {
        for index in 0..<count { bytes[offset + index] = UInt8(truncatingIfNeeded: number >> (8 * UInt64(index))) }
    }

    /// Offset of the first byte after the header.
    package var dataStart: Int { 8 + number(at: 0) }

    /// Text of the header.
    package var header: String {
        get { String(decoding: bytes[8..<dataStart], as: UTF8.self) }
        set {
            precondition(newValue.utf8.count == dataStart - 8, "a forged header has the length of the old one")
            bytes.replaceSubrange(8..<dataStart, with: newValue.utf8)
        }
    }

    /// Replaces text in the header; the padding shrinks or grows, so the size of the header stays.
    package mutating func replaceInHeader(_ old: String, _ new: String) {
        let text = header
        guard let range = text.firstRange(of: old) else { preconditionFailure("the header has no `\(old)`") }
        var changed = text.replacingCharacters(in: range, with: new)
        while changed.utf8.count > text.utf8.count, changed.last == " " { changed.removeLast() }
        while changed.utf8.count < text.utf8.count { changed += " " }
        header = changed
    }

    /// Recomputes the hashes of the seal, writes the shard, and records the new seal in the manifest.
    package mutating func publish() throws {
        let end = bytes.count - ForgedShard.trailer
        let count = number(at: end + 12, 4)
        let start = number(at: end + 24)
        for index in 0..<count {
            let at = start + index * ForgedShard.record
            let range = number(at: at)..<number(at: at) + number(at: at + 8)
            set(hash(range), at: at + 16)
        }
        set(hash(start..<bytes.count - 16), at: bytes.count - 16)
        try Files.write(bytes, to: path)
        try ForgedShard.rewriteManifest(path.removingLastComponent())
    }

    private func hash(_ range: Range<Int>) -> ContentHash { ContentHash(of: Array(bytes[range]).span) }

    private mutating func set(_ hash: ContentHash, at offset: Int) {
        set(hash.high.byteSwapped, at: offset)
        set(hash.low.byteSwapped, at: offset + 8)
    }

    /// Writes a manifest for the files that are in a directory now.
    package static func rewriteManifest(_ directory: FilePath) throws {
        var manifest = try Manifest.read(directory)
        let files = try manifest.files.map { file in
            let bytes = try Files.read(directory.appending(file.name))
            let hash =
                file.isShard ? canonicalHash(bytes.suffix(16)) : ContentHash(of: bytes.span)
            return Manifest.File(
                name: file.name, byteCount: UInt64(bytes.count), hash: hash, isShard: file.isShard)
        }
        manifest = Manifest(
            files: files, options: manifest.options, sourceBytes: manifest.sourceBytes, codecs: manifest.codecs)
        try Files.write(manifest.encoded(), to: directory.appending(Manifest.fileName))
    }

    private static func canonicalHash(_ bytes: ArraySlice<UInt8>) -> ContentHash {
        func half(_ slice: ArraySlice<UInt8>) -> UInt64 { slice.reduce(0) { $0 << 8 | UInt64($1) } }
        return ContentHash(high: half(bytes.prefix(8)), low: half(bytes.suffix(8)))
    }
}

extension String {
    /// The string with a range replaced.
    fileprivate func replacingCharacters(in range: Range<String.Index>, with new: String) -> String {
        String(self[..<range.lowerBound]) + new + String(self[range.upperBound...])
    }
}
