import Checkpoints
import FileAccess
import TensorModel
import TestSupport
import Testing

/// Blocks of codes decode to the bits that ggml gives.
@Suite struct GGUFBlockTests {
    /// A kind of block, and the hash of what 64 of random bytes decode to.
    ///
    /// The hashes are those of ggml's `dequantize_row_*` (llama.cpp as in llama-cpp-python 0.3.36), and of `gguf.quants.dequantize`
    /// 0.19.0, which gives the same; NaNs are made one. Tests/Peers/test_gguf.py compares with the latter anew.
    struct Kind: Sendable, CustomStringConvertible {
        let description: String
        let type: UInt32
        let elements: Int, bytes: Int
        let hash: UInt64

        init(_ name: String, _ type: UInt32, _ elements: Int, _ bytes: Int, _ hash: UInt64) {
            (description, self.type, self.elements, self.bytes, self.hash) = (name, type, elements, bytes, hash)
        }

        static let blocks = 64

        /// A file of one tensor: four rows of seeded bytes as codes.
        func header(_ directory: TemporaryDirectory) throws -> (StoredTensor, MappedFile) {
            var generator = SeededGenerator(seed: UInt64(type))
            let codes = (0..<Kind.blocks * bytes).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            let entry = GGUFBytes.tensor("a", [UInt64(Kind.blocks / 4 * elements), 4], type: type)
            let path = try directory.write("x.gguf", GGUFBytes.file([entry], data: 0) + codes)
            let file = try MappedFile.open(path)
            return (try #require(try GGUFFile.readHeader(file).tensors.first), file)
        }
    }

    static let kinds: [Kind] = [
        .init("Q8_0", 8, 32, 34, 0x3129_A242_E91B_8488),
        .init("Q4_0", 2, 32, 18, 0xCDED_9858_BD3D_BC97),
        .init("Q4_1", 3, 32, 20, 0xC1DA_3666_F84C_E31B),
        .init("Q5_0", 6, 32, 22, 0x34BF_23C7_D503_2646),
        .init("Q5_1", 7, 32, 24, 0xD6AA_2F77_8A84_B188),
        .init("Q2_K", 10, 256, 84, 0x4457_5F4E_A0FD_1CC9),
        .init("Q3_K", 11, 256, 110, 0x17BF_D0B5_9393_AD5B),
        .init("Q4_K", 12, 256, 144, 0xA0D6_1817_F79B_78CC),
        .init("Q5_K", 13, 256, 176, 0xE12C_21B7_549C_D4F4),
        .init("Q6_K", 14, 256, 210, 0xBE3A_FB03_ABCB_7FBB),
        .init("IQ4_NL", 20, 32, 18, 0x0B7A_79C6_20B9_F863),
        .init("IQ4_XS", 23, 256, 136, 0x7EA5_A866_A700_157B),
        .init("MXFP4", 39, 32, 17, 0xA75C_F0B0_8069_79E6),
    ]

    @Test(arguments: kinds) func decodesAsGGMLDoes(_ kind: Kind) throws {
        let directory = try TemporaryDirectory()
        let (tensor, file) = try kind.header(directory)
        #expect(tensor.elementType == .f32 && tensor.encoding == kind.description)
        #expect(tensor.range.count == UInt64(Kind.blocks * kind.bytes))
        #expect(tensor.byteCount == UInt64(Kind.blocks * kind.elements * 4))
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        let bytes = try tensor.bytes(in: file).all()
        for start in stride(from: 0, to: bytes.count, by: 4) {
            var number = Array(bytes[start..<start + 4])
            let bits = number.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            if Float(bitPattern: bits).isNaN { number = [0, 0, 0xC0, 0x7F] }
            for byte in number { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        }
        #expect(hash == kind.hash)
    }

    @Test("Any part is a part of the whole, wherever in a block it begins", arguments: kinds)
    func parts(_ kind: Kind) throws {
        let directory = try TemporaryDirectory()
        let (tensor, file) = try kind.header(directory)
        let whole = try tensor.bytes(in: file).all()
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<200 {
            let start = Int.random(in: 0...whole.count, using: &generator)
            let count = Int.random(in: 0...min(whole.count - start, kind.elements * 4 * 3), using: &generator)
            let part = try tensor.bytes(in: file).part(UInt64(start), count: count)
            #expect(part == Array(whole[start..<start + count]))
        }
        // A column of all rows, as chunks are read.
        let rowBytes = whole.count / 4
        var rows = [UInt8](repeating: 0, count: 80)
        try tensor.bytes(in: file).read(36, count: 20, rows: 4, stride: rowBytes, into: &rows)
        for row in 0..<4 {
            let start = row * rowBytes + 36
            #expect(rows[20 * row..<20 * row + 20] == whole[start..<start + 20])
        }
    }

    /// Blocks in memory decode to the bits that reading them from a file gives.
    @Test(arguments: kinds) func blocksInMemory(_ kind: Kind) throws {
        let directory = try TemporaryDirectory()
        let (tensor, file) = try kind.header(directory)
        let bytes = try tensor.bytes(in: file).all()
        let type = try #require(BlockType(rawValue: kind.type))
        var weights = [Float](repeating: 1, count: Kind.blocks * kind.elements + 1)
        let blocks = try file.bytes(tensor.range)
        GGUFBlocks.decode(type, blocks.span, into: &weights)
        #expect(weights.last == 1)
        for index in 0..<weights.count - 1 {
            let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[index * 4 + $1]) << UInt32(8 * $1) }
            #expect(weights[index].bitPattern == bits)
        }
    }
}
