import Checkpoints
import FileAccess
import TensorModel
import TestSupport
import Testing

/// Tensors that Ingot cannot decode, in files that are opened to be listed.
@Suite struct GGUFListingTests {
    private typealias G = GGUFBytes

    /// A type that is not decoded: its number, its name, and the elements and bytes of a block (`gguf.GGML_QUANT_SIZES`).
    struct Kind: Sendable, CustomTestStringConvertible {
        let number: UInt32, name: String, elements: UInt64, bytes: Int

        init(_ number: UInt32, _ name: String, _ elements: UInt64, _ bytes: Int) {
            (self.number, self.name, self.elements, self.bytes) = (number, name, elements, bytes)
        }

        var testDescription: String { name }
    }

    static let kinds: [Kind] = [
        .init(9, "Q8_1", 32, 40), .init(15, "Q8_K", 256, 292), .init(16, "IQ2_XXS", 256, 66),
        .init(17, "IQ2_XS", 256, 74), .init(18, "IQ3_XXS", 256, 98), .init(19, "IQ1_S", 256, 50),
        .init(21, "IQ3_S", 256, 110), .init(22, "IQ2_S", 256, 82), .init(29, "IQ1_M", 256, 56),
        .init(34, "TQ1_0", 256, 54), .init(35, "TQ2_0", 256, 66), .init(40, "NVFP4", 64, 36),
        .init(41, "Q1_0", 128, 18),
    ]

    /// Numbers whose block size is not known, and the names they are shown with.
    static let unsized: [(number: UInt32, name: String)] = [
        (4, "Q4_2"), (5, "Q4_3"), (31, "Q4_0_4_4"), (32, "Q4_0_4_8"), (33, "Q4_0_8_8"), (36, "IQ4_NL_4_4"),
        (37, "IQ4_NL_4_8"), (38, "IQ4_NL_8_8"), (42, "Q2_0"), (43, "type 43"), (99, "type 99"),
        (.max, "type 4294967295"),
    ]

    private static func padded(_ count: Int) -> Int { (count + 31) / 32 * 32 }

    @Test("G08: a type that is not decoded keeps name, shape and bytes", arguments: kinds) func listed(kind: Kind)
        throws
    {
        let size = 6 * kind.bytes
        let next = UInt64(GGUFListingTests.padded(size))
        let bytes = G.file(
            [G.tensor("w", [2 * kind.elements, 3], type: kind.number), G.tensor("b", offset: next)],
            data: Int(next) + 8)
        let header = try G.read(bytes, undecodable: .listed)
        let tensor = try #require(header.tensors.first)
        #expect(tensor.name == TensorName("w") && tensor.shape.dimensions == [3, 2 * Int(kind.elements)])
        #expect(tensor.encoding == kind.name && !tensor.isReadable && tensor.range.count == UInt64(size))
        #expect(header.tensors[1].isReadable && header.tensors[1].range.start == tensor.range.start + next)
        #expect(
            header.warnings.map(\.message) == [
                "1 tensor that ingot cannot decode (\(kind.name)): listed without figures"
            ])
        let error = try #require(throws: IngotError.self) { try G.read(bytes) }
        #expect(error.code == .unsupportedSource && error.remedy.includes(.listTensors))
        #expect(error.found == "type \(kind.number), \(kind.name), which ingot cannot decode")
        // Rows must fill whole blocks also in a listing.
        let broken = G.file([G.tensor("w", [kind.elements + 1], type: kind.number)], data: 1000)
        #expect(throws: IngotError.self) { try G.read(broken, undecodable: .listed) }
    }

    @Test("G08: without a known size, a tensor reaches to the next, or to the end of the file") func bytesByOffset()
        throws
    {
        for (number, name) in GGUFListingTests.unsized {
            let bytes = G.file(
                [
                    G.tensor("first", [7, 3], type: number), G.tensor("b", offset: 64),
                    G.tensor("last", [5], type: number, offset: 96),
                ], data: 96 + 45)
            let tensors = try G.read(bytes, undecodable: .listed).tensors
            #expect(tensors.map(\.range.count) == [64, 8, 45] && tensors.map(\.isReadable) == [false, true, false])
            #expect(tensors[0].encoding == name && tensors[2].encoding == name && tensors[1].encoding == nil)
            #expect(tensors[0].shape.dimensions == [3, 7])
            let error = try #require(throws: IngotError.self) { try G.read(bytes) }
            #expect(error.tensor == TensorName("first") && error.remedy.includes(.listTensors))
            #expect(error.code == (number == 42 ? .unsupportedSource : .unknownElementType))
        }
    }

    @Test("The warning names the types once, and whose sizes are taken from offsets") func warning() throws {
        let header = try G.read(
            G.file(
                [
                    G.tensor("a", [256], type: 19), G.tensor("b", [256], type: 19, offset: 64),
                    G.tensor("c", [1], type: 99, offset: 128), G.tensor("d", offset: 160),
                ], data: 168), undecodable: .listed)
        #expect(
            header.warnings.map(\.message) == [
                "3 tensors that ingot cannot decode (IQ1_S, type 99): listed without figures; sizes of type 99 reach to the "
                    + "next tensor"
            ])
        let many = (0..<40).map { G.tensor("t\($0)", [1], type: 100 + UInt32($0), offset: UInt64($0) * 32) }
        let message = try #require(try G.read(G.file(many, data: 1280), undecodable: .listed).warnings.first?.message)
        #expect(message.contains("type 107, ...") && !message.contains("type 108") && message.utf8.count < 300)
    }

    @Test("Its elements are never read: every way to them is an error that names it") func reading() throws {
        let directory = try TemporaryDirectory()
        let bytes = G.file([G.tensor("w", [256], type: 19)], data: 64)
        let file = try MappedFile.open(try directory.write("x.gguf", bytes))
        let tensor = try #require(try GGUFFile.readHeader(file, undecodable: .listed).tensors.first)
        let source = tensor.bytes(in: file)
        #expect(!source.isReadable)
        var buffer = [UInt8](repeating: 0, count: 1024)
        let ways: [() throws -> Void] = [
            { try source.read(0, count: 1, into: &buffer) },
            { try source.read(0, count: 4, rows: 2, stride: 8, into: &buffer) },
            { try source.forEachPiece { _, _ in } }, { _ = try source.hash() },
        ]
        for way in ways {
            let error = try #require(throws: IngotError.self) { try way() }
            #expect(error.code == .unsupportedSource && error.tensor == TensorName("w"))
            #expect(error.found.contains("IQ1_S") && error.file?.hasSuffix("x.gguf") == true)
        }
        #expect(buffer.allSatisfy { $0 == 0 })
    }

    static let misplaced: [Malformed] = [
        .init("G09 the next tensor no multiple of the alignment", .invalidOffsets, pair(40)),
        .init("G09 the next tensor at the same place", .offsetsNotContiguous, pair(0)),
        .init("G09 the next tensor before it", .offsetsNotContiguous, pair(32, first: 64)),
        .init("G09 the next tensor beyond the end", .invalidOffsets, pair(1 << 40)),
        .init("G09 the next tensor at 2^64 - 32", .invalidOffsets, pair(.max - 31)),
        .init("G09 the first not at the start", .offsetsNotContiguous, pair(64, first: 32)),
        .init("G09 the last beyond the end", .invalidOffsets, G.file([G.tensor("w", [9], type: 99)], data: 0)),
        .init("G09 the last at 2^64 - 32", .invalidOffsets, G.file([G.tensor("w", [9], type: 99, offset: .max - 31)])),
        .init("G07 a product that wraps", .invalidShape, G.file([G.tensor("w", [1 << 62], type: 99)], data: 64)),
        .init("G08 bytes that wrap", .invalidShape, G.file([G.tensor("w", [1 << 61], type: 9)], data: 64)),
        .init(
            "G09 bytes after a tensor of known size", .trailingBytes, G.file([G.tensor("w", [256], type: 19)], data: 65)
        ),
        .init(
            "G09 a tensor of known size cut short", .invalidOffsets, G.file([G.tensor("w", [256], type: 19)], data: 49)),
    ]

    private static func pair(_ second: UInt64, first: UInt64 = 0) -> [UInt8] {
        G.file([G.tensor("w", [9], type: 99, offset: first), G.tensor("b", offset: second)], data: 128)
    }

    @Test(arguments: misplaced) func isRefused(_ malformed: Malformed) throws {
        let error = try #require(throws: IngotError.self) { try G.read(malformed.bytes, undecodable: .listed) }
        #expect(error.code == malformed.code && (error.tensor != nil || error.code == .trailingBytes))
        #expect(error.code.kind == .badData && error.file?.hasSuffix("x.gguf") == true)
    }

    @Test("A tensor without elements may have no bytes") func empty() throws {
        let bytes = G.file([G.tensor("w", [0], type: 99), G.tensor("b"), G.tensor("e", [0], type: 99, offset: 32)])
        #expect(try G.read(bytes, undecodable: .listed).tensors.map(\.range.count) == [0, 8, 0])
    }

    /// A file with tensors of every form.
    private static let varied = G.file(
        [
            G.tensor("a", [256, 2], type: 19), G.tensor("b", [3], offset: 128),
            G.tensor("c", [7], type: 99, offset: 160),
            G.tensor("d", [32], type: 8, offset: 192), G.tensor("e", [5, 5], type: 4, offset: 256),
        ], entries: [G.entry("general.architecture", 8, G.text("llama"))], data: 300)

    @Test("Any bit of the header flipped: a header or an error of ours, and ranges within the file") func flips() throws
    {
        let bytes = GGUFListingTests.varied
        let header = try G.read(bytes, undecodable: .listed)
        #expect(header.tensors.count == 5)
        for index in Share.of(0..<Int(header.dataStart)) {
            for bit in 0..<8 {
                var flipped = bytes
                flipped[index] ^= 1 << UInt8(bit)
                do {
                    let read = try G.read(flipped, undecodable: .listed)
                    #expect(read.tensors.allSatisfy { $0.range.end <= bytes.count })
                } catch is IngotError {
                    continue
                }
            }
        }
    }

    @Test("Cut at any length, it is refused, or a tensor reaches to the end") func truncations() throws {
        let bytes = GGUFListingTests.varied
        for count in 0..<bytes.count {
            do {
                let read = try G.read(Array(bytes.prefix(count)), undecodable: .listed)
                #expect(read.tensors.count == 5 && read.tensors.allSatisfy { $0.range.end <= count })
            } catch is IngotError {
                continue
            }
        }
    }
}
