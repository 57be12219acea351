import Checkpoints
import FileAccess
import TensorModel
import TestSupport
import Testing

private typealias P = PickleBytes

/// PyTorch's archives that are right, among them those that look odd.
@Suite struct PyTorchArchiveTests {
    /// A file, what it holds, and its tensors' bytes.
    struct Opened {
        let directory: TemporaryDirectory
        let file: MappedFile
        let header: ShardHeader

        init(_ bytes: [UInt8], key: String? = nil) throws {
            directory = try TemporaryDirectory()
            file = try MappedFile.open(directory.write("x.pt", bytes))
            if let key {
                header = try PyTorchArchive.readHeader(file, key: key)
            } else {
                header = try ShardHeader.read(file)
            }
            try Checkpoint.open(file.path, key: key).shards[0].checkRecords()
        }

        func bytes(_ name: String) throws -> [UInt8] {
            try #require(header.tensors.first { $0.name == TensorName(name) }).bytes(in: file).all()
        }
    }

    static let values: [UInt8] = PyTorchRejectionTests.values
    static let storage = PyTorchRejectionTests.storage
    static let tensor = PyTorchRejectionTests.tensor

    static func open(_ pairs: [(String, [UInt8])], key: String? = nil) throws -> Opened {
        try Opened(PyTorchRejectionTests.archive(P.dictionary(pairs)).bytes, key: key)
    }

    // MARK: - Forms of the archive

    @Test func typesAndBytes() throws {
        let types: [ElementType] = [.f32, .f16, .bf16, .f64, .i64, .i32, .i16, .i8, .u8, .bool]
        let tensors =
            types.map { SampleTensor($0.rawValue, raw: $0, [3, 5]) } + [SampleTensor("empty", raw: .f32, [0, 4])]
        let opened = try Opened(PyTorchImage.stateDictionary(tensors).bytes)
        #expect(opened.header.format == .pytorch && opened.header.warnings.isEmpty)
        #expect(opened.header.tensors.map(\.name.text) == tensors.map(\.name))
        for tensor in tensors {
            let stored = try #require(opened.header.tensors.first { $0.name.text == tensor.name })
            #expect(stored.elementType == tensor.type && stored.shape.dimensions == tensor.shape)
            #expect(try opened.bytes(tensor.name) == tensor.bytes)
        }
    }

    @Test(
        "Types without a storage class",
        arguments: [
            ("uint16", ElementType.u16, 48), ("uint32", .u32, 24), ("uint64", .u64, 12), ("float8_e4m3fn", .f8e4m3, 96),
            ("float8_e5m2", .f8e5m2, 96), ("complex64", .c64, 12), ("float32", .f32, 24),
        ])
    func untyped(_ name: String, _ type: ElementType, _ count: Int64) throws {
        let storage = P.storage("0", type: "UntypedStorage", count: 96)
        let opened = try PyTorchArchiveTests.open([("a", P.tensor(storage, [count], type: name))])
        #expect(opened.header.tensors[0].elementType == type)
        #expect(try opened.bytes("a") == PyTorchArchiveTests.values)
    }

    @Test(
        "Forms that other writers give an archive",
        arguments: [
            "zip64", "comment", "no descriptors", "bare descriptors", "wide descriptors", "padded", "no byte order",
        ])
    func otherForms(_ form: String) throws {
        let pickle = P.pickle(P.dictionary([("a", PyTorchArchiveTests.tensor)]))
        var image = PyTorchImage.archive(
            pickle, storages: [("0", PyTorchArchiveTests.values)], prefix: form == "comment" ? "" : "pytorch_model/",
            byteOrder: form == "no byte order" ? nil : "little")
        for index in image.records.indices {
            let name = String(decoding: image.records[index].local.name, as: UTF8.self)
            var record = ZipImage.Record(name, image.records[index].data)
            switch form {
            case "bare descriptors": record.useDescriptor(isSigned: false)
            case "wide descriptors": record.useDescriptor(isWide: true)
            case "padded": record.local.extra = Array("FB".utf8) + [20, 0] + [UInt8](repeating: 0x5A, count: 20)
            case "zip64":
                let (size, field) = (record.local.size, [UInt8(1), 0, 16, 0])
                record.local.extra = field + ZipImage.number(size, 8) + ZipImage.number(size, 8)
                record.central.extra = record.local.extra
                (record.local.size, record.local.stored) = (0xFFFF_FFFF, 0xFFFF_FFFF)
                (record.central.size, record.central.stored) = (0xFFFF_FFFF, 0xFFFF_FFFF)
            default: break
            }
            image.records[index] = record
        }
        image.isWide = form == "zip64"
        image.comment = form == "comment" ? Array("saved on Monday".utf8) : []
        let opened = try Opened(image.bytes)
        #expect(try opened.bytes("a") == PyTorchArchiveTests.values && opened.header.warnings.isEmpty)
    }

    @Test("P05 records without checksums are read, with a warning") func unverified() throws {
        var image = PyTorchRejectionTests.plain
        for index in image.records.indices {
            image.records[index].central.checksum = 0
            image.records[index].useDescriptor()
        }
        image.records[2].data[5] ^= 1
        let opened = try Opened(image.bytes)
        #expect(opened.header.warnings.map(\.message) == ["5 records have no checksum (CRC-32 0): unverified"])
    }

    @Test("Protocols 3 and 4, as far as they make data") func laterProtocols() throws {
        let short = [UInt8(0x8C), 1, UInt8(ascii: "a")]
        let body = P.op("}") + short + [0x94] + PyTorchArchiveTests.tensor + P.op("s") + short
        let bytes: [UInt8] = [0x43, 2, 1, 2, 0x85]
        let framed = body.dropLast(short.count) + P.text("b") + bytes + P.op("s")
        let pickle = [0x80, 4, 0x95] + ZipImage.number(UInt64(framed.count), 8) + framed + P.op(".")
        let opened = try Opened(
            PyTorchImage.archive(pickle, storages: [("0", PyTorchArchiveTests.values)]).bytes)
        #expect(try opened.bytes("a") == PyTorchArchiveTests.values)
    }

    // MARK: - Views

    @Test("P13 any view comes out as its elements in order, in any pieces") func views() throws {
        var generator = SeededGenerator(seed: 13)
        for _ in 0..<300 {
            let type = [ElementType.u8, .f16, .f32, .i64].randomElement(using: &generator) ?? .u8
            let width = type.bitWidth / 8
            let count = Int.random(in: 1...4000, using: &generator)
            let data = (0..<count * width).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
            let view = PyTorchArchiveTests.randomView(of: count, &generator)
            let storage = P.storage("0", type: P.storageName(type), count: Int64(count))
            let tensor = P.tensor(
                storage, offset: Int64(view.offset), view.shape.map(Int64.init), strides: view.strides.map(Int64.init))
            let image = PyTorchImage.archive(P.pickle(P.dictionary([("a", tensor)])), storages: [("0", data)])
            let opened = try Opened(image.bytes)
            let expected = view.indices.flatMap { data[$0 * width..<($0 + 1) * width] }
            #expect(try opened.bytes("a") == expected, "\(view)")
            let bytes = opened.header.tensors[0].bytes(in: opened.file)
            for _ in 0..<4 where bytes.byteCount > 0 {
                let start = Int.random(in: 0..<Int(bytes.byteCount), using: &generator)
                let length = Int.random(in: 0...Int(bytes.byteCount) - start, using: &generator)
                let part = try bytes.part(UInt64(start), count: length)
                #expect(part == Array(expected[start..<start + length]), "\(view)")
            }
        }
    }

    struct View: CustomStringConvertible {
        let offset: Int
        let shape: [Int]
        let strides: [Int]

        var description: String { "\(shape) by \(strides) from \(offset)" }

        /// The elements' places in the storage, one index at a time.
        var indices: [Int] {
            var places = [offset]
            for (count, stride) in zip(shape, strides) {
                places = places.flatMap { place in (0..<count).map { place + $0 * stride } }
            }
            return places
        }
    }

    /// A view of up to four dimensions that stays in a storage: sizes and strides in any order, zeros and ones among them.
    static func randomView(of count: Int, _ generator: inout SeededGenerator) -> View {
        var shape: [Int] = []
        var strides: [Int] = []
        var room = count - 1
        let offset = Int.random(in: 0...room, using: &generator)
        room -= offset
        var rowMajor = 1
        for _ in 0..<Int.random(in: 0...4, using: &generator) {
            let stride =
                [0, 1, rowMajor, rowMajor, Int.random(in: 0...60, using: &generator)].randomElement(using: &generator)
                ?? 1
            let maximum = stride == 0 ? 5 : min(40, room / stride + 1)
            let size = generator.once(in: 60) ? 0 : Int.random(in: 1...max(1, maximum), using: &generator)
            room -= max(0, size - 1) * stride
            rowMajor = max(1, stride * max(1, size))
            shape.append(size)
            strides.append(stride)
        }
        let order = shape.indices.shuffled(using: &generator)
        return View(offset: offset, shape: order.map { shape[$0] }, strides: order.map { strides[$0] })
    }

    @Test(
        "P13 a transposed matrix larger than the blocks that it is read in",
        arguments: [(700, 900), (3, 50_000), (50_000, 3)])
    func transposed(_ rows: Int, _ columns: Int) throws {
        let data = (0..<rows * columns).flatMap { FloatBytes.encode(Float($0), .f32) }
        let storage = P.storage("0", count: Int64(rows * columns))
        let tensor = P.tensor(storage, [Int64(columns), Int64(rows)], strides: [1, Int64(columns)])
        let opened = try Opened(
            PyTorchImage.archive(P.pickle(P.dictionary([("a", tensor)])), storages: [("0", data)]).bytes)
        let found = try opened.bytes("a")
        let isRight = (0..<columns).allSatisfy { column in
            (0..<rows).allSatisfy { row in
                FloatBytes.decode(found, column * rows + row, .f32) == Float(row * columns + column)
            }
        }
        #expect(isRight)
    }

    // MARK: - Shared storages

    @Test("P14 equal views are stored once") func tied() throws {
        let same = PyTorchArchiveTests.tensor
        let opened = try PyTorchArchiveTests.open([
            ("z", same), ("a", same), ("rows", P.tensor(PyTorchArchiveTests.storage, offset: 6, [2, 6])),
            ("flat", P.tensor(PyTorchArchiveTests.storage, [24])),
            ("turned", P.tensor(PyTorchArchiveTests.storage, [6, 4], strides: [1, 6])),
            ("turned too", P.tensor(PyTorchArchiveTests.storage, [6, 4], strides: [1, 6])),
        ])
        #expect(Set(opened.header.tensors.map(\.name.text)) == ["z", "rows", "flat", "turned"])
        #expect(
            opened.header.aliases == [
                .init(TensorName("a"), of: TensorName("z")), .init(TensorName("turned too"), of: TensorName("turned")),
            ])
        #expect(opened.header.warnings.map(\.tensor?.text) == ["a", "turned too"])
        let checkpoint = try Checkpoint.open(opened.file.path)
        #expect(checkpoint.tensor(named: TensorName("a"))?.tensor.name == TensorName("z"))
        #expect(checkpoint.tensorCount == 4)
    }

    @Test func parametersAndUnusedStorages() throws {
        let parameter = P.call(
            P.global("torch._utils", "_rebuild_parameter"),
            [PyTorchArchiveTests.tensor, [0x88], P.call(P.global("collections", "OrderedDict"), [])])
        let image = PyTorchImage.archive(
            P.pickle(P.dictionary([("p", parameter)])),
            storages: [("0", PyTorchArchiveTests.values), ("1", [1, 2, 3])])
        let opened = try Opened(image.bytes)
        #expect(try opened.bytes("p") == PyTorchArchiveTests.values)
        #expect(opened.header.warnings.map(\.message) == ["1 storages that no tensor uses are left out"])
    }

    // MARK: - Which tensors

    @Test(
        "P15 one usual name leads to the state dict",
        arguments: ["state_dict", "model_state_dict", "model", "module", "ema"])
    func usualNames(_ key: String) throws {
        let inner = P.dictionary([("a", PyTorchArchiveTests.tensor)])
        let alone = try PyTorchArchiveTests.open([(key, inner)])
        #expect(alone.header.tensors.map(\.name.text) == ["a"])
        let opened = try PyTorchArchiveTests.open([
            ("epoch", P.int(3)), (key, inner), ("optimizer", P.dictionary([("b", PyTorchArchiveTests.tensor)])),
        ])
        #expect(opened.header.tensors.map(\.name.text) == ["a"])
        #expect(
            opened.header.warnings.map(\.message) == [
                "the state dict is the one under `\(key)`; the other 2 entries beside it are left out"
            ])
        let other = try PyTorchArchiveTests.open(
            [(key, inner), ("x", P.dictionary([("y", P.dictionary([("b", PyTorchArchiveTests.tensor)]))]))], key: "x.y")
        #expect(other.header.tensors.map(\.name.text) == ["b"] && other.header.warnings.isEmpty)
    }

    /// Entries of the outermost dict beside `model`, and the tensors that are read; nil if the choice is ambiguous.
    @Test(
        "P15 training checkpoints",
        arguments: [
            (["vector": .vector], ["a"]), (["scalar": .vector, "optimizer": .states], ["a"]),
            (["matrix": .matrix], nil), (["state_dict": .states], nil), (["ema": .states], nil),
            (["lm_head": .states], nil),
            (
                [
                    "optimizer_state_dict": .states, "lr_scheduler": .states, "rng-state": .states,
                    "grad.scaler": .states,
                ], ["a"]
            ),
            (["Optimizer": .states, "optim": .states, "matrix_of_optimizer": .states], ["a"]),
        ] as [([String: Beside], [String]?)])
    func trainingCheckpoints(_ beside: [String: Beside], _ names: [String]?) throws {
        let model = ("model", P.dictionary([("a", PyTorchArchiveTests.tensor)]))
        let entries = beside.sorted { $0.key < $1.key }.map { ($0.key, $0.value.pickle) }
        for entries in [[model] + entries, entries + [model]] {
            guard let names else {
                let error = #expect(throws: IngotError.self) { try PyTorchArchiveTests.open(entries) }
                #expect(error?.code == .unsupportedSource && error?.found.contains("`model`") == true)
                #expect(error?.remedy.text.contains("model") == true, "\(String(describing: error))")
                let all = try PyTorchArchiveTests.open(entries, key: ".")
                #expect(all.header.tensors.count == entries.count)
                #expect(try PyTorchArchiveTests.open(entries, key: "model").header.tensors.map(\.name.text) == ["a"])
                continue
            }
            let opened = try PyTorchArchiveTests.open(entries)
            #expect(opened.header.tensors.map(\.name.text) == names)
            #expect(
                opened.header.warnings.map(\.message) == [
                    "the state dict is the one under `model`; the other \(beside.count) entries beside it are left out"
                ])
        }
    }

    /// What may stand beside a state dict.
    enum Beside: Sendable {
        case vector, matrix, states

        var pickle: [UInt8] {
            switch self {
            case .vector: P.tensor(PyTorchArchiveTests.storage, [24])
            case .matrix: P.tensor(PyTorchArchiveTests.storage, [6, 4])
            case .states: P.dictionary([("b", P.tensor(PyTorchArchiveTests.storage, [6, 4]))])
            }
        }
    }

    @Test("P15 an optimizer beside the weights is left out, and does not count as size") func optimizerBeside() throws {
        let entries = [
            ("a", PyTorchArchiveTests.tensor), ("optimizer", P.dictionary([("b", PyTorchArchiveTests.tensor)])),
        ]
        let opened = try PyTorchArchiveTests.open(entries)
        #expect(opened.header.tensors.map(\.name.text) == ["a"])
        #expect(opened.header.warnings.map(\.message) == ["training states are left out: `optimizer`"])
    }

    @Test("P15 otherwise the names of dicts are joined") func nested() throws {
        let inner = P.dictionary([("a", PyTorchArchiveTests.tensor)])
        let empty = try PyTorchArchiveTests.open([("model", P.op("}")), ("e", inner)])
        #expect(empty.header.tensors.map(\.name.text) == ["e.a"])
        for (key, known) in [("other", "here: `model`"), ("model.other", "here: none"), ("model.a", "here: none")] {
            let error = #expect(throws: IngotError.self) {
                try PyTorchArchiveTests.open([("model", inner), ("n", P.int(1))], key: key)
            }
            #expect(error?.code == .unsupportedSource && error?.expected?.hasSuffix(known) == true)
        }
    }

    @Test("P15 what is no tensor is counted") func leaves() throws {
        let opened = try PyTorchArchiveTests.open([
            ("a", PyTorchArchiveTests.tensor), ("n", P.int(-5)), ("large", P.int(1 << 40)), ("t", P.text("x")),
            ("f", P.op("G") + [UInt8](repeating: 0, count: 8)), ("none", P.op("N")),
            ("list", P.list([P.int(1), PyTorchArchiveTests.tensor])), ("type", P.global("torch", "float16")),
            ("size", P.call(P.global("torch", "Size"), [P.tuple([P.int(2)])])),
            ("device", P.call(P.global("torch", "device"), [P.text("cpu")])), ("set", [0x8F]),
            ("nested", P.dictionary([("b", P.op("N"))])), ("empty", P.op("}")),
            ("members", P.call(P.global("__builtin__", "set"), [P.list([PyTorchArchiveTests.tensor, P.int(1)])])),
        ])
        #expect(opened.header.tensors.map(\.name.text) == ["a"])
        #expect(
            opened.header.warnings.map(\.message) == [
                "12 entries that are no tensors are left out",
                "2 tensors in lists, or under keys that are no names, are left out",
            ])
    }

    @Test func keysThatAreNumbers() throws {
        let body =
            P.op("}") + P.int(7) + PyTorchArchiveTests.tensor + P.op("s") + P.op(")") + PyTorchArchiveTests.tensor
            + P.op("s")
        let opened = try Opened(PyTorchRejectionTests.archive(body).bytes)
        #expect(opened.header.tensors.map(\.name.text) == ["7"])
        #expect(opened.header.warnings.count == 1)
    }

    // MARK: - Directories

    static let shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]

    /// Two shards with an index; `tied` is an alias of `a`.
    static func directory(shard: String = shards[1], second: String = "b", more: String = "") throws
        -> TemporaryDirectory
    {
        let directory = try TemporaryDirectory()
        let first = PyTorchRejectionTests.archive(P.dictionary([("a", tensor), ("tied", tensor)]))
        try directory.write(shards[0], first.bytes)
        try directory.write(shards[1], PyTorchRejectionTests.archive(P.dictionary([(second, tensor)])).bytes)
        try directory.write(
            "pytorch_model.bin.index.json",
            """
            {"metadata": {}, "weight_map": {"a": "\(shards[0])", "tied": "\(shards[0])", "b": "\(shard)"\(more)}}
            """)
        return directory
    }

    @Test func indexedDirectory() throws {
        let directory = try PyTorchArchiveTests.directory()
        try directory.write("training_args.bin", [0x80, 2])
        let checkpoint = try Checkpoint.open(directory.path)
        #expect(checkpoint.shards.map(\.fileName) == PyTorchArchiveTests.shards)
        #expect(checkpoint.tensorCount == 2 && checkpoint.hasIndex)
        #expect(checkpoint.warnings.map(\.tensor?.text) == ["tied"])
        _ = try checkpoint.layout.open(0)
    }

    @Test(
        "D02 names of shards in an index of .bin files",
        arguments: ["model.safetensors", "../x.bin", "x.pt", ".bin", "x\\\\y.bin"])
    func shardNames(_ name: String) throws {
        let directory = try PyTorchArchiveTests.directory(shard: name)
        let error = try #require(throws: IngotError.self) { try Checkpoint.open(directory.path) }
        #expect(error.code == .shardName && error.expected?.contains(".bin") == true)
    }

    @Test("D01 index and .bin shards disagree") func disagreement() throws {
        func code(_ directory: TemporaryDirectory) throws -> IngotError.Code {
            try #require(throws: IngotError.self) { try Checkpoint.open(directory.path) }.code
        }
        #expect(try code(PyTorchArchiveTests.directory(second: "c")) == .indexMismatch)
        #expect(try code(PyTorchArchiveTests.directory(shard: "other.bin")) == .missingShard)
        #expect(try code(PyTorchArchiveTests.directory(shard: PyTorchArchiveTests.shards[0])) == .indexMismatch)
        #expect(
            try code(PyTorchArchiveTests.directory(more: ", \"c\": \"\(PyTorchArchiveTests.shards[0])\""))
                == .indexMismatch)
        #expect(try code(PyTorchArchiveTests.directory(second: "tied")) == .indexMismatch)
    }

    @Test(
        "One file of any of the names",
        arguments: ["pytorch_model.bin", "model.pt", "weights.pth", "adapter_model.bin"])
    func loneFile(_ name: String) throws {
        let directory = try TemporaryDirectory()
        try directory.write(name, PyTorchRejectionTests.plain.bytes)
        for stranger in ["optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "config.json"] {
            try directory.write(stranger, [0])
        }
        let checkpoint = try Checkpoint.open(directory.path)
        #expect(checkpoint.shards.map(\.fileName) == [name] && checkpoint.warnings.isEmpty)
        try directory.write("other.bin", PyTorchRejectionTests.plain.bytes)
        if name == "pytorch_model.bin" {
            #expect(
                try Checkpoint.open(directory.path).warnings.map(\.message) == [
                    "left out: pytorch_model.bin beside it is the checkpoint"
                ])
        } else {
            #expect(throws: IngotError.self) { try Checkpoint.open(directory.path) }
        }
    }

    @Test("Safetensors win over .bin files beside them") func bothFormats() throws {
        let directory = try PyTorchArchiveTests.directory()
        try directory.write("model.safetensors", FileBytes.shard(["s"]))
        let checkpoint = try Checkpoint.open(directory.path)
        #expect(checkpoint.shards.map(\.header.format) == [.safetensors])
        #expect(
            checkpoint.warnings.map(\.message) == [
                "left out and 1 more: the checkpoint is read from .safetensors files"
            ])
    }

    @Test("A file is what its bytes say, not its name") func names() throws {
        let directory = try TemporaryDirectory()
        let zip = try directory.write("x.safetensors", PyTorchRejectionTests.plain.bytes)
        #expect(try Checkpoint.open(zip).shards[0].header.format == .pytorch)
        let plain = try directory.write("x.bin", FileBytes.shard(["s"]))
        #expect(try Checkpoint.open(plain).shards[0].header.format == .safetensors)
        let index = try directory.write("pytorch_model.bin.index.json", "{}")
        #expect(try #require(throws: IngotError.self) { try Checkpoint.open(index) }.code == .unsupportedSource)
    }
}
