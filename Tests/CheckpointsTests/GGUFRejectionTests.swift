import Checkpoints
import TensorModel
import Testing

/// Each rule of GGUF, broken alone, gets the error of that rule.
@Suite struct GGUFRejectionTests {
    private typealias G = GGUFBytes

    @Test(arguments: framing + counts + keys + values + alignments + shapes + types + offsets + names)
    func isRefused(_ malformed: Malformed) throws {
        let error = try #require(throws: IngotError.self) { try GGUFBytes.read(malformed.bytes) }
        #expect(error.code == malformed.code)
        #expect(error.file?.hasSuffix("x.gguf") == true)
        #expect(!error.found.isEmpty && !error.remedy.text.isEmpty)
        #expect(error.code.kind == .badData)
    }

    static let framing: [Malformed] = [
        .init("G01 empty", .headerTooSmall, []),
        .init("G01 magic alone", .headerTooSmall, Array("GGUF".utf8)),
        .init("G01 23 bytes", .headerTooSmall, Array(G.file().prefix(23))),
        .init("G01 lower case", .headerSyntax, G.file(magic: "gguf")),
        .init("G01 GGML", .headerSyntax, G.file(magic: "GGML")),
        .init("G01 zeros", .headerSyntax, [UInt8](repeating: 0, count: 64)),
        .init("G01 safetensors under this name", .headerSyntax, FileBytes.one()),
        .init("G01 version 0", .unsupportedSource, G.file(version: 0)),
        .init("G01 version 1", .unsupportedSource, G.file(version: 1)),
        .init("G01 version 4", .unsupportedSource, G.file(version: 4)),
        .init("G01 big-endian version 3", .unsupportedSource, G.file(version: 3 << 24)),
        .init("G01 big-endian version 2", .unsupportedSource, G.file(version: 2 << 24)),
    ]

    static let counts: [Malformed] = [
        .init("G02 -1 tensors", .tooManyTensors, G.file(tensorCount: .max)),
        .init("G02 2^63 - 1 tensors", .tooManyTensors, G.file(tensorCount: 1 << 63 - 1)),
        .init("G02 1,000,001 tensors", .tooManyTensors, G.file(tensorCount: 1_000_001)),
        .init("G02 1,000,000 tensors in a short file", .headerLength, G.file(tensorCount: 1_000_000)),
        .init("G02 a tensor too many", .headerLength, G.file(tensorCount: 2, data: 0)),
        .init("G02 -1 entries", .headerTooLarge, G.file(entryCount: .max)),
        .init("G02 2^62 entries", .headerTooLarge, G.file(entryCount: 1 << 62)),
        .init("G02 1,000,000 entries in a short file", .headerLength, G.file(entryCount: 1_000_000)),
        .init("G02 an entry too many", .headerTooLarge, G.file(entryCount: 1 << 32)),
        .init("G02 nothing after the counts", .headerLength, Array(G.file().prefix(24))),
    ]

    static let number = G.entry("n", 0, [1])

    static let keys: [Malformed] = [
        .init("G03 empty", .headerSyntax, G.file(entries: [G.entry("", 0, [1, 0, 0])])),
        .init(
            "G03 65,536 bytes", .nameTooLong,
            G.file(entries: [G.entry(String(repeating: "k", count: 65_536), 0, [1])])),
        .init("G03 2^64 - 1 bytes", .nameTooLong, G.file(entries: [FileBytes.word(.max) + G.half(0) + [1]])),
        .init(
            "G03 beyond the end", .headerLength,
            G.file([], entries: [FileBytes.word(60_000) + G.half(0) + [1]], data: 0)),
        .init("G03 twice", .duplicateKey, G.file(entries: [number, G.entry("m", 0, [1]), number])),
        .init("G03 no UTF-8", .invalidText, G.file(entries: [G.text(raw: [0x61, 0xFF]) + G.half(0) + [1]])),
        .init("G03 NUL", .invalidText, G.file(entries: [G.text(raw: [0x61, 0]) + G.half(0) + [1]])),
    ]

    static let values: [Malformed] =
        [
            .init("G04 type 13", .headerSyntax, G.file(entries: [G.entry("k", 13, [0])])),
            .init("G04 type 2^32 - 1", .headerSyntax, G.file(entries: [G.entry("k", .max, [0])])),
            .init(
                "G04 array of arrays", .headerSyntax,
                G.file(entries: [G.array("k", of: 9, count: 1, G.half(0) + FileBytes.word(1) + [1])])),
            .init(
                "G04 100,000 arrays of arrays", .headerSyntax,
                G.file(entries: [
                    G.entry(
                        "k", 9,
                        (0..<100_000).flatMap { _ in G.half(9) + FileBytes.word(1) } + G.half(0) + FileBytes.word(0))
                ])),
            .init("G04 array of type 13", .headerSyntax, G.file(entries: [G.array("k", of: 13, count: 1, [1])])),
            .init("G05 true as 2", .headerSyntax, G.file(entries: [G.entry("k", 7, [2])])),
            .init("G05 true as 255", .headerSyntax, G.file(entries: [G.entry("k", 7, [255])])),
            .init("G05 2 in a short array", .headerSyntax, G.file(entries: [G.array("k", of: 7, count: 2, [0, 2])])),
            .init(
                "G05 2 in a long array", .headerSyntax,
                G.file(entries: [G.array("k", of: 7, count: 20, [UInt8](repeating: 1, count: 19) + [2])])),
            .init(
                "G05 text beyond the end", .headerLength,
                G.file([], entries: [G.entry("k", 8, FileBytes.word(1000))], data: 0)),
            .init("G05 text of 2^64 - 1", .headerLength, G.file(entries: [G.entry("k", 8, FileBytes.word(.max))])),
            .init("G05 text of 2^63", .headerLength, G.file(entries: [G.entry("k", 8, FileBytes.word(1 << 63))])),
            .init(
                "G05 text beyond the end, in an array", .headerLength,
                G.file(entries: [G.array("k", of: 8, count: 9, FileBytes.word(.max - 7))])),
            .init(
                "G05 number beyond the end", .headerLength,
                Array(G.file([], entries: [G.entry("k", 10, FileBytes.word(1))]).prefix(40))),
        ]
        + [(0, 1000), (12, 1 << 61), (10, 1 << 61), (2, 1 << 63), (8, 1 << 61), (8, 100), (0, .max), (4, .max)].map {
            (type: UInt32, count: UInt64) in
            .init(
                "G04 array of \(count) of type \(type)", .headerLength,
                G.file(entries: [G.array("k", of: type, count: count, [0])]))
        }

    static func alignment(_ description: String, _ code: IngotError.Code, _ type: UInt32, _ value: [UInt8]) -> Malformed
    {
        .init("G06 " + description, code, G.file(entries: [G.entry("general.alignment", type, value)]))
    }

    static let alignments: [Malformed] = [
        alignment("u64", .headerSyntax, 10, FileBytes.word(32)),
        alignment("i32", .headerSyntax, 5, G.half(32)),
        alignment("text", .headerSyntax, 8, G.text("32")),
        alignment("0", .invalidOffsets, 4, G.half(0)),
        alignment("24", .invalidOffsets, 4, G.half(24)),
        alignment("33", .invalidOffsets, 4, G.half(33)),
        alignment("2 MiB", .invalidOffsets, 4, G.half(2 << 20)),
        alignment("2^31", .invalidOffsets, 4, G.half(1 << 31)),
        alignment("2^32 - 1", .invalidOffsets, 4, G.half(.max)),
        .init(
            "G06 split.no as u32", .headerSyntax, G.file(entries: [G.entry("split.no", 4, G.half(0))])),
    ]

    static let shapes: [Malformed] =
        [
            .init("G07 no dimension", .invalidShape, G.file([G.tensor("a", [])])),
            .init("G07 5 dimensions", .invalidShape, G.file([G.tensor("a", [1, 1, 1, 1, 2])])),
            .init("G07 2^32 - 1 dimensions", .invalidShape, G.file([G.tensor("a", [2], rank: .max)])),
        ]
        + [
            [.max], [1 << 63], [2, .max], [1 << 32, 1 << 32], [1 << 63 - 1, 2], [1 << 31, 1 << 31, 4],
            [1 << 42 + 1, 1 << 22], [1 << 21 + 1, 1 << 43], [1 << 16, 1 << 16, 1 << 16, 1 << 16],
            [0, 1 << 32, 1 << 32], [1 << 62], [1 << 61 + 2],
        ].map { (dimensions: [UInt64]) in
            .init("G07 dimensions \(dimensions)", .invalidShape, G.file([G.tensor("a", dimensions)]))
        }

    static let types: [Malformed] =
        [(2, 33), (8, 31), (8, 16), (12, 128), (14, 255), (20, 1), (23, 32), (39, 48)].map {
            (type: UInt32, row: UInt64) in
            .init(
                "G08 rows of \(row) of type \(type)", .invalidShape,
                G.file([G.tensor("a", [row, 256], type: type)], data: 100_000))
        }
        + [4, 5, 31, 32, 33, 36, 37, 38, 43, 64, 255, 65_536, 1 << 31, .max].map { (type: UInt32) in
            .init("G08 type \(type)", .unknownElementType, G.file([G.tensor("a", [256], type: type)], data: 1024))
        }
        + [9, 15, 16, 17, 18, 19, 21, 22, 29, 34, 35, 40, 41, 42].map { (type: UInt32) in
            .init("G08 type \(type), not decoded", .unsupportedSource, G.file([G.tensor("a", [256], type: type)]))
        }
        + [
            .init("G08 bytes wrap", .invalidShape, G.file([G.tensor("a", [1 << 61], type: 28)])),
            .init("G08 Q8_0 bytes beyond 2^62", .invalidShape, G.file([G.tensor("a", [1 << 62], type: 8)])),
            .init("G08 padding wraps", .invalidShape, G.file([G.tensor("a", [1 << 63 - 1], type: 24)])),
        ]

    static func pair(_ second: UInt64, data: Int = 64) -> [UInt8] {
        G.file([G.tensor("a"), G.tensor("b", offset: second)], data: data)
    }

    static let offsets: [Malformed] = [
        .init("G09 first at 8", .invalidOffsets, G.file([G.tensor(offset: 8)], data: 64)),
        .init("G09 first at 32", .offsetsNotContiguous, G.file([G.tensor(offset: 32)], data: 64)),
        .init("G09 first at 2^64 - 32", .offsetsNotContiguous, G.file([G.tensor(offset: .max - 31)])),
        .init("G09 first at 2^64 - 1", .invalidOffsets, G.file([G.tensor(offset: .max)])),
        .init("G09 overlap", .offsetsNotContiguous, pair(0)),
        .init("G09 no padding", .invalidOffsets, pair(8)),
        .init("G09 hole", .offsetsNotContiguous, pair(64, data: 96)),
        .init(
            "G09 order of bytes is not that of the list", .offsetsNotContiguous,
            G.file([G.tensor("a", offset: 32), G.tensor("b", offset: 0)], data: 64)),
        .init("G09 last byte missing", .invalidOffsets, G.file(data: 7)),
        .init("G09 second missing", .invalidOffsets, pair(32, data: 32)),
        .init("G09 all data missing", .invalidOffsets, G.file(data: 0)),
        .init("G09 blocks missing", .invalidOffsets, G.file([G.tensor("a", [64], type: 8)], data: 67)),
        .init("G09 2^60 bytes", .invalidOffsets, G.file([G.tensor("a", [1 << 60], type: 24)])),
        .init(
            "G09 a tensor without bytes beyond the end", .invalidOffsets,
            Array(G.file([G.tensor("a", [0])], data: 0).dropLast())),
        .init("G09 bytes after the padding", .trailingBytes, G.file(data: 33)),
        .init("G09 bytes without tensors", .trailingBytes, G.file([], data: 1)),
    ]

    static let names: [Malformed] = [
        .init("G10 twice", .duplicateKey, G.file([G.tensor("a"), G.tensor("a", offset: 32)], data: 64)),
        .init("G10 64 bytes", .nameTooLong, G.file([G.tensor(String(repeating: "n", count: 64))])),
        .init("G10 2^64 - 1 bytes", .nameTooLong, G.file([FileBytes.word(.max) + G.tensor()])),
        .init("G10 no UTF-8", .invalidText, G.file([G.text(raw: [0x80]) + G.tensor().dropFirst(9)])),
        .init("G10 NUL", .invalidText, G.file([G.text(raw: [0x61, 0]) + G.tensor().dropFirst(9)])),
    ]

    @Test("An error in a tensor names it, and where its entry stands") func namesTheTensor() throws {
        let error = try #require(throws: IngotError.self) {
            try GGUFBytes.read(
                G.file([G.tensor("a"), G.tensor("layer.weight", [256], type: 15, offset: 32)], data: 400))
        }
        #expect(error.tensor == TensorName("layer.weight"))
        #expect(error.found.contains("Q8_K"))
        // 24 bytes up to the counts, 33 of entry `a`; 20 of the second's name, 4 and 8 of its dimension.
        let place: UInt64 = 89
        #expect(error.offset == place)
    }

    @Test("Limits hold before anything is allocated") func limits() throws {
        var limits = Limits.standard
        limits.headerBytes = 64
        let long = G.file(entries: [G.entry("k", 8, G.text(String(repeating: "x", count: 100)))])
        #expect(throws: IngotError.self) { try GGUFBytes.read(long, limits: limits) }
        limits = .standard
        limits.tensorsPerFile = 1
        let error = try #require(throws: IngotError.self) {
            try GGUFBytes.read(GGUFRejectionTests.pair(32), limits: limits)
        }
        #expect(error.code == .tooManyTensors)
    }
}
