package import FileAccess
import SystemPackage
package import TensorModel

extension ShardHeader {
    /// Reads the header of a file, in the format that its first bytes show. If they show none, the name decides.
    ///
    /// - Parameters:
    ///   - file: the file.
    ///   - key: keys that lead to the dict with the weights in a PyTorch file, joined by `.`; ignored for other formats.
    ///   - limits: limits of what is read.
    ///   - undecodable: what becomes of tensors that Ingot cannot decode.
    /// - Throws: `unsupportedSource` for a format that is known but not read, and the errors of each format.
    package static func read(
        _ file: MappedFile, key: String? = nil, limits: Limits = .standard,
        undecodable: UndecodableTensors = .refused
    ) throws -> ShardHeader {
        do {
            switch try FileSignature.of(file, limits: limits) {
            case .zip:
                let archive = try ZipArchive.read(file, limits: limits, look: PyTorchArchive.refuseScript)
                if NumPyArchive.isOne(archive) { return try NumPyArchive.readHeader(file, archive, limits: limits) }
                guard PyTorchArchive.isOne(archive) else {
                    throw refusal("a zip archive without the pickle of a state dict")
                }
                return try PyTorchArchive.readHeader(file, archive, key: key, limits: limits)
            case .pointer:
                throw refusal(
                    "a Git LFS pointer, which stands for the file", "the file itself", remedy: "fetch it: git lfs pull")
            case .page:
                throw refusal(
                    "a web page", "weights",
                    remedy: "fetch the file itself; a download that needs a login, or a wrong address, ends like this")
            case .pickle:
                throw refusal(
                    "a pickle of its own, as torch.save wrote before version 1.6", remedy: PyTorchRemedy.resave)
            case .tar:
                throw refusal("a tar archive, as torch.save wrote before version 0.2", remedy: PyTorchRemedy.run)
            case .foreign(let format):
                throw refusal(format)
            case .gguf: return try GGUFFile.readHeader(file, limits: limits, undecodable: undecodable)
            case .numpy: return try NumPyFile.readHeader(file, limits: limits)
            case .other: return ShardHeader(try SafetensorsHeader.read(file, limits: limits))
            }
        } catch let error as IngotError {
            throw error.inFile(file.path.string)
        }
    }

    private static func refusal(_ found: String, _ expected: String? = nil, remedy: Remedy? = nil) -> IngotError {
        IngotError(
            .unsupportedSource, offset: 0, found: found,
            expected: expected ?? "safetensors, what torch.save writes, GGUF, .npy or .npz",
            remedy: remedy ?? "convert it to safetensors first")
    }
}

/// The format that the first bytes of a file show.
enum FileSignature {
    /// Formats that begin with a mark. Pickle and tar files are recognized and refused.
    case zip, pickle, tar, gguf, numpy
    /// Another known format, described in words.
    case foreign(String)
    /// What a failed download leaves in place of the file: a Git LFS pointer, or a web page.
    case pointer, page
    /// No known mark. Safetensors files have none: they begin with a number.
    case other

    private static let tarMark = Array("ustar".utf8)
    private static let tarPlace = 257

    /// Formats of checkpoints and archives that are not read, with the first bytes that their specifications give.
    private static let foreign: [(start: [UInt8], name: String)] = [
        ([0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A], "an HDF5 file, as Keras and TensorFlow write"),
        ([0x1F, 0x8B, 0x08], "a file that gzip compressed"),
        ([0x28, 0xB5, 0x2F, 0xFD], "a file that zstd compressed"),
        ([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00], "a file that xz compressed"),
        ([0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C], "a 7-Zip archive"),
    ]

    private static let pointerStart = Array("version https://git-lfs".utf8)
    private static let pageStarts = ["<!doctype html", "<html"].map { Array($0.utf8) }

    /// Compares the first bytes of a file with the marks of all formats.
    static func of(_ file: MappedFile, limits: Limits) throws -> FileSignature {
        let count = min(file.byteCount, UInt64(tarPlace + tarMark.count))
        guard let range = ByteRange(start: 0, count: count) else { return .other }
        let first = try file.bytes(range)
        if first.starts(with: pointerStart) { return .pointer }
        let lowercase = first.prefix(16).map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }
        if pageStarts.contains(where: { lowercase.starts(with: $0) }) { return .page }
        if first.starts(with: GGUFFile.magic) { return .gguf }
        if first.starts(with: NumPyFile.magic) { return .numpy }
        if ZipArchive.isOne(first) { return .zip }
        // The other marks could be the length of a safetensors header, if it is within the limit and an object follows.
        let length = first.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let isLength = first.count >= 8 && length <= limits.headerBytes
        if isLength, first.dropFirst(8).first == UInt8(ascii: "{") { return .other }
        if let format = foreign.first(where: { first.starts(with: $0.start) }) { return .foreign(format.name) }
        if !isLength, first.count >= 8 {
            if first[0] == 0x80, (2...5).contains(first[1]) { return .pickle }
            if first.dropFirst(tarPlace).elementsEqual(tarMark) { return .tar }
        }
        if first.dropFirst(4).starts(with: Array("TFL3".utf8)) { return .foreign("a TensorFlow Lite file") }
        if isONNX(first) { return .foreign("an ONNX file") }
        let name = file.path.lastComponent?.string ?? ""
        if TensorName.hasSuffix(name, GGUFFile.suffix) { return .gguf }
        if TensorName.hasSuffix(name, NumPyFile.suffix) { return .numpy }
        if !isLength, first.count >= 8, isText(first) {
            return .foreign(first.first == UInt8(ascii: "{") ? "a JSON file" : "a text file")
        }
        return .other
    }

    /// Whether a file begins as ONNX models do: field 1 of a protobuf message, the version of the format, then a text field (2 to 4 or 6), or
    /// the operator sets (8) or the graph (7) (onnx.proto, `ModelProto`).
    private static func isONNX(_ first: [UInt8]) -> Bool {
        guard first.count >= 16, first[0] == 0x08, (3...32).contains(first[1]) else { return false }
        return [0x12, 0x1A, 0x22, 0x32, 0x3A, 0x42].contains(first[2])
    }

    /// Whether bytes are UTF-8 text, the last character perhaps cut.
    private static func isText(_ first: [UInt8]) -> Bool {
        guard first.allSatisfy({ $0 >= 0x20 || [0x09, 0x0A, 0x0C, 0x0D, 0x1B].contains($0) }) else { return false }
        return (0...3).contains { String(validating: first.dropLast($0), as: UTF8.self) != nil }
    }
}

extension Shard {
    /// Checks the parts of the file that hold tensors against the CRC-32 values that the file states for them. It reads those parts
    /// completely. Parts that describe the data were already checked with the header. Does nothing for formats without checksums.
    ///
    /// - Parameter isSelected: selects the tensors whose parts are checked.
    /// - Throws: `checksum` if a value differs.
    package func checkRecords(of isSelected: (TensorName) -> Bool = { _ in true }) throws {
        guard !header.checksums.isEmpty else { return }
        let starts = header.tensors.filter { isSelected($0.name) }.map(\.range.start).sorted()
        var next = 0
        for record in header.checksums {
            while next < starts.count, starts[next] < record.range.start { next += 1 }
            guard next < starts.count, starts[next] <= record.range.end else { continue }
            try record.check(file)
        }
    }
}
