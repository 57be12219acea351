import Checkpoints
import TensorModel
import TestSupport
import Testing

private typealias P = PickleBytes

/// Each rule of PyTorch's archives and of pickles, broken alone, gets the error of that rule.
@Suite struct PyTorchRejectionTests {
    static func read(_ bytes: [UInt8], limits: Limits = .standard) throws -> ShardHeader {
        let directory = try TemporaryDirectory()
        let shard = try Checkpoint.open(directory.write("x.pt", bytes), limits: limits).shards[0]
        try shard.checkRecords()
        return shard.header
    }

    @Test(arguments: forms + ends + locals + compressed + checksums + names + overlaps)
    func archiveIsRefused(_ malformed: Malformed) throws { try check(malformed) }

    @Test(arguments: opcodes + globals + stacks + containers + storages + views)
    func pickleIsRefused(_ malformed: Malformed) throws { try check(malformed) }

    private func check(_ malformed: Malformed) throws {
        let error = try #require(throws: IngotError.self) { try PyTorchRejectionTests.read(malformed.bytes) }
        #expect(error.code == malformed.code, "\(error)")
        #expect(error.file?.hasSuffix("x.pt") == true)
        #expect(error.offset.map { $0 <= UInt64(malformed.bytes.count) } == true, "\(error)")
        #expect(!error.found.isEmpty && !error.remedy.text.isEmpty)
        #expect(error.code.kind == .badData)
    }

    // MARK: - A file that is right

    static let values: [UInt8] = (0..<24).flatMap { FloatBytes.encode(Float($0), .f32) }
    static let storage = P.storage("0", count: 24)
    static let tensor = P.tensor(storage, [4, 6])

    /// An archive with this body of a pickle, and one storage of 24 weights.
    static func archive(_ body: [UInt8]) -> ZipImage {
        PyTorchImage.archive(P.pickle(body), storages: [("0", values)])
    }

    static let plain = archive(P.dictionary([("a", tensor)]))

    @Test func whatTheCasesDeviateFromIsRight() throws {
        let header = try PyTorchRejectionTests.read(PyTorchRejectionTests.plain.bytes)
        #expect(header.tensors.map(\.name) == [TensorName("a")] && header.warnings.isEmpty)
    }

    // MARK: - Forms

    static let forms: [Malformed] = [
        .init(
            "P01 magic number of the legacy form", .unsupportedSource,
            [0x80, 2, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, 0x2E, 0x80, 2]),
        .init("P01 a bare pickle", .unsupportedSource, P.pickle(P.dictionary([("a", P.int(1))]))),
        .init(
            "P01 tar", .unsupportedSource,
            Array("storages".utf8) + [UInt8](repeating: 0, count: 249) + Array("ustar".utf8)
                + [UInt8](repeating: 0, count: 250)),
        changed("P01 TorchScript, constants", .unsupportedSource) {
            $0.records.append(.init("archive/constants.pkl", P.pickle(P.op(")"))))
        },
        changed("P01 TorchScript, code", .unsupportedSource) {
            $0.records.append(.init("archive/code/__torch__.py", [1]))
        },
        changed("P01 TorchScript, compressed code", .unsupportedSource) {
            $0.records.insert(.init("archive/code/__torch__.py", [1]), at: 1)
            $0.records[1].central.method = 8
        },
        .init("P01 no pickle", .unsupportedSource, ZipImage([.init("a.txt", [1])]).bytes),
        .init("P01 an empty archive", .unsupportedSource, ZipImage([]).bytes),
    ]

    static func changed(_ description: String, _ code: IngotError.Code, _ change: (inout ZipImage) -> Void) -> Malformed
    {
        .init(description, code, plain.with(change).bytes)
    }

    // MARK: - The archive

    static let endRecord = ZipImage([]).bytes

    static let ends: [Malformed] = [
        .init("P02 no end record", .zipInvalid, Array(plain.bytes.dropLast(22))),
        .init("P02 half an end record", .zipInvalid, Array(plain.bytes.dropLast(3))),
        .init("P02 only the beginning", .zipInvalid, Array(plain.bytes.prefix(20))),
        changed("P02 a byte behind", .zipInvalid) { $0.behind = [0] },
        changed("P02 zeros behind", .zipInvalid) { $0.behind = [UInt8](repeating: 0, count: 100) },
        changed("P02 two end records", .zipInvalid) { $0.behind = endRecord },
        changed("P02 an end record in the comment", .zipInvalid) { $0.comment = endRecord },
        changed("P02 its signature in the comment", .zipInvalid) {
            $0.comment = [0x50, 0x4B, 5, 6] + [UInt8](repeating: 1, count: 30)
        },
        changed("P02 bytes before", .zipInvalid) { $0.before = [0x50, 0x4B, 3, 4] + [UInt8](repeating: 1, count: 60) },
        changed("P02 bytes before, offsets not counting them", .zipInvalid) {
            $0.before = [0x50, 0x4B, 3, 4, 1, 1, 1, 1]
            $0.offsetError = 0 &- 8
        },
        changed("P02 an archive before", .zipInvalid) { $0.before = plain.bytes },
        changed("P02 bytes before the directory", .zipInvalid) { $0.gap = [1, 2, 3] },
        changed("P02 bytes behind the directory", .zipInvalid) { $0.behindDirectory = [1, 2, 3] },
        changed("P02 a record more", .zipInvalid) { $0.countError = 1 },
        changed("P02 a record less", .zipInvalid) { $0.countError = 0 &- 1 },
        changed("P02 a directory a byte longer", .zipInvalid) { $0.sizeError = 1 },
        changed("P02 a directory a byte earlier", .zipInvalid) { $0.offsetError = 0 &- 1 },
        changed("P02 a directory beyond the file", .zipInvalid) { $0.offsetError = 1 << 30 },
        changed("P02 part 1 of an archive", .zipInvalid) { $0.part = 1 },
        changed("P02 65,535 records, no zip64", .zipInvalid) { $0.countError = 0xFFFF },
        changed("P02 zip64 locator before the record", .zipInvalid) {
            $0.isWide = true
            $0.locatorError = 0 &- 1
        },
        changed("P02 zip64 locator at 2^64 - 1", .zipInvalid) {
            $0.isWide = true
            $0.locatorError = 0 &- UInt64(plain.bytes.count - 21)
        },
        changed("P02 zip64 locator behind everything", .zipInvalid) {
            $0.isWide = true
            $0.locatorError = 1 << 40
        },
        changed("P02 zip64 and the other disagree", .zipInvalid) {
            $0.isWide = true
            $0.narrowError = 1
        },
        changed("P02 zip64 with an offset of 2^63", .zipInvalid) {
            $0.isWide = true
            $0.offsetError = 1 << 63
        },
        changed("P07 a million records and one", .zipInvalid) {
            $0.isWide = true
            $0.countError = 1_000_001 - 5
        },
        changed("P07 more records than the directory has room for", .zipInvalid) {
            $0.isWide = true
            $0.countError = 500_000
        },
    ]

    static let weights = "archive/data/0"

    static let locals: [Malformed] =
        [
            local("name") { $0.name[8] ^= 1 }, local("name, letter case") { $0.name[8] ^= 0x20 },
            local("shorter name") { $0.name.removeLast() }, local("flags") { $0.flags ^= 0x800 },
            local("method") { $0.method = 8 }, local("size") { $0.size = 95 }, local("stored size") { $0.stored = 97 },
            local("checksum") { $0.checksum = 1 }, local("no descriptor") { $0.flags = 0 },
            local("zip64 field") { $0.extra = [1, 0, 9, 0, 0] },
        ] + [
            changed("P03 directory says another size", .zipInvalid) { $0[weights].central.size -= 1 },
            changed("P03 directory says less bytes", .zipInvalid) {
                $0[weights].central.size -= 1
                $0[weights].central.stored -= 1
            },
            changed("P03 directory says more bytes", .zipInvalid) {
                $0[weights].central.size += 4
                $0[weights].central.stored += 4
            },
            changed("P03 directory says 4 GB", .zipInvalid) {
                $0[weights].central.size = 0xFFFF_FFF0
                $0[weights].central.stored = 0xFFFF_FFF0
            },
            changed("P03 offset of another record", .zipInvalid) { $0[weights].offset = 0 },
            changed("P03 offset inside", .zipInvalid) { $0[weights].offset = 3 },
            changed("P03 offset beyond the file", .zipInvalid) { $0[weights].offset = 0xFFFF_FFF0 },
            changed("P03 descriptor of another checksum", .zipInvalid) { $0[weights].descriptor[4] ^= 1 },
            changed("P03 descriptor of another size", .zipInvalid) { $0[weights].descriptor[8] ^= 1 },
            changed("P03 descriptor without its signature", .zipInvalid) { $0[weights].descriptor[0] = 0 },
            changed("P03 descriptor cut", .zipInvalid) { $0[weights].descriptor.removeLast() },
            changed("P03 no descriptor at all", .zipInvalid) { $0[weights].descriptor = [] },
            changed("P03 zip64 field without its numbers", .zipInvalid) {
                $0[weights].central.size = 0xFFFF_FFFF
                $0[weights].central.extra = [1, 0, 0, 0]
            },
            changed("P03 zip64 size of 2^64 - 1", .zipInvalid) {
                $0[weights].central.size = 0xFFFF_FFFF
                $0[weights].central.stored = 0xFFFF_FFFF
                $0[weights].central.extra = [1, 0, 16, 0] + [UInt8](repeating: 0xFF, count: 16)
            },
            changed("P03 two zip64 fields", .zipInvalid) { $0[weights].central.extra = [1, 0, 0, 0, 1, 0, 0, 0] },
            changed("P03 an extra field that leaves it", .zipInvalid) { $0[weights].central.extra = [7, 0, 9, 0] },
        ]

    static func local(_ what: String, _ change: (inout ZipImage.Header) -> Void) -> Malformed {
        changed("P03 local \(what)", .zipInvalid) { change(&$0[weights].local) }
    }

    static let compressed: [Malformed] =
        ([1, 8, 9, 12, 93] as [UInt64]).map { method in
            changed("P04 method \(method)", .zipInvalid) {
                $0[weights].central.method = method
                $0[weights].local.method = method
            }
        }
        + ([0x1, 0x20, 0x40, 0x2000, 0x2, 0x10] as [UInt64]).map { flag in
            changed("P04 flag \(flag)", .zipInvalid) {
                $0[weights].central.flags |= flag
                $0[weights].local.flags |= flag
            }
        }

    static let checksums: [Malformed] = [
        changed("P05 a bit of the pickle", .checksum) { $0["archive/data.pkl"].data[3] ^= 1 },
        changed("P05 a bit of the byte order", .checksum) { $0["archive/byteorder"].data[3] ^= 1 },
        changed("P05 a bit of a storage", .checksum) { $0[weights].data[50] ^= 1 },
    ]

    static let names: [Malformed] =
        [
            "../x", "archive/../x", "archive/..", "/x", "//x", "archive\\x", "C:/x", "C:", "archive//x", "archive/./x",
            "",
        ]
        .map { name in changed("P06 name `\(name)`", .zipInvalid) { $0.records.append(.init(name, [1])) } }
        + [
            changed("P06 NUL in a name", .zipInvalid) { $0.records.append(.init("archive/x\0y", [1])) },
            changed("P06 a name that is no UTF-8", .invalidText) {
                $0[weights].central.name[2] = 0xFF
                $0.records[2].local.name[2] = 0xFF
            },
            changed("P06 a name twice", .duplicateKey) { $0.records.append($0.records[2]) },
            changed("P06 the pickle twice", .duplicateKey) { $0.records.append($0.records[0]) },
            changed("P06 two pickles", .zipInvalid) { $0.records.append(.init("other/data.pkl", P.pickle(P.op("N")))) },
            changed("P06 a pickle within", .zipInvalid) {
                $0.records.append(.init("archive/x/data.pkl", P.pickle(P.op("N"))))
            },
            changed("P06 a record elsewhere", .zipInvalid) { $0.records.append(.init("other/x", [1])) },
            changed("P06 a name of 2,000 bytes", .nameTooLong) {
                $0.records.append(.init("archive/" + String(repeating: "x", count: 1992), [1]))
            },
        ]

    static let overlaps: [Malformed] = [
        changed("P07 two names for one record", .zipInvalid) {
            var twin = $0.records[2]
            twin.central.name[13] ^= 1
            twin.offset = UInt64($0.with { $0.records.removeLast($0.records.count - 2) }.recordBytes)
            $0.records.append(twin)
        },
        changed("P07 a record that reaches over the next", .zipInvalid) {
            let next = $0.records[3].local.stored + 200
            $0[weights].central.size += next
            $0[weights].central.stored += next
        },
        changed("P07 a record that reaches over the directory", .zipInvalid) {
            let last = $0.records.count - 1
            $0.records[last].central.size += 40
            $0.records[last].central.stored += 40
        },
        changed("P07 a hole between two records", .zipInvalid) { $0[weights].descriptor += [1, 2] },
    ]

    // MARK: - Pickles

    /// A pickle whose dict holds a value that these opcodes make.
    static func value(_ description: String, _ code: IngotError.Code, _ body: [UInt8]) -> Malformed {
        .init(description, code, archive(P.dictionary([("a", tensor), ("b", body)])).bytes)
    }

    static func whole(_ description: String, _ code: IngotError.Code, _ pickle: [UInt8]) -> Malformed {
        .init(description, code, PyTorchImage.archive(pickle, storages: [("0", values)]).bytes)
    }

    static let opcodes: [Malformed] =
        [
            "INST": Array("iposix\nsystem\n".utf8), "OBJ": P.op("o"),
            "STACK_GLOBAL": P.text("os") + P.text("system") + [0x93],
            "EXT1": [0x82, 1], "EXT2": [0x83, 1, 0], "EXT4": [0x84, 1, 0, 0, 0], "NEWOBJ_EX": [0x92], "POP": P.op("0"),
            "POP_MARK": P.op("1"), "DUP": P.op("2"), "INT": Array("I1\n".utf8), "LONG": Array("L1L\n".utf8),
            "FLOAT": Array("F1\n".utf8), "STRING": Array("S'a'\n".utf8), "UNICODE": Array("Va\n".utf8),
            "BINSTRING": P.op("T") + [1, 0, 0, 0, 65], "PERSID": Array("Pa\n".utf8), "GET": Array("g0\n".utf8),
            "PUT": Array("p0\n".utf8), "DICT": P.op("(") + P.op("d"), "LIST": P.op("(") + P.op("l"),
            "LONG4": [0x8B, 1, 0, 0, 0, 1], "ADDITEMS": [0x90], "FROZENSET": [0x91], "BINBYTES8": [0x8E, 0],
            "BYTEARRAY8": [0x96, 0], "NEXT_BUFFER": [0x97], "READONLY_BUFFER": [0x98], "no opcode": [0xFF],
        ].sorted { $0.key < $1.key }.map { value("P08 \($0.key)", .unsupportedOpcode, $0.value) }
        + [
            whole("P08 protocol 5", .unsupportedOpcode, P.pickle(P.dictionary([("a", tensor)]), version: 5)),
            whole("P08 protocol 1", .unsupportedOpcode, P.pickle(P.dictionary([("a", tensor)]), version: 1)),
            whole("P08 no protocol", .pickleInvalid, Array(P.pickle(P.dictionary([("a", tensor)])).dropFirst(2))),
            value("P08 BUILD of a list", .unsupportedOpcode, P.op("]") + P.op("}") + P.op("b")),
            value("P08 BUILD of a tensor", .unsupportedOpcode, tensor + P.op("}") + P.op("b")),
            value("P08 BUILD with a tuple", .unsupportedOpcode, P.op("}") + P.op(")") + P.op("b")),
            value("P08 a frame of 2^64 - 1 bytes", .pickleInvalid, [0x95] + ZipImage.number(.max, 8) + P.op("N")),
            value(
                "P08 a frame in a frame", .pickleInvalid,
                [0x95] + ZipImage.number(10, 8) + [0x95] + ZipImage.number(1, 8)),
            value("P08 an opcode across a frame's end", .pickleInvalid, [0x95] + ZipImage.number(2, 8) + P.int(70_000)),
        ]

    static let globals: [Malformed] =
        [
            ("posix", "system"), ("os", "system"), ("builtins", "eval"), ("__builtin__", "eval"),
            ("builtins", "getattr"),
            ("subprocess", "Popen"), ("torch", "load"), ("torch.nn.modules.linear", "Linear"),
            ("torch", "FloatStorage.x"),
            ("torch.nn.parameter", "Parameter"), ("numpy", "ndarray"), ("", ""), ("collections", "defaultdict"),
            ("torch._utils", "_rebuild_sparse_tensor"), ("torch._tensor", "_rebuild_from_type_v2"),
            ("torch.storage", "_load_from_bytes"), ("COLLECTIONS", "OrderedDict"),
        ].map { value("P09 \($0.0).\($0.1)", .disallowedGlobal, P.global($0.0, $0.1)) }
        + [
            value(
                "P09 a call of system", .disallowedGlobal, P.call(P.global("posix", "system"), [P.text("touch /tmp/x")])
            ),
            value(
                "P09 a new OrderedDict", .disallowedGlobal, P.global("collections", "OrderedDict") + P.op(")") + [0x81]),
            value("P09 a call of a text", .disallowedGlobal, P.call(P.text("os.system"), [])),
            value("P09 a call of a tensor", .disallowedGlobal, P.call(tensor, [])),
            value("P09 a call of a storage class", .disallowedGlobal, P.call(P.global("torch", "FloatStorage"), [])),
            value("P09 a call of a type", .disallowedGlobal, P.call(P.global("torch", "float32"), [])),
            value("P09 arguments that are a list", .pickleInvalid, P.global("torch", "Size") + P.op("]") + P.op("R")),
            value(
                "P09 a builder without arguments", .pickleInvalid,
                P.call(P.global("torch._utils", "_rebuild_tensor_v2"), [])),
            value(
                "P09 OrderedDict of something", .pickleInvalid,
                P.call(P.global("collections", "OrderedDict"), [P.op("N")])),
            value("P09 a name without end", .pickleInvalid, P.op("c") + [UInt8](repeating: 0x61, count: 300)),
            value("P09 a name that is no UTF-8", .invalidText, P.op("c") + [0xFF, 0x0A, 0x61, 0x0A]),
            value("P09 a persistent id that is a text", .pickleInvalid, P.text("storage") + P.op("Q")),
            value(
                "P09 a persistent id of another kind", .pickleInvalid,
                P.tuple([P.text("module"), P.op("N")]) + P.op("Q")),
        ]

    static let stacks: [Malformed] =
        ["a", "s", "R", "b", "Q", "\u{85}", "\u{86}", "\u{87}", "q\u{0}", "\u{81}", "."].map { text in
            let bytes = text.unicodeScalars.map { UInt8($0.value) }
            return whole("P10 nothing for \(bytes)", .pickleInvalid, P.pickle(bytes))
        }
        + ["t", "e", "u"].map { whole("P10 no mark for \($0)", .pickleInvalid, P.pickle(P.op("}") + Array($0.utf8))) }
        + [
            value("P10 takes from below a mark", .pickleInvalid, P.op("N") + P.op("(") + [0x85] + P.op("t")),
            value("P10 a memo entry that is not there", .pickleInvalid, P.op("h") + [7]),
            value("P10 a long memo entry that is not there", .pickleInvalid, P.op("j") + [0xFF, 0xFF, 0xFF, 0xFF]),
            value("P10 memo entry 2^32 - 1", .pickleInvalid, P.op("N") + P.op("r") + [0xFF, 0xFF, 0xFF, 0xFF]),
            value("P10 memo entry 65,536", .pickleInvalid, P.op("N") + P.op("r") + [0, 0, 1, 0]),
            value("P10 a string longer than the rest", .pickleInvalid, P.op("X") + [0xFF, 0xFF, 0xFF, 0xFF]),
            value("P10 a string of 2^63 bytes", .pickleInvalid, [0x8D] + ZipImage.number(1 << 63, 8)),
            value("P10 bytes longer than the rest", .pickleInvalid, P.op("B") + [0xFF, 0xFF, 0xFF, 0x7F]),
            value("P10 a string that is no UTF-8", .invalidText, P.op("X") + [1, 0, 0, 0, 0xFF]),
            value("P10 a string with a surrogate", .invalidText, P.op("X") + [3, 0, 0, 0, 0xED, 0xA0, 0x80]),
            whole("P10 no STOP", .pickleInvalid, Array(P.pickle(P.dictionary([("a", tensor)])).dropLast())),
            whole("P10 nothing", .pickleInvalid, []),
            whole("P10 bytes after STOP", .pickleInvalid, P.pickle(P.dictionary([("a", tensor)])) + [0]),
            whole("P10 two pickles", .pickleInvalid, P.pickle(P.dictionary([("a", tensor)])) + P.pickle(P.op("N"))),
            whole("P10 two values at the end", .pickleInvalid, P.pickle(P.op("N") + P.dictionary([("a", tensor)]))),
            whole("P10 a mark left open", .pickleInvalid, P.pickle(P.dictionary([("a", tensor)]) + P.op("("))),
            whole("P10 a list at the end", .unsupportedSource, P.pickle(P.list([tensor]))),
            whole("P10 a tensor at the end", .unsupportedSource, P.pickle(tensor)),
        ]

    static let containers: [Malformed] = [
        value("P11 an entry for a list", .pickleInvalid, P.op("]") + P.op("N") + P.op("N") + P.op("s")),
        value("P11 an entry for a tuple", .pickleInvalid, P.op(")") + P.op("N") + P.op("N") + P.op("s")),
        value("P11 entries for a tensor", .pickleInvalid, tensor + P.op("(") + P.op("u")),
        value("P11 an item for a dict", .pickleInvalid, P.op("}") + P.op("N") + P.op("a")),
        value("P11 items for None", .pickleInvalid, P.op("N") + P.op("(") + P.op("e")),
        value("P11 a key without a value", .pickleInvalid, P.op("}") + P.op("(") + P.op("N") + P.op("u")),
        whole(
            "P11 a dictionary that contains itself", .pickleInvalid,
            P.pickle(
                P.op("}") + P.op("q") + [0] + P.text("a") + tensor + P.op("s") + P.text("b") + P.op("h") + [0]
                    + P.op("s"))),
        whole(
            "P11 a dictionary that contains itself, three deep", .pickleInvalid,
            P.pickle(
                P.op("}") + P.op("q") + [0] + P.text("a") + P.op("}") + P.text("b") + P.op("}") + P.text("c")
                    + P.op("h") + [0]
                    + P.op("s") + P.op("s") + P.op("s"))),
        value("P11 257 marks", .nestingTooDeep, [UInt8](repeating: UInt8(ascii: "("), count: 257)),
        value("P11 100,000 marks", .nestingTooDeep, [UInt8](repeating: UInt8(ascii: "("), count: 100_000)),
        value("P11 100,000 tuples", .nestingTooDeep, P.op("N") + [UInt8](repeating: 0x85, count: 100_000)),
        whole(
            "P11 300 dicts", .nestingTooDeep,
            P.pickle(
                (0..<300).flatMap { _ in P.op("}") + P.text("d") } + tensor
                    + [UInt8](repeating: UInt8(ascii: "s"), count: 300))),
        whole(
            "P11 dicts that double, of numbers", .pickleInvalid, P.pickle(doubling(P.dictionary([("a", P.int(1))]), 40))
        ),
        whole(
            "P11 dicts that double, of tensors", .tooManyTensors, P.pickle(doubling(P.dictionary([("a", tensor)]), 40))),
        whole("P11 a key twice", .duplicateKey, P.pickle(P.dictionary([("a", tensor), ("a", tensor)]))),
        whole(
            "P11 a name twice, nested", .duplicateKey,
            P.pickle(P.dictionary([("a.b", tensor), ("a", P.dictionary([("b", tensor)]))]))),
        whole(
            "P11 a name of 1,025 bytes", .nameTooLong,
            P.pickle(P.dictionary([(String(repeating: "n", count: 1025), tensor)]))),
        whole("P11 NUL in a name", .invalidText, P.pickle(P.dictionary([("a\0", tensor)]))),
    ]

    /// A dict that holds the one before it twice, and so on.
    static func doubling(_ first: [UInt8], _ count: Int) -> [UInt8] {
        var body = first
        for index in 0..<count {
            let memo = UInt8(index)
            body =
                P.op("}") + P.text("x") + body + P.op("q") + [memo] + P.op("s") + P.text("y") + P.op("h") + [memo]
                + P.op("s")
        }
        return body
    }

    static func replaced(
        _ description: String, _ code: IngotError.Code, byteOrder: String? = "little", version: String? = "3\n"
    ) -> Malformed {
        let pickle = P.pickle(P.dictionary([("a", tensor)]))
        return .init(
            description, code,
            PyTorchImage.archive(pickle, storages: [("0", values)], byteOrder: byteOrder, version: version).bytes)
    }

    static func tensor(_ description: String, _ code: IngotError.Code, _ body: [UInt8]) -> Malformed {
        whole(description, code, P.pickle(P.dictionary([("w", body)])))
    }

    static let storages: [Malformed] = [
        replaced("P12 big-endian", .unsupportedSource, byteOrder: "big"),
        replaced("P12 a byte order that is none", .unsupportedSource, byteOrder: "middle"),
        replaced("P12 no version", .unsupportedSource, version: nil),
        replaced("P12 version 11", .unsupportedSource, version: "11\n"),
        replaced("P12 version x", .unsupportedSource, version: "x"),
        tensor("P12 no record", .missingField, P.tensor(P.storage("1", count: 24), [24])),
        tensor("P12 a key that leads elsewhere", .missingField, P.tensor(P.storage("../data.pkl", count: 1), [1])),
        tensor("P12 an element more than the record", .invalidOffsets, P.tensor(P.storage("0", count: 25), [24])),
        tensor("P12 an element less", .invalidOffsets, P.tensor(P.storage("0", count: 23), [23])),
        tensor("P12 2^62 elements", .invalidOffsets, P.tensor(P.storage("0", count: 1 << 62), [1])),
        tensor("P12 -1 elements", .invalidShape, P.tensor(P.storage("0", count: -1), [1])),
        tensor(
            "P12 another type's size", .invalidOffsets, P.tensor(P.storage("0", type: "HalfStorage", count: 24), [24])),
        tensor(
            "P12 complex numbers of 128 bits", .unknownElementType,
            P.tensor(P.storage("0", type: "ComplexDoubleStorage", count: 6), [6])),
        tensor("P12 quantized", .unknownElementType, P.tensor(P.storage("0", type: "QInt8Storage", count: 96), [96])),
        tensor(
            "P12 bytes without a type", .unknownElementType,
            P.tensor(P.storage("0", type: "UntypedStorage", count: 96), [96])),
        tensor(
            "P12 a type of half a byte", .unknownElementType,
            P.tensor(P.storage("0", type: "UntypedStorage", count: 96), [96], type: "float4_e2m1fn_x2")),
        tensor(
            "P12 a function for a class", .unknownElementType,
            P.tuple([P.text("storage"), P.global("torch", "Size"), P.text("0"), P.text("cpu"), P.int(24)]) + P.op("Q")),
    ]

    static let views: [Malformed] = [
        tensor("P13 offset -1", .invalidShape, P.tensor(storage, offset: -1, [24])),
        tensor("P13 size -1", .invalidShape, P.tensor(storage, [-1])),
        tensor("P13 stride -1", .invalidShape, P.tensor(storage, offset: 23, [24], strides: [-1])),
        tensor(
            "P13 size that is a float", .invalidShape,
            P.call(
                P.global("torch._utils", "_rebuild_tensor"),
                [storage, P.int(0), P.tuple([P.op("G") + [UInt8](repeating: 0, count: 8)]), P.tuple([P.int(1)])])),
        tensor("P13 an element past the end", .invalidOffsets, P.tensor(storage, [25])),
        tensor("P13 an offset past the end", .invalidOffsets, P.tensor(storage, offset: 24, [1])),
        tensor("P13 offset 2^63 - 1", .invalidOffsets, P.tensor(storage, offset: .max, [1])),
        tensor("P13 offset and size past the end", .invalidOffsets, P.tensor(storage, offset: 1, [4, 6])),
        tensor("P13 a stride past the end", .invalidOffsets, P.tensor(storage, [4, 6], strides: [7, 1])),
        tensor("P13 stride 2^62", .invalidOffsets, P.tensor(storage, [5], strides: [1 << 62])),
        tensor("P13 strides that wrap around", .invalidOffsets, P.tensor(storage, [2, 2], strides: [.max, .max])),
        tensor("P13 2^64 elements", .invalidShape, P.tensor(storage, [1 << 32, 1 << 32], strides: [0, 0])),
        tensor("P13 2^62 elements from one", .invalidShape, P.tensor(storage, [1 << 31, 1 << 31], strides: [0, 0])),
        tensor("P13 10^9 elements from one", .invalidShape, P.tensor(storage, [1_000_000_000], strides: [0])),
        tensor("P13 sizes without strides", .invalidShape, P.tensor(storage, [4, 6], strides: [1])),
        tensor("P13 rank 65", .invalidShape, P.tensor(storage, [Int64](repeating: 1, count: 65))),
        tensor("P13 a tensor of a number", .pickleInvalid, P.tensor(P.int(3), [1])),
        tensor("P13 negated", .unsupportedSource, P.tensor(storage, [24], more: [P.dictionary([("neg", [0x88])])])),
        tensor(
            "P13 a parameter of a number", .pickleInvalid,
            P.call(P.global("torch._utils", "_rebuild_parameter"), [P.int(3), [0x88], P.op("N")])),
    ]

    @Test("P11 17 million values") func tooManyValues() throws {
        let nothing = [UInt8](repeating: UInt8(ascii: "N"), count: 17_000_000)
        try check(
            PyTorchRejectionTests.whole(
                "P11 17 million values", .pickleInvalid, P.pickle(P.op("]") + P.op("(") + nothing + P.op("e"))))
    }

    // MARK: - Damage anywhere

    @Test("A file that is cut anywhere is an error, and no trap") func everyPrefix() throws {
        let bytes = PyTorchRejectionTests.plain.bytes
        for count in 0..<bytes.count {
            #expect(throws: IngotError.self, "\(count)") { try PyTorchRejectionTests.read(Array(bytes.prefix(count))) }
        }
        Tally.print(bytes.count, "P02 truncations of a PyTorch archive")
    }

    @Test("A pickle that is cut anywhere is an error, all checksums right") func everyPicklePrefix() throws {
        let pickle = P.pickle(P.dictionary([("a", PyTorchRejectionTests.tensor)]))
        for count in 0..<pickle.count {
            let image = PyTorchImage.archive(
                Array(pickle.prefix(count)), storages: [("0", PyTorchRejectionTests.values)])
            #expect(throws: IngotError.self, "\(count)") { try PyTorchRejectionTests.read(image.bytes) }
        }
        Tally.print(pickle.count, "P10 truncations of a pickle, all checksums right")
    }

    @Test("Any byte of a pickle may be any other: an error or not, never a trap") func everyPickleByte() throws {
        let pickle = P.pickle(P.dictionary([("a", PyTorchRejectionTests.tensor), ("n", P.int(3))]))
        var generator = SeededGenerator(seed: 6)
        let places = Share.of(pickle.indices)
        for index in places {
            for _ in 0..<24 {
                var changed = pickle
                changed[index] = UInt8.random(in: .min ... .max, using: &generator)
                let image = PyTorchImage.archive(changed, storages: [("0", PyTorchRejectionTests.values)])
                do {
                    _ = try PyTorchRejectionTests.read(image.bytes)
                } catch is IngotError {}
            }
        }
        Tally.print(places.count * 24, of: pickle.count * 24, "P08 changed bytes of a pickle, all checksums right")
    }

    @Test("A flipped bit of an archive is found, or says nothing of the tensors") func everyBit() throws {
        let bytes = PyTorchRejectionTests.plain.bytes
        let whole = try PyTorchRejectionTests.read(bytes)
        var unseen = 0
        let places = Share.of(bytes.indices)
        for index in places {
            for bit in 0..<8 {
                var changed = bytes
                changed[index] ^= 1 << bit
                do {
                    let header = try PyTorchRejectionTests.read(changed)
                    #expect(header.tensors == whole.tensors, "byte \(index), bit \(bit)")
                    unseen += 1
                } catch is IngotError {}
            }
        }
        // Times, versions and attributes of records mean nothing: 24 bytes of each, and a few of the end record.
        #expect(unseen < 5 * 24 * 8 + 100, "\(unseen)")
        Tally.print(places.count * 8, of: bytes.count * 8, "P02 flipped bits of a PyTorch archive")
    }
}

extension ZipImage {
    /// Bytes of the records, without directory.
    fileprivate var recordBytes: Int {
        records.reduce(0) { $0 + 30 + $1.local.name.count + $1.local.extra.count + $1.data.count + $1.descriptor.count }
    }
}
