import Checkpoints
import FileAccess
import TensorModel
import TestSupport
import Testing

private typealias P = PickleBytes

/// What torch or Python reads otherwise than its bytes seem to say is refused; what they read is read.
@Suite struct PyTorchAgreementTests {

    /// A dict of keys and values that are whole pickles by themselves.
    static func dictionary(_ pairs: [([UInt8], [UInt8])]) -> [UInt8] {
        P.op("}") + P.op("(") + pairs.flatMap { $0.0 + $0.1 } + P.op("u")
    }

    static let tensor = PyTorchRejectionTests.tensor
    static let float1: [UInt8] = P.op("G") + [0x3F, 0xF0] + [UInt8](repeating: 0, count: 6)

    static let repeated: [Malformed] = [
        twice("P10 a text", P.text("a"), P.text("a")), twice("P10 1 and True", P.int(1), [0x88]),
        twice("P10 1.0 and 1", float1, P.int(1)), twice("P10 None", P.op("N"), P.op("N")),
    ]

    static func twice(_ description: String, _ first: [UInt8], _ second: [UInt8]) -> Malformed {
        let body = dictionary([(first, tensor), (P.text("b"), tensor), (second, P.op("N"))])
        return .init(
            "\(description) twice in a dict", .duplicateKey, PyTorchRejectionTests.archive(body).bytes)
    }

    static let archives: [Malformed] = [
        changed("data.pkl in other letters") { $0.records.append(.init("archive/DATA.PKL", P.pickle(P.op("}")))) },
        changed("a byte order in other letters") { $0.records.append(.init("archive/ByteOrder", Array("big".utf8))) },
        changed("storages in other letters") {
            $0.records.append(.init("archive/data/A", [1]))
            $0.records.append(.init("archive/data/a", [2]))
        },
        changed("a second name for a record") {
            $0.records[1].local.extra = [0x75, 0x70, 1, 0, 0]
            $0.records[1].central.extra = [0x75, 0x70, 1, 0, 0]
        },
    ]

    static func changed(_ description: String, _ change: (inout ZipImage) -> Void) -> Malformed {
        .init("P06 \(description)", .zipInvalid, PyTorchRejectionTests.plain.with(change).bytes)
    }

    static let storages: [Malformed] = [("IntStorage", Int64(24)), ("FloatStorage", 12)].map { type, count in
        let other = P.tensor(P.storage("0", type: type, count: count), [4])
        let body = P.dictionary([("a", tensor), ("b", other)])
        return .init("P12 a storage of two kinds, \(type)", .pickleInvalid, PyTorchRejectionTests.archive(body).bytes)
    }

    @Test(arguments: repeated + archives + storages) func isRefused(_ malformed: Malformed) throws {
        let error = try #require(throws: IngotError.self) { try PyTorchRejectionTests.read(malformed.bytes) }
        #expect(error.code == malformed.code, "\(error)")
    }

    @Test("P10 MEMOIZE counts the entries that are set, as Python does") func memoize() throws {
        // The entry 1 is set first; the second is then 1 again.
        let other = P.tensor(PyTorchRejectionTests.storage, [24])
        let body =
            P.op("}") + P.op("(") + P.text("p") + PyTorchAgreementTests.tensor + P.op("q") + [1] + P.text("q") + other
            + [0x94] + P.text("r") + P.op("h") + [1] + P.op("u")
        let opened = try PyTorchArchiveTests.Opened(PyTorchRejectionTests.archive(body).bytes)
        #expect(opened.header.aliases == [.init(TensorName("r"), of: TensorName("q"))])
    }

    @Test("P09 a Counter is another dict than the one it is made of") func counter() throws {
        let first = P.dictionary([("a", PyTorchAgreementTests.tensor)]) + P.op("q") + [7]
        let other = P.tensor(PyTorchRejectionTests.storage, [24])
        let counter =
            P.global("collections", "Counter") + P.op("h") + [7, 0x85] + P.op("R") + P.op("(") + P.text("b") + other
            + P.op("u")
        let body = PyTorchAgreementTests.dictionary([(P.text("m"), first), (P.text("c"), counter)])
        let opened = try PyTorchArchiveTests.Opened(PyTorchRejectionTests.archive(body).bytes)
        #expect(Set(opened.header.tensors.map(\.name.text)) == ["m.a", "c.b"])
    }

    @Test("P11 what tensors take counts, however few bytes make them") func manyTensors() throws {
        let dimensions = P.tuple((0..<64).map { _ in P.int(1) })
        let arguments =
            P.op("(") + PyTorchRejectionTests.storage + P.int(0) + dimensions + dimensions
            + [0x89] + P.call(P.global("collections", "OrderedDict"), []) + P.op("t") + P.op("q") + [5]
        let function = P.global("torch._utils", "_rebuild_tensor_v2") + P.op("q") + [9]
        // A list that begins with what the memo needs.
        let kept = arguments + function
        let one: [UInt8] = P.op("h") + [9] + P.op("h") + [5] + P.op("R")
        let body = P.op("]") + P.op("(") + kept + (0..<200_000).flatMap { _ in one } + P.op("e")
        let error = try #require(throws: IngotError.self) {
            try PyTorchRejectionTests.read(PyTorchRejectionTests.archive(body).bytes)
        }
        #expect(error.code == .pickleInvalid && error.found.contains("values"), "\(error)")
    }

    @Test("P11 names of more than 100 MB together") func longNames() throws {
        let inner = P.dictionary((0..<110_000).map { (String($0), P.op("h") + [3]) })
        let body = PyTorchAgreementTests.dictionary([
            (P.text("t"), PyTorchAgreementTests.tensor + P.op("q") + [3]),
            (P.text(String(repeating: "n", count: 1000)), inner),
        ])
        let error = try #require(throws: IngotError.self) {
            try PyTorchRejectionTests.read(PyTorchRejectionTests.archive(body).bytes)
        }
        #expect(error.code == .headerTooLarge, "\(error)")
    }

    @Test("P15 a long list beside the weights is left out") func longList() throws {
        let list = P.list([[UInt8](repeating: UInt8(ascii: "N"), count: 4_100_000)])
        let opened = try PyTorchArchiveTests.open([("a", PyTorchAgreementTests.tensor), ("order", list)])
        #expect(opened.header.tensors.map(\.name.text) == ["a"])
    }

    @Test("P15 keys with dots, integers, and none", arguments: [("b.c", "x"), ("7", "y"), ("", "z"), ("b.c.d.e", "w")])
    func keyPaths(_ key: String, _ name: String) throws {
        let tensor = PyTorchAgreementTests.tensor
        let inner = P.dictionary([("x", tensor), ("d.e", P.dictionary([("w", tensor)]))])
        let body = PyTorchAgreementTests.dictionary([
            (P.text("b.c"), inner), (P.int(7), P.dictionary([("y", tensor)])),
            (P.text(""), P.dictionary([("z", tensor)])),
        ])
        let opened = try PyTorchArchiveTests.Opened(PyTorchRejectionTests.archive(body).bytes, key: key)
        #expect(opened.header.tensors.first?.name.text == name)
        for wrong in ["b", "b.c.", "7.", "b..c"] {
            #expect(throws: IngotError.self) {
                try PyTorchArchiveTests.Opened(PyTorchRejectionTests.archive(body).bytes, key: wrong)
            }
        }
    }

    @Test(
        "P13 a long dimension before short ones, in any order of the storage",
        arguments: [[1, 30_000, 60_000], [1, 60_000, 30_000], [2, 1, 59_999], [0, 3, 1000], [60_000, 1, 30_000]])
    func longOuterDimension(_ strides: [Int]) throws {
        let shape = strides[0] > 2 ? [2, 25_000, 2] : [25_000, 2, 3]
        let count = zip(shape, strides).reduce(1) { $0 + ($1.0 - 1) * $1.1 }
        let data = (0..<count).flatMap { FloatBytes.encode(Float($0), .f32) }
        let tensor = P.tensor(
            P.storage("0", count: Int64(count)), shape.map(Int64.init), strides: strides.map(Int64.init))
        let opened = try PyTorchArchiveTests.Opened(
            PyTorchImage.archive(P.pickle(P.dictionary([("a", tensor)])), storages: [("0", data)]).bytes)
        let view = PyTorchArchiveTests.View(offset: 0, shape: shape, strides: strides)
        let expected = view.indices.flatMap { FloatBytes.encode(Float($0), .f32) }
        #expect(try opened.bytes("a") == expected)
        // Parts that begin and end anywhere.
        let bytes = try #require(opened.header.tensors.first).bytes(in: opened.file)
        for start in [1, 4, 12, 1000, 199_999] {
            let part = try bytes.part(UInt64(start), count: 200_001)
            #expect(part == Array(expected[start..<start + 200_001]))
        }
    }
}
