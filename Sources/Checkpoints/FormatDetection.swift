import FileAccess
import SystemPackage
import TensorModel

extension ShardHeader {
    /// Reads and checks the header of a file, whose format its first bytes tell, or its name where they tell none.
    static func read(_ file: MappedFile, limits: Limits = .standard) throws -> ShardHeader {
        let first = try file.bytes(ByteRange(start: 0, count: min(8, file.byteCount)) ?? file.wholeRange)
        let name = file.path.lastComponent?.string ?? ""
        func begins(_ magic: [UInt8], or suffix: String) -> Bool {
            first.starts(with: magic) || TensorName.hasSuffix(name, suffix)
        }
        if begins(GGUFFile.magic, or: GGUFFile.suffix) { return try GGUFFile.readHeader(file, limits: limits) }
        if begins(NumPyFile.magic, or: NumPyFile.suffix) { return try NumPyFile.readHeader(file, limits: limits) }
        return ShardHeader(try SafetensorsHeader.read(file, limits: limits))
    }
}
