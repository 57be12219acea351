import Checkpoints
import FileAccess
import SystemPackage
import TensorModel
import Testing

/// GGUF files as checkpoints: alone, in parts, and beside others.
@Suite struct GGUFSplitTests {
    private typealias G = GGUFBytes

    static func name(_ number: Int, of count: Int) -> String { "m-0000\(number)-of-0000\(count).gguf" }

    /// A part with one tensor, and what it says of itself; nil says nothing.
    static func part(_ tensor: String, number: UInt32?, count: UInt32?, total: UInt32? = 3) -> [UInt8] {
        var entries: [[UInt8]] = []
        if let number { entries.append(G.entry("split.no", 2, Array(G.half(number).prefix(2)))) }
        if let count { entries.append(G.entry("split.count", 2, Array(G.half(count).prefix(2)))) }
        if let total { entries.append(G.entry("split.tensors.count", 5, G.half(total))) }
        return G.file([G.tensor(tensor)], entries: entries)
    }

    /// Three parts, of which some may be others than they should be.
    static func directory(_ changed: [Int: [UInt8]] = [:], without missing: Int? = nil) throws -> TemporaryDirectory {
        let directory = try TemporaryDirectory()
        for number in 1...3 where number != missing {
            let usual = part("t\(number)", number: UInt32(number - 1), count: 3)
            try directory.write(name(number, of: 3), changed[number] ?? usual)
        }
        return directory
    }

    static func failure(_ path: FilePath) throws -> IngotError {
        try #require(throws: IngotError.self) { try Checkpoint.open(path) }
    }

    @Test("The directory, or any part, stands for all parts") func opensAll() throws {
        let directory = try GGUFSplitTests.directory()
        let paths = [directory.path] + (1...3).map { directory.path.appending(GGUFSplitTests.name($0, of: 3)) }
        for path in paths {
            let checkpoint = try Checkpoint.open(path)
            #expect(checkpoint.shards.map(\.fileName) == (1...3).map { GGUFSplitTests.name($0, of: 3) })
            #expect(checkpoint.tensorCount == 3 && checkpoint.warnings.isEmpty)
            for number in 1...3 {
                let found = try #require(checkpoint.tensor(named: TensorName("t\(number)")))
                #expect(found.shard.fileName == GGUFSplitTests.name(number, of: 3))
            }
        }
    }

    /// What is wrong with the parts, and the error it gets.
    struct Case: Sendable, CustomStringConvertible {
        let description: String
        let code: IngotError.Code
        var changed: [Int: [UInt8]] = [:]
        var missing: Int?
    }

    @Test(arguments: [
        Case(description: "G12 first missing", code: .missingShard, missing: 1),
        Case(description: "G12 last missing", code: .missingShard, missing: 3),
        Case(description: "G12 number of another", code: .indexMismatch, changed: [2: part("t2", number: 0, count: 3)]),
        Case(description: "G12 number too large", code: .indexMismatch, changed: [3: part("t3", number: 3, count: 3)]),
        Case(description: "G12 count of another", code: .indexMismatch, changed: [2: part("t2", number: 1, count: 4)]),
        Case(description: "G12 count 0", code: .indexMismatch, changed: [1: part("t1", number: 0, count: 0)]),
        Case(description: "G12 no number", code: .indexMismatch, changed: [2: part("t2", number: nil, count: 3)]),
        Case(description: "G12 no count", code: .indexMismatch, changed: [2: part("t2", number: 1, count: nil)]),
        Case(
            description: "G12 fewer tensors", code: .indexMismatch,
            changed: [3: part("t3", number: 2, count: 3, total: 2)]),
        Case(
            description: "G12 -1 tensors", code: .indexMismatch,
            changed: [1: part("t1", number: 0, count: 3, total: .max)]),
        Case(
            description: "G12 tensors not counted", code: .indexMismatch,
            changed: [1: part("t1", number: 0, count: 3, total: nil)]),
        Case(
            description: "G12 a tensor in two parts", code: .indexMismatch,
            changed: [2: part("t1", number: 1, count: 3)]),
        Case(description: "G12 a part in safetensors", code: .indexMismatch, changed: [2: FileBytes.one()]),
    ]) func isRefused(_ wrong: Case) throws {
        let directory = try GGUFSplitTests.directory(wrong.changed, without: wrong.missing)
        let error = try GGUFSplitTests.failure(directory.path)
        #expect(error.code == wrong.code)
        #expect(error.file?.contains("m-0000") == true && !error.remedy.text.isEmpty)
    }

    @Test("G12 a part under another name") func renamed() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("model.gguf", GGUFSplitTests.part("t1", number: 0, count: 3))
        #expect(try GGUFSplitTests.failure(path).code == .indexMismatch)
        // One of one is none of several.
        let alone = try directory.write("alone.gguf", GGUFSplitTests.part("t1", number: 0, count: 1, total: 1))
        #expect(try Checkpoint.open(alone).tensorCount == 1)
    }

    @Test("A directory with one GGUF file is that; with several it is none") func directories() throws {
        let directory = try TemporaryDirectory()
        try directory.write("config.json", "{}")
        try directory.write("model.Q4_K_M.gguf", G.file())
        #expect(try Checkpoint.open(directory.path).shards[0].header.format == .gguf)
        try directory.write("model.Q8_0.gguf", G.file())
        #expect(try GGUFSplitTests.failure(directory.path).code == .indexInvalid)
        #expect(try Checkpoint.open(directory.path.appending("model.Q8_0.gguf")).tensorCount == 1)
    }

    @Test("Names are cut by bytes: a character may reach across the dot") func prependedMark() throws {
        let directory = try GGUFSplitTests.directory()
        let name = "m-00001-of-00003\u{600}.gguf"
        let path = try directory.write(name, G.file([G.tensor("mine")]))
        let checkpoint = try Checkpoint.open(path)
        #expect(checkpoint.shards.map(\.fileName) == [name])
        #expect(checkpoint.tensor(named: TensorName("mine")) != nil)
    }

    @Test("What stands beside a GGUF file without being weights hides nothing") func strays() throws {
        let directory = try TemporaryDirectory()
        try directory.write("model.gguf", G.file())
        for name in ["._model.gguf", "._x.safetensors", "vocabulary.index.json"] { try directory.write(name, "{}") }
        try Directory.create(directory.path.appending("y.safetensors"))
        #expect(try Checkpoint.open(directory.path).shards.map(\.fileName) == ["model.gguf"])
    }

    @Test("Safetensors beside GGUF are the checkpoint, and a warning says so") func safetensorsWin() throws {
        let directory = try TemporaryDirectory()
        try directory.write("model.safetensors", FileBytes.one())
        try directory.write("model.Q4_0.gguf", G.file())
        try directory.write("model.Q8_0.gguf", G.file())
        let checkpoint = try Checkpoint.open(directory.path)
        #expect(checkpoint.shards.map(\.fileName) == ["model.safetensors"])
        #expect(checkpoint.warnings.count == 1 && checkpoint.warnings[0].file.hasSuffix(".gguf"))
    }
}
