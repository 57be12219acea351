package import FileAccess
import SystemPackage
package import TensorModel

/// Reads GGUF, the format of llama.cpp: versions 2 and 3, little-endian.
///
/// The layout is that of ggml's `gguf.cpp`: magic, version, counts, metadata, the list of tensors, and the tensors in the order of the
/// list. Each tensor begins at the next multiple of the alignment.
package enum GGUFFile {
    /// The first bytes of every file.
    package static let magic = Array("GGUF".utf8)
    /// Suffix of the files.
    package static let suffix = ".gguf"
    /// Bytes of magic, version and counts.
    package static let fixedBytes: UInt64 = 24

    /// Reads and checks everything before the data of a file.
    ///
    /// Tensors in blocks of codes have element type F32 and are decoded when they are read. `StoredTensor.encoding` names the type of their
    /// blocks.
    ///
    /// - Parameters:
    ///   - file: the file.
    ///   - limits: limits of what is read.
    ///   - undecodable: what becomes of tensors of types that are not decoded.
    /// - Throws: an error for each rule of the format; `unsupportedSource` for versions, byte orders and types that are not read.
    package static func readHeader(
        _ file: MappedFile, limits: Limits = .standard, undecodable: UndecodableTensors = .refused
    ) throws -> ShardHeader {
        let path = file.path.string
        do {
            var reader = FrontReader(file, maximumBytes: limits.headerBytes)
            guard reader.byteCount >= fixedBytes else {
                throw reader.failure(
                    .headerTooSmall, "a file of \(reader.byteCount) bytes", expected: "at least \(fixedBytes) bytes")
            }
            try requireVersion(&reader)
            let tensorCount = try readCount(
                &reader, "tensors", minimum: GGUFTensorTable.minimumEntryBytes, maximum: limits.tensorsPerFile,
                .tooManyTensors)
            let entryCount = try readCount(
                &reader, "metadata entries", minimum: GGUFMetadata.minimumEntryBytes, maximum: limits.tensorsPerFile,
                .headerTooLarge)
            let metadata = try GGUFMetadata(&reader, count: entryCount, path: path)
            let table = try GGUFTensorTable(
                &reader, count: tensorCount, limits: limits, undecodable: undecodable)
            guard let start = Checked.roundUp(reader.position, to: metadata.alignment) else {
                throw reader.failure(.invalidOffsets, "a header that ends beyond 2^64")
            }
            let tensors = try table.tensors(of: file, from: start, alignment: metadata.alignment)
            return ShardHeader(
                .gguf, tensors: tensors, metadata: metadata.entries, dataStart: min(start, file.byteCount),
                warnings: metadata.warnings + [table.warning(path)].compactMap { $0 },
                model: metadata.model.description, carriedMetadata: metadata.carried)
        } catch let error as IngotError {
            throw error.inFile(path)
        }
    }

    /// Reads magic and version, and requires a version that is read.
    static func requireVersion(_ reader: inout FrontReader) throws {
        let first = try reader.bytes(4, "the magic")
        guard first == magic else {
            throw reader.failure(
                .headerSyntax, at: 0, "the bytes \(first.map { hexadecimal($0) }.joined(separator: " "))",
                expected: "the letters GGUF")
        }
        let version = try reader.unsigned(4, "the version")
        guard version != 2, version != 3 else { return }
        // A big-endian file has its version in the last of the four bytes.
        if version & 0xFFFF == 0, version != 0 {
            throw reader.failure(
                .unsupportedSource, at: 4, "a big-endian GGUF file", expected: "a little-endian one",
                remedy: "turn it round with gguf-convert-endian, of the Python package gguf")
        }
        throw reader.failure(
            .unsupportedSource, at: 4, "GGUF version \(version)", expected: "version 2 or 3",
            remedy: version == 1
                ? "make the file anew with today's llama.cpp" : "use a newer ingot, if there is such a version")
    }

    /// Reads a count of entries, and requires that they fit into the rest of the file if each has `minimum` bytes.
    static func readCount(
        _ reader: inout FrontReader, _ what: String, minimum: UInt64, maximum: Int, _ code: IngotError.Code
    ) throws -> UInt64 {
        let place = reader.position
        let count = try reader.unsigned(8, "a count")
        guard count <= maximum else {
            let number = count > Int64.max ? "\(Int64(bitPattern: count))" : "\(count)"
            throw reader.failure(code, at: place, "\(number) \(what)", expected: "0 to \(maximum)")
        }
        guard count <= reader.remaining / minimum else {
            throw reader.failure(
                .headerLength, at: place, "\(count) \(what) in a file of \(reader.byteCount) bytes",
                expected: "at most \(reader.remaining / minimum), of which each takes \(minimum) bytes at least")
        }
        return count
    }

    private static func hexadecimal(_ byte: UInt8) -> String {
        NumberText.padded(byte, digits: 2, radix: 16).uppercased()
    }
}
