import FileAccess
import TensorModel
import TestSupport

/// Valid files of PyTorch, llama.cpp and NumPy.
enum CheckpointSeeds {
    private typealias P = PickleBytes

    // MARK: - PyTorch

    private static let small: [SampleTensor] = [
        SampleTensor("a.weight", .f32, [3, 5]), SampleTensor("b", .bf16, [7]), SampleTensor("c", .f16, [2, 2, 2]),
        SampleTensor("n", raw: .i64, [2]), SampleTensor("e", raw: .u8, [0, 4]),
    ]

    /// Views of storages: transposed, expanded, every other element, of one element, tied; and other objects beside them.
    private static let views: [(String, [UInt8])] = [
        ("plain", P.tensor(storage, [4, 6])), ("tied", P.tensor(storage, [4, 6])),
        ("turned", P.tensor(storage, [6, 4], strides: [1, 6])),
        ("expanded", P.tensor(storage, offset: 3, [5, 3], strides: [0, 1])),
        ("every other", P.tensor(storage, offset: 1, [2, 3], strides: [12, 2])),
        ("cube", P.tensor(storage, [2, 3, 4], strides: [4, 8, 1])), ("scalar", P.tensor(storage, offset: 23, [])),
        ("bytes", P.tensor(P.storage("1", type: "UntypedStorage", count: 64), [8], type: "int64")),
        (
            "parameter",
            P.call(
                P.global("torch._utils", "_rebuild_parameter"),
                [P.tensor(storage, [24]), [0x88], P.call(P.global("collections", "OrderedDict"), [])])
        ),
        ("nested", P.dictionary([("x", P.tensor(storage, offset: 4, [4])), ("list", P.list([P.int(70_000)]))])),
    ]
    private static let storage = P.storage("0", count: 24)

    static let pickles: [[UInt8]] = [
        P.pickle(P.dictionary(views)), P.pickle(P.dictionary([("state_dict", P.dictionary(Array(views.prefix(3))))])),
        P.pickle(P.dictionary([("epoch", P.int(-3)), ("lr", [0x47, 0x3F, 0xF0, 0, 0, 0, 0, 0, 0])]), version: 4),
        framed(
            P.op("}") + [0x94, 0x8C, 1, 0x61, 0x94, 0x68, 1, 0x68, 1] + P.op("s") + P.op("N") + P.op("s") + P.op(".")),
        P.pickle(
            P.call(P.global("collections", "OrderedDict"), []) + [0x71, 0] + P.op("(") + P.text("a") + P.int(1)
                + P.op("u") + P.dictionary([("_metadata", P.op("N"))]) + P.op("b")),
        P.pickle(P.tuple([P.op("N"), [0x88], P.op("]"), [0x8A, 3, 1, 2, 0xFF], [0x43, 2, 9, 9], [0x29], [0x8F]])),
    ]

    private static func framed(_ body: [UInt8]) -> [UInt8] {
        [0x80, 4, 0x95] + ZipImage.number(UInt64(body.count), 8) + body
    }

    static let pytorch: [[UInt8]] = {
        let values = [UInt8](repeating: 0x3C, count: 96)
        let image = PyTorchImage.archive(
            P.pickle(P.dictionary(views)), storages: [("0", values), ("1", Array(values.prefix(64)))])
        let sizes: [UInt8] = [96, 0, 64, 0, 0, 0, 0, 1]
        return [image.bytes, PyTorchImage.stateDictionary(small).bytes, unchecked(image).bytes]
            + pickles.map { sizes + $0 }
    }()

    /// The archive without checksums, so that changed data is not refused because of its checksum.
    private static func unchecked(_ image: ZipImage) -> ZipImage {
        image.with { image in
            for index in image.records.indices {
                image.records[index].central.checksum = 0
                image.records[index].useDescriptor()
            }
        }
    }

    // MARK: - Archives

    static let archives: [[UInt8]] = {
        let records = [
            ZipImage.Record("x/data.pkl", Array("abc".utf8)), ZipImage.Record("x/data/0", []),
            ZipImage.Record("x/version", Array("3\n".utf8)),
        ]
        let plain = ZipImage(records)
        return [
            plain.bytes, ZipImage([]).bytes,
            plain.with { image in for index in 0..<3 { image.records[index].useDescriptor() } }.bytes,
            plain.with { image in
                image.records[0].useDescriptor(isSigned: false)
                image.records[1].useDescriptor(isWide: true)
                image.records[2].local.extra = Array("FB".utf8) + [4, 0, 0x5A, 0x5A, 0x5A, 0x5A]
            }.bytes,
            plain.with { $0.comment = Array("saved on Monday".utf8) }.bytes, unchecked(plain).bytes, wide(plain).bytes,
        ]
    }()

    /// The archive with zip64 fields and a zip64 end record.
    private static func wide(_ image: ZipImage) -> ZipImage {
        image.with { image in
            image.isWide = true
            for index in image.records.indices {
                let size = image.records[index].local.size
                let field = [1, 0, 16, 0] + ZipImage.number(size, 8) + ZipImage.number(size, 8)
                func widen(_ header: inout ZipImage.Header) {
                    header.extra = field
                    (header.size, header.stored) = (0xFFFF_FFFF, 0xFFFF_FFFF)
                }
                widen(&image.records[index].local)
                widen(&image.records[index].central)
            }
        }
    }

    // MARK: - GGUF

    static func gguf() throws -> [[UInt8]] {
        let directory = try TemporaryDirectory()
        let path = directory.at("x.gguf")
        // Number of the type, elements per block, bytes per block.
        let kinds: [(UInt32, Int, Int)] = [
            (2, 32, 18), (3, 32, 20), (6, 32, 22), (7, 32, 24), (8, 32, 34), (10, 256, 84), (11, 256, 110),
            (12, 256, 144), (13, 256, 176), (14, 256, 210), (20, 32, 18), (23, 256, 136), (39, 32, 17),
        ]
        var generator = SeededGenerator(5)
        let blocks = kinds.map { type, elements, bytes in
            GGUFSample.Tensor(
                "t\(type)", type: type, [2, elements],
                bytes: (0..<2 * bytes).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
        }
        let word = { (value: UInt64, count: Int) in ZipImage.number(value, count) }
        let text = { (text: String) in word(UInt64(text.utf8.count), 8) + Array(text.utf8) }
        let metadata: [(String, UInt32, [UInt8])] = [
            ("general.architecture", 8, text("llama")), ("general.alignment", 4, word(32, 4)),
            ("llama.block_count", 4, word(2, 4)), ("llama.rope.freq_base", 6, word(0x461C_4000, 4)),
            ("tokenizer.ggml.tokens", 9, word(8, 4) + word(2, 8) + text("a") + text("b")),
            ("tokenizer.ggml.scores", 9, word(6, 4) + word(9, 8) + [UInt8](repeating: 0x3F, count: 36)),
            ("flags", 9, word(7, 4) + word(2, 8) + [1, 0]), ("double", 12, word(0x3FF0_0000_0000_0000, 8)),
        ]
        var seeds: [[UInt8]] = []
        func add(_ tensors: [GGUFSample.Tensor], _ metadata: [(String, UInt32, [UInt8])]) throws {
            try GGUFSample.write(tensors, metadata: metadata, to: path)
            seeds.append(try Files.read(path))
        }
        let plain = [
            SampleTensor("a", .f32, [3, 5]), SampleTensor("b", .bf16, [7]), SampleTensor("n", raw: .i64, [2]),
        ]
        try add(plain.map { GGUFSample.Tensor($0) }, metadata)
        try add(blocks, [])
        for block in blocks { try add([block], []) }
        try add([], GGUFSample.split(0, of: 1, tensors: 0))
        return seeds
    }

    // MARK: - NumPy

    static let numpy: [[UInt8]] = {
        let arrays = [
            array("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", data: 24),
            array("{'descr': '|u1', 'fortran_order': False, 'shape': (), }", version: 2, data: 1),
            array("{'shape':(6,),'fortran_order':True,'descr':\"<i8\"}", version: 3, data: 48),
        ]
        let records = arrays.enumerated().map { ZipImage.Record("array\($0).npy", $1) }
        return arrays + [ZipImage(records).bytes, unchecked(ZipImage(records)).bytes]
    }()

    private static func array(_ header: String, version: UInt8 = 1, data: Int) -> [UInt8] {
        let width = version == 1 ? 2 : 4
        let padding = (64 - (8 + width + header.utf8.count + 1) % 64) % 64
        let length = UInt64(header.utf8.count + padding + 1)
        return [0x93] + Array("NUMPY".utf8) + [version, 0] + ZipImage.number(length, width) + Array(header.utf8)
            + [UInt8](repeating: 0x20, count: padding) + [0x0A] + (0..<data).map { UInt8(truncatingIfNeeded: $0) }
    }
}
