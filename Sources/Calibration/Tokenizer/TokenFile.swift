import Checkpoints
import FileAccess
package import SystemPackage
import TensorModel

/// Files of token ids: `.npy`, or safetensors with one tensor of whole numbers.
package enum TokenFile {
    /// Ids at most.
    package static let maximumCount: UInt64 = 1 << 26

    private static let types: Set<ElementType> = [.u8, .i8, .u16, .i16, .u32, .i32, .u64, .i64]

    /// Reads ids. An array of two dimensions gives its rows one after the other.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - vocabulary: every id must be below this number.
    /// - Throws: `unsupportedSource` for other files, several tensors or other element types; `invalidShape` for more than two dimensions;
    ///   `valueOutOfRange` for no ids, too many, and ids outside of the vocabulary, with the offset; the errors of the formats.
    package static func read(_ path: FilePath, vocabulary: Int) throws -> [Int32] {
        let file = try MappedFile.open(path)
        do {
            let header = try ShardHeader.read(file)
            guard header.format == .numpy || header.format == .safetensors else {
                throw IngotError(
                    .unsupportedSource, found: "ids in a file of the format \(header.format.rawValue)",
                    expected: ".npy or safetensors", remedy: "save them with numpy.save")
            }
            guard header.tensors.count == 1, let tensor = header.tensors.first, header.aliases.isEmpty else {
                throw IngotError(
                    .unsupportedSource, found: "\(header.tensors.count) tensors", expected: "one tensor with the ids",
                    remedy: "save the ids alone")
            }
            return try read(tensor, of: file, vocabulary)
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
    }

    private static func read(_ tensor: StoredTensor, of file: MappedFile, _ vocabulary: Int) throws -> [Int32] {
        func failure(_ code: IngotError.Code, _ found: String, _ expected: String, at offset: UInt64? = nil)
            -> IngotError
        {
            IngotError(
                code, tensor: tensor.name, offset: offset, found: found, expected: expected,
                remedy: "save the ids of one text, made with the model's own tokenizer")
        }
        let type = tensor.elementType
        guard types.contains(type), tensor.decoder == nil else {
            throw failure(.unsupportedSource, "ids of type \(type.rawValue)", "whole numbers")
        }
        guard tensor.shape.dimensions.count <= 2 else {
            throw failure(.invalidShape, "ids in the shape \(tensor.shape)", "one or two dimensions")
        }
        let width = UInt64(type.bitWidth / 8)
        let count = tensor.range.count / width
        guard count > 0, count <= maximumCount else {
            throw failure(.valueOutOfRange, "\(count) ids", "1 to \(maximumCount)")
        }
        let isSigned = [.i8, .i16, .i32, .i64].contains(type)
        var ids: [Int32] = []
        ids.reserveCapacity(Int(count))
        var start = tensor.range.start
        while start < tensor.range.end {
            guard let piece = ByteRange(start: start, end: min(start + (1 << 20), tensor.range.end)) else { break }
            let bytes = try file.bytes(piece)
            for index in stride(from: 0, to: bytes.count, by: Int(width)) {
                var bits: UInt64 = 0
                for offset in (0..<Int(width)).reversed() { bits = bits << 8 | UInt64(bytes[index + offset]) }
                let shift = UInt64(64 - type.bitWidth)
                let value = isSigned ? Int64(bitPattern: bits << shift) >> Int64(shift) : Int64(clamping: bits)
                guard value >= 0, value < Int64(vocabulary), let id = Int32(exactly: value) else {
                    throw failure(
                        .valueOutOfRange, "the id \(value)", "0 to \(vocabulary - 1)", at: start + UInt64(index))
                }
                ids.append(id)
            }
            start = piece.end
        }
        return ids
    }

    /// Whether a file is a `.npy` with ids, as `npy` makes them: one dimension of 32-bit whole numbers.
    package static func isOne(_ path: FilePath) -> Bool {
        guard let file = try? MappedFile.open(path), let header = try? NumPyFile.readHeader(file),
            let tensor = header.tensors.first
        else { return false }
        return tensor.elementType == .i32 && tensor.shape.dimensions.count == 1
    }

    /// A `.npy` file with ids, as one array of 32-bit whole numbers, in parts.
    package static func npy(_ ids: [Int32]) -> [[UInt8]] {
        var header = Array("{'descr': '<i4', 'fortran_order': False, 'shape': (\(ids.count),), }".utf8)
        header += [UInt8](repeating: 0x20, count: 63 - (10 + header.count) % 64) + [0x0A]
        let length = UInt16(header.count)
        let front = [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(length & 0xFF), UInt8(length >> 8)] + header
        let step = 1 << 16
        return [front]
            + stride(from: 0, to: ids.count, by: step).map { start in
                var bytes: [UInt8] = []
                bytes.reserveCapacity(4 * step)
                for id in ids[start..<min(start + step, ids.count)] {
                    let bits = UInt32(bitPattern: id)
                    bytes.append(UInt8(truncatingIfNeeded: bits))
                    bytes.append(UInt8(truncatingIfNeeded: bits >> 8))
                    bytes.append(UInt8(truncatingIfNeeded: bits >> 16))
                    bytes.append(UInt8(truncatingIfNeeded: bits >> 24))
                }
                return bytes
            }
    }
}
