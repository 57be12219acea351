package import FileAccess
import SystemPackage
package import TensorModel

/// Reads NumPy's `.npy` files, versions 1 to 3. The array becomes a checkpoint with one tensor, named after the file.
package enum NumPyFile {
    /// The first bytes of every file.
    static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)
    /// Suffix of the files.
    static let suffix = ".npy"
    /// Maximum length of a header in bytes. NumPy's writer stays below 1 KiB, its reader accepts 10,000 bytes.
    static let maximumHeaderBytes: UInt64 = 65_536

    /// Reads and checks the header of a file.
    ///
    /// - Throws: `unsupportedSource` for arrays that are not row by row or not numbers of a known type, and an error for each rule of the
    ///   format.
    package static func readHeader(_ file: MappedFile, limits: Limits = .standard) throws -> ShardHeader {
        let path = file.path.string
        do {
            let name = TensorName(file.path.lastComponent.map { stem(of: $0.string) } ?? "")
            let (tensor, dataStart) = try tensor(in: file, at: file.wholeRange, named: name, limits: limits)
            return ShardHeader(.numpy, tensors: [tensor], dataStart: dataStart)
        } catch let error as IngotError {
            throw error.inFile(path)
        }
    }

    /// The name of a file without its suffix.
    static func stem(of name: String) -> String { TensorName.dropSuffix(name, suffix) }

    /// Reads the array in a range of a file. The array must fill the range.
    ///
    /// - Returns: the array, and the offset of its elements in the file.
    static func tensor(
        in file: MappedFile, at place: ByteRange, named name: TensorName, limits: Limits
    ) throws -> (tensor: StoredTensor, dataStart: UInt64) {
        do {
            let (text, start, textStart) = try header(of: file, at: place)
            var parser = NumPyHeaderParser(text, start: textStart, limits: limits)
            let array = try parser.parse()
            guard let byteCount = array.elementType.byteCount(of: array.shape) else {
                throw IngotError(
                    .invalidShape, offset: textStart,
                    found: "an array of \(array.elementType.rawValue) \(array.shape), 2^61 bytes or more")
            }
            guard byteCount <= place.end - start, let range = ByteRange(start: start, count: byteCount) else {
                throw IngotError(
                    .invalidOffsets, offset: start, found: "\(place.end - start) bytes of elements",
                    expected: "\(byteCount), for \(array.elementType.rawValue) \(array.shape)",
                    remedy: "fetch the file again: its end is missing")
            }
            guard range.end == place.end else {
                throw IngotError(
                    .trailingBytes, offset: range.end, found: "\(place.end - range.end) bytes after the last element",
                    expected: "a file that ends with its array")
            }
            return (StoredTensor(name: name, elementType: array.elementType, shape: array.shape, range: range), start)
        } catch var error as IngotError {
            error.tensor = name
            throw error
        }
    }

    /// The text of the header, the offset of the elements, and the offset of the text.
    private static func header(
        of file: MappedFile, at place: ByteRange
    ) throws -> (text: [UInt8], dataStart: UInt64, textStart: UInt64) {
        let first = try bytes(file, from: place.start, count: min(12, place.count))
        guard first.count >= 10 else {
            throw IngotError(
                .headerTooSmall, offset: place.start, found: "\(first.count) bytes", expected: "at least 10 bytes")
        }
        guard first.starts(with: magic) else {
            throw IngotError(
                .headerSyntax, offset: place.start, found: "a file that does not begin as a .npy file does",
                expected: "the byte 93 and the letters NUMPY")
        }
        let version = (first[6], first[7])
        guard (1...3).contains(version.0), version.1 == 0 else {
            throw IngotError(
                .unsupportedSource, offset: place.start + 6, found: ".npy version \(version.0).\(version.1)",
                expected: "version 1.0, 2.0 or 3.0", remedy: "save the array anew with numpy.save")
        }
        let width = version.0 == 1 ? 2 : 4
        guard first.count >= 8 + width else {
            throw IngotError(
                .headerTooSmall, offset: place.start, found: "\(first.count) bytes", expected: "at least 12 bytes")
        }
        let length = first[8..<8 + width].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let textStart = place.start + UInt64(8 + width)
        guard length <= maximumHeaderBytes else {
            throw IngotError(
                .headerTooLarge, offset: place.start + 8, found: "a header of \(length) bytes",
                expected: "at most \(maximumHeaderBytes) bytes")
        }
        guard length <= place.end - textStart else {
            throw IngotError(
                .headerLength, offset: place.start + 8,
                found: "a header of \(length) bytes, \(place.end - textStart) before the end")
        }
        return (try bytes(file, from: textStart, count: length), textStart + length, textStart)
    }

    private static func bytes(_ file: MappedFile, from start: UInt64, count: UInt64) throws -> [UInt8] {
        guard let range = ByteRange(start: start, count: count) else {
            throw IngotError(.headerLength, offset: start, found: "a header of \(count) bytes")
        }
        return try file.bytes(range)
    }
}
