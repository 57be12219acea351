package import FileAccess
import SystemPackage
package import TensorModel

/// The checked header of a safetensors file. Every byte of the file belongs to exactly one part.
///
/// The layout is that of the `safetensors` reference implementation: an 8-byte little-endian length, a JSON object of that many bytes, and
/// the tensors without gaps up to the end of the file.
package struct SafetensorsHeader: Sendable {
    /// An entry of `__metadata__`.
    package struct MetadataEntry: Sendable, Hashable {
        /// The key.
        package let key: String
        /// The value.
        package let value: String

        /// Makes an entry.
        package init(_ key: String, _ value: String) {
            self.key = key
            self.value = value
        }
    }

    /// Length of the header's JSON text in bytes, padding included.
    package let headerLength: UInt64
    /// The tensors, in the order of their bytes. Tensors without bytes are in the order of the header.
    package let tensors: [StoredTensor]
    /// The entries of `__metadata__`, in the order of the header; empty if there is none.
    package let metadata: [MetadataEntry]
    /// Oddities of the header.
    package let warnings: [IngotWarning]
    /// The first field of a tensor that the format does not define; nil if there is none.
    package let unknownField: UnknownField?
    /// Whether the header is padded only with spaces, and only behind its object.
    package let isPaddedBehind: Bool

    /// A field of a tensor's entry that the format does not define.
    package struct UnknownField: Sendable, Hashable {
        /// The name of the field, cut to 80 characters.
        package let key: String
        /// The tensor with the field.
        package let tensor: TensorName
    }

    /// Offset in the file of the first byte of data.
    package var dataStart: UInt64 { headerLength + SafetensorsFormat.lengthBytes }
}

extension Sequence<SafetensorsHeader.MetadataEntry> {
    /// The value of the first entry with this key, compared as bytes; nil if there is none.
    package func value(of key: String) -> String? {
        let wanted = TensorName(key)
        return first { TensorName($0.key) == wanted }?.value
    }
}

/// The constants of the format.
enum SafetensorsFormat {
    /// Bytes of the length before the header.
    static let lengthBytes: UInt64 = 8
    /// The key of the metadata, which no tensor may have.
    static let metadataKey = TensorName("__metadata__")
    /// Alignment of the data in bytes, in files of our writer and of the reference writer.
    static let dataAlignment = 8
}

// MARK: - Reading

extension SafetensorsHeader {
    /// Reads and checks the header of a file. Throws an error for each rule of the format.
    package static func read(_ file: MappedFile, limits: Limits = .standard) throws -> SafetensorsHeader {
        let path = file.path.string
        do {
            let first = try file.bytes(prefix(min(SafetensorsFormat.lengthBytes, file.byteCount)))
            let length = try checkedLength(first, byteCount: file.byteCount, limits: limits)
            let bytes = try file.bytes(prefix(SafetensorsFormat.lengthBytes + length))
            return try parse(bytes, byteCount: file.byteCount, path: path, limits: limits)
        } catch let error as IngotError {
            throw error.inFile(path)
        }
    }

    private static func prefix(_ count: UInt64) throws -> ByteRange {
        guard let range = ByteRange(start: 0, count: count) else {
            throw IngotError(.headerLength, offset: 0, found: "a header of \(count) bytes")
        }
        return range
    }

    /// Parses and checks a header.
    ///
    /// - Parameters:
    ///   - bytes: the first bytes of a file; they include at least the length and the header.
    ///   - byteCount: size of the whole file in bytes.
    ///   - path: the file's name, for errors and warnings.
    ///   - limits: limits of what is accepted.
    package static func parse(
        _ bytes: [UInt8], byteCount: UInt64, path: String, limits: Limits = .standard
    ) throws -> SafetensorsHeader {
        do {
            let length = try checkedLength(bytes, byteCount: byteCount, limits: limits)
            guard length <= UInt64(bytes.count) - SafetensorsFormat.lengthBytes else {
                throw IngotError(
                    .headerLength, offset: 0, found: "\(bytes.count) bytes of a header of \(length)",
                    expected: "the whole header")
            }
            var parser = HeaderParser(bytes, headerLength: length, byteCount: byteCount, path: path, limits: limits)
            return try parser.parse()
        } catch let error as IngotError {
            throw error.inFile(path)
        }
    }

    /// The length in the first eight bytes. Throws if such a header exceeds the file or the limits.
    private static func checkedLength(_ bytes: [UInt8], byteCount: UInt64, limits: Limits) throws -> UInt64 {
        guard byteCount >= SafetensorsFormat.lengthBytes, bytes.count >= 8 else {
            throw IngotError(
                .headerTooSmall, offset: 0, found: "a file of \(byteCount) bytes",
                expected: "at least \(SafetensorsFormat.lengthBytes) bytes")
        }
        let length = bytes[..<8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        guard length <= limits.headerBytes else {
            throw IngotError(
                .headerTooLarge, offset: 0, found: "a header length of \(length) bytes",
                expected: "at most \(limits.headerBytes) bytes")
        }
        let room = byteCount - SafetensorsFormat.lengthBytes
        guard length > 0, length <= room else {
            throw IngotError(
                .headerLength, offset: 0, found: "a header length of \(length) in a file of \(byteCount) bytes",
                expected: "1 to \(room)")
        }
        return length
    }
}
