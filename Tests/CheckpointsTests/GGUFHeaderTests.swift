import Checkpoints
import FileAccess
import TensorModel
import TestSupport
import Testing

/// What a GGUF header says, and what is odd about one but no reason to refuse it.
@Suite struct GGUFHeaderTests {
    private typealias G = GGUFBytes

    @Test(arguments: [2, 3] as [UInt32]) func versions(_ version: UInt32) throws {
        let header = try G.read(G.file(version: version))
        #expect(header.format == .gguf && header.warnings.isEmpty && header.metadata.isEmpty)
        let tensor = try #require(header.tensors.first)
        #expect(tensor.name == TensorName("a") && tensor.elementType == .f32 && tensor.encoding == nil)
        #expect(header.dataStart == 64 && tensor.range.start == 64 && tensor.range.count == 8)
    }

    @Test("Every type of value as text") func metadata() throws {
        let numbers: [(UInt32, [UInt8], String)] = [
            (0, [200], "200"), (1, [200], "-56"), (2, [1, 2], "513"), (3, [0xFE, 0xFF], "-2"),
            (4, G.half(1 << 31), "2147483648"), (5, G.half(1 << 31), "-2147483648"),
            (6, G.half(Float(0.1).bitPattern), "0.1"), (7, [1], "true"), (7, [0], "false"),
            (8, G.text("llama \u{E9}"), "llama \u{E9}"), (8, G.text(""), ""),
            (10, FileBytes.word(.max), "18446744073709551615"), (11, FileBytes.word(.max), "-1"),
            (12, FileBytes.word(Double(1e-5).bitPattern), "1e-05"),
        ]
        let arrays: [([UInt8], String)] = [
            (G.half(5) + FileBytes.word(2) + G.half(1) + G.half(.max), "[1, -1]"),
            (G.half(8) + FileBytes.word(2) + G.text("en") + G.text("de"), "[en, de]"),
            (G.half(8) + FileBytes.word(0), "[]"),
            (G.half(8) + FileBytes.word(9) + (0..<9).flatMap { G.text("t\($0)") }, "[string x 9]"),
            (G.half(6) + FileBytes.word(100) + [UInt8](repeating: 1, count: 400), "[f32 x 100]"),
            (G.half(7) + FileBytes.word(9) + [UInt8](repeating: 1, count: 9), "[bool x 9]"),
        ]
        let entries =
            numbers.enumerated().map { G.entry("n\($0)", $1.0, $1.1) }
            + arrays.enumerated().map { G.entry("a\($0)", 9, $1.0) }
        let header = try G.read(G.file(entries: entries))
        #expect(header.metadata.map(\.value) == numbers.map(\.2) + arrays.map(\.1))
        #expect(header.metadata.first?.key == "n0" && header.metadata.last?.key == "a5")
    }

    @Test("Dimensions come slowest first") func shapes() throws {
        let header = try G.read(
            G.file(
                [
                    G.tensor("m", [3, 2], type: 1), G.tensor("v", [4], type: 30, offset: 32),
                    G.tensor("c", [1, 2, 1, 2], type: 24, offset: 64), G.tensor("e", [7, 0], offset: 96),
                    G.tensor("i", [2], type: 27, offset: 96), G.tensor("d", [1], type: 28, offset: 128),
                    G.tensor("s", [2], type: 25, offset: 160), G.tensor("w", [2], type: 26, offset: 192),
                ], data: 224))
        #expect(header.tensors.map(\.shape.dimensions) == [[2, 3], [4], [2, 1, 2, 1], [0, 7], [2], [1], [2], [2]])
        #expect(header.tensors.map(\.elementType) == [.f16, .bf16, .i8, .f32, .i64, .f64, .i16, .i32])
        #expect(header.tensors.map(\.byteCount) == [12, 8, 4, 0, 16, 8, 4, 8])
        #expect(header.tensors.allSatisfy { $0.range.count == $0.byteCount })
    }

    @Test("The last tensor is padded or not, and there may be none") func ends() throws {
        for bytes in [8, 9, 31, 32] { #expect(try G.read(G.file(data: bytes)).tensors.count == 1) }
        for bytes in [G.file([], data: 0), Array(G.file([], data: 0).prefix(24))] {
            let header = try G.read(bytes)
            #expect(header.tensors.isEmpty && header.dataStart == UInt64(bytes.count))
        }
    }

    @Test(arguments: [8, 64, 4096, 1 << 20] as [UInt32]) func alignments(_ alignment: UInt32) throws {
        let entry = G.entry("general.alignment", 4, G.half(alignment))
        let tensors = [G.tensor("a"), G.tensor("b", offset: UInt64(alignment))]
        let header = try G.read(
            G.file(tensors, entries: [entry], alignment: Int(alignment), data: Int(alignment) + 8))
        #expect(header.warnings.isEmpty)
        #expect(header.tensors[1].range.start % UInt64(alignment) == 0)
    }

    @Test("A name of 63 bytes, and a key of 65,535, are the longest") func longNames() throws {
        let name = String(repeating: "n", count: 63)
        let key = String(repeating: "k", count: 65_535)
        let header = try G.read(G.file([G.tensor(name)], entries: [G.entry(key, 0, [1])]))
        #expect(header.tensors[0].name == TensorName(name) && header.metadata[0].key.utf8.count == 65_535)
    }

    @Test("G03, G05, G06: odd, but read") func warnings() throws {
        let key = try G.read(G.file(entries: [G.entry("cl\u{E9}", 0, [1])]))
        #expect(key.warnings.count == 1 && key.metadata[0].key == "cl\u{E9}")

        let text = try G.read(G.file(entries: [G.entry("k", 8, G.text(raw: [0x61, 0xFF]))]))
        #expect(text.warnings.count == 1 && text.metadata[0].value == "a\u{FFFD}")

        let entry = G.entry("general.alignment", 4, G.half(1))
        let packed = try G.read(
            G.file([G.tensor("a"), G.tensor("b", offset: 8)], entries: [entry], alignment: 1, data: 16))
        #expect(packed.warnings.count == 1 && packed.tensors[1].range.start % 8 != 0)
    }

    /// A file with something of everything.
    private static let varied = G.file(
        [
            G.tensor("blk.0.attn_q.weight", [32, 2], type: 8), G.tensor("blk.0.norm", [3], offset: 96),
            G.tensor("x", [256], type: 12, offset: 128),
        ],
        entries: [
            G.entry("general.architecture", 8, G.text("llama")), G.entry("general.alignment", 4, G.half(32)),
            G.array("tokens", of: 8, count: 10, (0..<10).flatMap { G.text("t\($0)") }), G.entry("flag", 7, [1]),
        ], data: 288)

    @Test("Cut at any length, it is refused, or its last padding is missing") func truncations() throws {
        let bytes = GGUFHeaderTests.varied
        let whole = try G.read(bytes)
        let end = try #require(whole.tensors.last).range.end
        for count in 0..<bytes.count {
            let read = Result { try G.read(Array(bytes.prefix(count))) }
            switch read {
            case .success: #expect(count >= end)
            case .failure(let error): #expect(error is IngotError && count < end)
            }
        }
        Tally.print(bytes.count, "G09 truncations of a GGUF file")
    }

    @Test("Any bit of the header flipped: a header or an error of ours, and ranges within the file") func flips() throws
    {
        let bytes = GGUFHeaderTests.varied
        let header = try G.read(bytes)
        var refused = 0
        let places = Share.of(0..<Int(header.dataStart))
        for index in places {
            for bit in 0..<8 {
                var flipped = bytes
                flipped[index] ^= 1 << UInt8(bit)
                do {
                    let read = try G.read(flipped)
                    #expect(read.tensors.allSatisfy { $0.range.end <= bytes.count })
                } catch is IngotError {
                    refused += 1
                }
            }
        }
        #expect(refused > places.count * 8 / 3)
        Tally.print(places.count * 8, of: Int(header.dataStart) * 8, "G01 flipped bits of a GGUF header")
    }
}
