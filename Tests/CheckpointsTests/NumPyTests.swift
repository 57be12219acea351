import Checkpoints
import FileAccess
import TensorModel
import TestSupport
import Testing

/// Headers of `.npy` files: what NumPy writes, and what must not pass.
@Suite struct NumPyTests {
    /// A file; its header is filled with spaces as NumPy does it.
    static func file(_ header: String, version: UInt8 = 1, data: Int = 24) -> [UInt8] {
        let width = version == 1 ? 2 : 4
        let text = Array(header.utf8)
        let padding = (64 - (8 + width + text.count + 1) % 64) % 64
        let length = text.count + padding + 1
        return [0x93] + Array("NUMPY".utf8) + [version, 0] + FileBytes.word(UInt64(length)).prefix(width) + text
            + [UInt8](repeating: 0x20, count: padding) + [0x0A] + (0..<data).map { UInt8(truncatingIfNeeded: $0) }
    }

    /// A header with parts that need not be right.
    static func header(
        _ descr: String = "'<f4'", order: String = "False", shape: String = "(2, 3)", extra: String = ", "
    ) -> String { "{'descr': \(descr), 'fortran_order': \(order), 'shape': \(shape)\(extra)}" }

    static func read(_ bytes: [UInt8], name: String = "x.npy") throws -> ShardHeader {
        let directory = try TemporaryDirectory()
        return try NumPyFile.readHeader(try MappedFile.open(try directory.write(name, bytes)))
    }

    @Test(arguments: [1, 2, 3] as [UInt8]) func versions(_ version: UInt8) throws {
        let header = try NumPyTests.read(
            NumPyTests.file(NumPyTests.header(), version: version), name: "model.weight.npy")
        let tensor = try #require(header.tensors.first)
        #expect(header.format == .numpy && header.tensors.count == 1)
        #expect(tensor.name == TensorName("model.weight") && tensor.elementType == .f32)
        #expect(tensor.shape.dimensions == [2, 3] && tensor.range.start == header.dataStart)
        #expect(header.dataStart % 64 == 0 && tensor.range.count == 24)
    }

    @Test func elementTypes() throws {
        let all: [(String, ElementType, Int)] = [
            ("'<f2'", .f16, 2), ("'<f4'", .f32, 4), ("'<f8'", .f64, 8), ("'|i1'", .i8, 1), ("'|u1'", .u8, 1),
            ("'<i2'", .i16, 2), ("'<u2'", .u16, 2), ("'<i4'", .i32, 4), ("'<u4'", .u32, 4), ("'<i8'", .i64, 8),
            ("'<u8'", .u64, 8), ("'|b1'", .bool, 1), ("\"<f4\"", .f32, 4), ("'<c8'", .c64, 8),
        ]
        for (text, type, width) in all {
            let tensor = try NumPyTests.read(
                NumPyTests.file(NumPyTests.header(text), data: 6 * width)
            ).tensors[0]
            #expect(tensor.elementType == type)
        }
    }

    @Test func shapes() throws {
        let all: [(String, [Int])] = [
            ("()", []), ("(6,)", [6]), ("(6, 1)", [6, 1]), ("(1,2,3,)", [1, 2, 3]), ("(0, 3)", [0, 3]),
            ("( 6 , )", [6]),
        ]
        for (text, dimensions) in all {
            let bytes = 4 * dimensions.reduce(1, *)
            let tensor = try NumPyTests.read(NumPyTests.file(NumPyTests.header(shape: text), data: bytes)).tensors[0]
            #expect(tensor.shape.dimensions == dimensions)
        }
    }

    @Test("Keys in any order, no trailing comma, Fortran order where it is the same") func variants() throws {
        let texts = [
            "{'shape':(6,),'fortran_order':True,'descr':'<f4'}", NumPyTests.header(shape: "(2, 3)", extra: ""),
            NumPyTests.header(order: "True", shape: "(1, 6)"),
            "\n{ 'descr' : '<f4' , \"fortran_order\": False, 'shape': (6,)}\t",
        ]
        for text in texts { #expect(try NumPyTests.read(NumPyTests.file(text)).tensors[0].elementType == .f32) }
    }

    @Test(arguments: framing + types + dictionaries + dimensions)
    func isRefused(_ malformed: Malformed) throws {
        let error = try #require(throws: IngotError.self) { try NumPyTests.read(malformed.bytes) }
        #expect(error.code == malformed.code)
        #expect(error.file?.hasSuffix("x.npy") == true)
        #expect(!error.found.isEmpty && !error.remedy.text.isEmpty && error.code.kind == .badData)
    }

    static let whole = file(header())

    static func changed(_ index: Int, _ byte: UInt8) -> [UInt8] {
        var bytes = whole
        bytes[index] = byte
        return bytes
    }

    static let framing: [Malformed] = [
        .init("N01 empty", .headerTooSmall, []),
        .init("N01 nine bytes", .headerTooSmall, Array(whole.prefix(9))),
        .init("N01 eleven bytes of version 2", .headerTooSmall, Array(file(header(), version: 2).prefix(11))),
        .init("N01 another magic", .headerSyntax, changed(0, 0x92)),
        .init("N01 NumPy in lower case", .headerSyntax, changed(5, 0x79)),
        .init("N01 version 0", .unsupportedSource, changed(6, 0)),
        .init("N01 version 4", .unsupportedSource, changed(6, 4)),
        .init("N01 version 1.1", .unsupportedSource, changed(7, 1)),
        .init("N01 header beyond the end", .headerLength, changed(9, 0x40)),
        .init("N01 header of 65,537 bytes", .headerTooLarge, file(String(repeating: " ", count: 65_530), version: 2)),
        .init(
            "N01 header of 2^32 - 1 bytes", .headerTooLarge,
            Array(file(header(), version: 2).prefix(8)) + [0xFF, 0xFF, 0xFF, 0xFF, 0x7B]),
        .init("N01 a byte missing", .invalidOffsets, file(header(), data: 23)),
        .init("N01 no data", .invalidOffsets, file(header(), data: 0)),
        .init("N01 a byte too many", .trailingBytes, file(header(), data: 25)),
    ]

    static let types: [Malformed] = [
        "'>f4'", "'>i2'", "'|O'", "'O'", "'<V2'", "'|V2'", "'<U5'", "'|S3'", "'<M8[ns]'", "'<f16'", "'<c16'", "'=f4'",
        "'f4'", "'|f4'", "'<F4'", "''", "'<'", "[('a', '<f4')]", "('<f4', (2,))", "None",
    ].map { .init("N02 descr \($0)", .unsupportedSource, file(header($0))) }

    static let dictionaries: [Malformed] = [
        .init("N03 no dictionary", .headerSyntax, file("[]")),
        .init("N03 nothing", .headerSyntax, file("")),
        .init("N03 two dictionaries", .trailingBytes, file(header() + "{}")),
        .init("N03 not closed", .headerSyntax, file(String(header().dropLast(3)))),
        .init("N03 call", .headerSyntax, file("{'descr': '<f4', 'fortran_order': bool(1), 'shape': (2, 3)}")),
        .init("N03 sum", .headerSyntax, file(header(shape: "(1+1, 3)"))),
        .init("N03 order as number", .headerSyntax, file(header(order: "0"))),
        .init("N03 order in lower case", .headerSyntax, file(header(order: "false"))),
        .init("N03 no descr", .missingField, file("{'fortran_order': False, 'shape': (2, 3)}")),
        .init("N03 no order", .missingField, file("{'descr': '<f4', 'shape': (2, 3)}")),
        .init("N03 no shape", .missingField, file("{'descr': '<f4', 'fortran_order': False}")),
        .init("N03 empty dictionary", .missingField, file("{}")),
        .init("N03 a fourth key", .headerSyntax, file(header(extra: ", 'x': 1"))),
        .init("N03 descr twice", .duplicateKey, file(header(extra: ", 'descr': '<f4'"))),
        .init("N03 shape twice", .duplicateKey, file(header(extra: ", 'shape': (2, 3)"))),
        .init("N03 key without marks", .headerSyntax, file("{descr: '<f4'}")),
        .init("N03 escape", .headerSyntax, file("{'d\\x65scr': '<f4', 'fortran_order': False, 'shape': (2, 3)}")),
        .init("N03 text without end", .headerSyntax, file("{'descr")),
        .init("N03 comment", .trailingBytes, file(header() + " # x")),
        .init("N03 Fortran order", .unsupportedSource, file(header(order: "True"))),
        .init(
            "N03 Fortran order, three dimensions", .unsupportedSource, file(header(order: "True", shape: "(1, 2, 3)"))),
    ]

    static let dimensions: [Malformed] =
        [
            "(-1,)", "(02, 3)", "('2', 3)", "((2, 3),)", "(,)",
            "(9223372036854775808,)",
            "(99999999999999999999999999,)", "(4294967296, 4294967296)", "(0, 4294967296, 4294967296)",
            "(2305843009213693952, 2)", "(" + String(repeating: "1,", count: 65) + ")", "(None,)", "(2, 3", "(True, 3)",
            "(+2, 3)",
        ].map { .init("N04 shape \($0.prefix(40))", .invalidShape, file(header(shape: $0))) }
        + ["(6)", "6", "[2, 3]", "(2 3)", "(2.0, 3)", "(0x2, 3)", "(2L, 3L)"].map {
            .init("N04 shape \($0)", .headerSyntax, file(header(shape: $0)))
        }

    @Test("100,000 opening brackets are no matter of depth") func nesting() throws {
        let text = "{'shape': " + String(repeating: "(", count: 60_000)
        let error = try #require(throws: IngotError.self) { try NumPyTests.read(NumPyTests.file(text, version: 2)) }
        #expect(error.code == .invalidShape)
    }

    @Test("A path to one is a checkpoint of one tensor") func opens() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("lm_head.weight.npy", NumPyTests.whole)
        let checkpoint = try Checkpoint.open(path)
        #expect(checkpoint.tensor(named: TensorName("lm_head.weight"))?.tensor.shape.dimensions == [2, 3])
    }

    // MARK: - Archives

    /// What `numpy.savez` writes of arrays.
    static let archive = ZipImage([.init("a.weight.npy", file(header())), .init("b.npy", file(header()))])

    @Test("N05 an archive is read as its arrays") func archiveOfArrays() throws {
        let directory = try TemporaryDirectory()
        let checkpoint = try Checkpoint.open(try directory.write("m.npz", NumPyTests.archive.bytes))
        let shard = checkpoint.shards[0]
        #expect(shard.header.format == .numpy && shard.header.tensors.map(\.name.text) == ["a.weight", "b"])
        try shard.checkRecords()
        for tensor in shard.header.tensors {
            #expect(try shard.file.bytes(tensor.range) == (0..<24).map { UInt8($0) })
        }
    }

    @Test("N05 names are cut by bytes: a character may reach across the dot") func prependedMark() throws {
        let directory = try TemporaryDirectory()
        let records = ["ab\u{600}.npy", "ab.npy", "\u{600}.npy"].map { ZipImage.Record($0, NumPyTests.whole) }
        let checkpoint = try Checkpoint.open(try directory.write("m.npz", ZipImage(records).bytes))
        #expect(checkpoint.shards[0].header.tensors.map(\.name.text) == ["ab\u{600}", "ab", "\u{600}"])
    }

    static let archives: [Malformed] = [
        broken("another file in it", .unsupportedSource) { $0.records.append(.init("x.txt", [1])) },
        broken("an array twice", .duplicateKey) { $0.records.append($0.records[1]) },
        broken("an array that does not fill its record", .trailingBytes) {
            $0.records[1] = .init("b.npy", file(header(), data: 25))
        },
        broken("an array that ends behind its record", .invalidOffsets) {
            $0.records[0] = .init("a.weight.npy", file(header(), data: 23))
        },
        broken("a header that ends behind its record", .headerLength) {
            $0.records[0] = .init("a.weight.npy", Array(whole.prefix(40)))
        },
        broken("an empty record", .headerTooSmall) { $0.records[1] = .init("b.npy", []) },
        broken("compressed", .zipInvalid) {
            $0.records[1].local.method = 8
            $0.records[1].central.method = 8
        },
        broken("a name that leads out", .zipInvalid) { $0.records.append(.init("../c.npy", whole)) },
        broken("a name of 1,100 bytes", .nameTooLong) {
            $0.records.append(.init(String(repeating: "n", count: 1100) + ".npy", whole))
        },
        broken("a bit of an array", .checksum) { $0.records[0].data[140] ^= 1 },
        broken("a bit of the header of an empty array", .checksum) {
            $0.records[1] = .init("b.npy", file(header(shape: "(0, 5)"), data: 0))
            let place = $0.records[1].data.firstIndex(of: UInt8(ascii: "5")) ?? 0
            $0.records[1].data[place] = UInt8(ascii: "7")
        },
    ]

    static func broken(
        _ description: String, _ code: IngotError.Code, _ change: (inout ZipImage) -> Void
    ) -> Malformed { .init("N05 \(description)", code, archive.with(change).bytes) }

    @Test(arguments: archives) func archiveIsRefused(_ malformed: Malformed) throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("m.npz", malformed.bytes)
        let error = try #require(throws: IngotError.self) { try Checkpoint.open(path).shards[0].checkRecords() }
        #expect(error.code == malformed.code, "\(error)")
        #expect(error.file?.hasSuffix("m.npz") == true && error.code.kind == .badData)
    }
}
