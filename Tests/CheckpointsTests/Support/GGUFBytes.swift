import Checkpoints
import FileAccess
import SystemPackage
import TensorModel

/// Bytes of GGUF files, built from parts that need not be right.
enum GGUFBytes {
    /// Four bytes, little-endian.
    static func half(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }

    /// A text with its length before it.
    static func text(_ text: String) -> [UInt8] { self.text(raw: Array(text.utf8)) }

    /// The same for bytes that need not be text.
    static func text(raw bytes: [UInt8]) -> [UInt8] { FileBytes.word(UInt64(bytes.count)) + bytes }

    /// A metadata entry.
    static func entry(_ key: String, _ type: UInt32, _ value: [UInt8]) -> [UInt8] {
        text(key) + half(type) + value
    }

    /// A metadata entry whose value is an array.
    static func array(_ key: String, of type: UInt32, count: UInt64, _ elements: [UInt8]) -> [UInt8] {
        entry(key, 9, half(type) + FileBytes.word(count) + elements)
    }

    /// An entry of the list of tensors; dimensions as the file has them, fastest first.
    static func tensor(
        _ name: String = "a", _ dimensions: [UInt64] = [2], type: UInt32 = 0, offset: UInt64 = 0, rank: UInt32? = nil
    ) -> [UInt8] {
        text(name) + half(rank ?? UInt32(dimensions.count)) + dimensions.flatMap(FileBytes.word) + half(type)
            + FileBytes.word(offset)
    }

    /// A file. Unless said otherwise, its counts are right, and its data are as many bytes of rising numbers as one padded tensor
    /// of two F32 takes.
    static func file(
        _ tensors: [[UInt8]] = [tensor()], entries: [[UInt8]] = [], magic: String = "GGUF", version: UInt32 = 3,
        tensorCount: UInt64? = nil, entryCount: UInt64? = nil, alignment: Int = 32, data: Int = 32
    ) -> [UInt8] {
        let head =
            Array(magic.utf8) + half(version) + FileBytes.word(tensorCount ?? UInt64(tensors.count))
            + FileBytes.word(entryCount ?? UInt64(entries.count)) + entries.joined() + tensors.joined()
        let padding = (alignment - head.count % alignment) % alignment
        return head + [UInt8](repeating: 0, count: padding) + (0..<data).map { UInt8(truncatingIfNeeded: $0) }
    }

    /// Reads the header of a file of these bytes.
    static func read(
        _ bytes: [UInt8], limits: Limits = .standard, undecodable: UndecodableTensors = .refused
    ) throws -> ShardHeader {
        let directory = try TemporaryDirectory()
        let file = try MappedFile.open(try directory.write("x.gguf", bytes))
        return try GGUFFile.readHeader(file, limits: limits, undecodable: undecodable)
    }
}
