import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Manifests and indexes whose hashes hold, and which say what no writer says.
@Suite struct ManifestTests {
    private struct Sample {
        let directory: TemporaryDirectory
        let path: FilePath
        let manifest: Manifest

        init() async throws {
            directory = try TemporaryDirectory()
            path = directory.at("sealed")
            let source = try SampleSource.write(SampleSource.small(), to: directory.at("source"))
            try await Verbs.convert(source, to: path)
            manifest = try Manifest.read(path)
        }

        /// The error of verifying what is there now.
        func failure() async throws -> IngotError? { try await Verbs.failure { try await Verbs.verify(path) } }

        /// Writes a manifest of other files; the error of verifying it.
        func failure(files: [Manifest.File]) async throws -> IngotError? {
            let forged = Manifest(
                files: files, options: manifest.options, sourceBytes: manifest.sourceBytes, codecs: manifest.codecs)
            try Files.write(forged.encoded(), to: path.appending(Manifest.fileName))
            return try await failure()
        }

        /// Writes a manifest with text replaced, its own hash computed anew; the error of verifying it.
        func failure(replacing old: String, by new: String) async throws -> IngotError? {
            let key = ",\n  \"manifest_xxh3_128\": \""
            let text = String(decoding: manifest.encoded(), as: UTF8.self)
            let end = try #require(text.firstRange(of: key)?.lowerBound)
            let body = String(text[..<end])
            let place = try #require(body.firstRange(of: old), "the manifest has no `\(old)`")
            let forged = Array((body[..<place.lowerBound] + new + body[place.upperBound...]).utf8)
            let ending = key + ContentHash(of: forged.span).description + "\"\n}\n"
            try Files.write(forged + Array(ending.utf8), to: path.appending(Manifest.fileName))
            return try await failure()
        }
    }

    @Test func roundTrip() async throws {
        let sample = try await Sample()
        #expect(try Files.read(sample.path.appending(Manifest.fileName)) == sample.manifest.encoded())
        #expect(try await sample.failure(replacing: "\"version\": 1", by: "\"version\": 1") == nil)
        #expect(sample.manifest.files.map(\.name) == sample.manifest.files.map(\.name).sorted())
        #expect(sample.manifest.files.filter(\.isShard).count == 2)
    }

    /// Names that lead out of the directory are refused before anything is opened.
    @Test(arguments: [
        "../source/config.json", "/etc/passwd", "", ".", "..", "a//b", "a/../b", "./config.json", "a/", "\\u0000",
    ])
    func namesOutside(name: String) async throws {
        let sample = try await Sample()
        let error = try await sample.failure(replacing: "\"name\": \"config.json\"", by: "\"name\": \"\(name)\"")
        #expect(error?.code == .manifestInvalid || error?.code == .invalidText, "\(String(describing: error))")
    }

    @Test(arguments: [
        ("\"version\": 1", "\"version\": 2", IngotError.Code.containerVersion),
        ("\"version\": 1", "\"version\": \"1\"", .manifestInvalid),
        ("\"format\": \"ingot-manifest\"", "\"format\": \"ingot\"", .manifestInvalid),
        ("\"source_bytes\"", "\"sauce_bytes\"", .manifestInvalid), ("\"codecs\"", "\"coders\"", .manifestInvalid),
        ("\"files\"", "\"fails\"", .manifestInvalid), ("\"options\"", "\"files\"", .duplicateKey),
        ("\"bytes\": ", "\"bytes\": -", .manifestInvalid), ("\"bytes\": ", "\"bytes\": 1", .fileHash),
        ("\"xxh3_128\": \"", "\"xxh3_128\": \"0", .manifestInvalid),
    ])
    func strangeMembers(old: String, new: String, code: IngotError.Code) async throws {
        let sample = try await Sample()
        #expect(try await sample.failure(replacing: old, by: new)?.code == code)
    }

    /// A manifest that leaves a file out, or names one a second time.
    @Test func otherFiles() async throws {
        let sample = try await Sample()
        let files = sample.manifest.files
        for (index, file) in files.enumerated() where file.isShard {
            var fewer = files
            fewer.remove(at: index)
            #expect(try await sample.failure(files: fewer)?.code == .manifestInvalid, "\(file.name)")
        }
        for file in files {
            let error = try await sample.failure(files: files + [file])
            #expect(error == nil || error?.code.kind == .badData, "\(file.name)")
        }
        let missing = Manifest.File(name: "gone.txt", byteCount: 0, hash: ContentHasher().finish(), isShard: false)
        #expect(try await sample.failure(files: files + [missing])?.code == .missingShard)
    }

    /// The index is part of a checkpoint of several shards, and says what the shards say.
    @Test func forgedIndex() async throws {
        let sample = try await Sample()
        let place = sample.path.appending("model.safetensors.index.json")
        let text = String(decoding: try Files.read(place), as: UTF8.self)
        let names = (0..<2).map { SampleSource.shardName($0, of: 2) }
        let forgeries = [
            text.replacing("model.scale", with: "model.skale"), text.replacing(names[0], with: names[1]),
            text.replacing("weight_map", with: "weight_mop"), "{}", "[]", "", "{\"weight_map\": {\"a\": 1, \"a\": 2}}",
            text.replacing("\"model.scale\"", with: "\"model.skale\": \"\(names[1])\", \"model.scale\""),
        ]
        for forgery in forgeries {
            try #require(forgery != text)
            try Files.write(forgery, to: place)
            try ForgedShard.rewriteManifest(sample.path)
            let error = try await Verbs.failure { try await Verbs.verify(sample.path) }
            #expect(error?.code.kind == .badData, "\(forgery.prefix(60)): \(String(describing: error))")
            #expect(error?.file == place.string, "\(forgery.prefix(60)): \(String(describing: error))")
        }
        // Neither there nor named.
        try Directory.removeFile(place)
        let others = sample.manifest.files.filter { $0.name != "model.safetensors.index.json" }
        #expect(try await sample.failure(files: others)?.code.kind == .badData)
    }

    @Test func manifestThatNamesAFileTwice() async throws {
        let sample = try await Sample()
        let manifest = try Manifest.read(sample.path)
        for file in manifest.files {
            let forged = Manifest(
                files: manifest.files + [file], options: manifest.options, sourceBytes: manifest.sourceBytes,
                codecs: manifest.codecs)
            try Files.write(forged.encoded(), to: sample.path.appending(Manifest.fileName))
            let error = try await sample.failure()
            #expect(error?.code == .manifestInvalid && error?.code.kind == .badData, "\(file.name)")
        }
    }

    @Test func manifestOfMoreThanEightMebibytes() async throws {
        let sample = try await Sample()
        let manifest = try Manifest.read(sample.path)
        let other = manifest.encoded().count - manifest.codecs.utf8.count
        for (size, refused) in [(8 << 20, false), (8 << 20 + 1, true)] {
            let forged = Manifest(
                files: manifest.files, options: manifest.options, sourceBytes: manifest.sourceBytes,
                codecs: String(repeating: "x", count: size - other))
            let bytes = forged.encoded()
            try #require(bytes.count == size)
            try Files.write(bytes, to: sample.path.appending(Manifest.fileName))
            let error = try await sample.failure()
            #expect(error?.code == (refused ? .manifestInvalid : nil), "\(String(describing: error))")
        }
    }

    /// A tensor in two shards, with an index for either.
    @Test(arguments: [0, 1])
    func tensorInTwoShards(named: Int) async throws {
        let directory = try TemporaryDirectory()
        let name = "a.weight"
        let path = directory.at("forged")
        try Directory.create(path)
        var files: [Manifest.File] = []
        for index in 0..<2 {
            let source = try SampleSource.write(
                [[SampleTensor(name, .f16, [4, 64], seed: UInt64(index))]], to: directory.at("source\(index)"))
            let sealed = directory.at("sealed\(index)")
            try await Verbs.convert(source, to: sealed)
            let shard = try #require(try Manifest.read(sealed).files.first { $0.isShard })
            let shardName = SampleSource.shardName(index, of: 2)
            try Files.write(Files.read(sealed.appending(shard.name)), to: path.appending(shardName))
            files.append(
                Manifest.File(name: shardName, byteCount: shard.byteCount, hash: shard.hash, isShard: true))
        }
        let index = #"{"metadata":{},"weight_map":{"\#(name)":"\#(files[named].name)"}}"#
        let indexName = "model.safetensors.index.json"
        try Files.write(index, to: path.appending(indexName))
        files.append(
            Manifest.File(
                name: indexName, byteCount: UInt64(index.utf8.count), hash: ContentHash(of: Array(index.utf8).span),
                isShard: false))
        let manifest = Manifest(files: files, options: [], sourceBytes: 1024, codecs: "none")
        try Files.write(manifest.encoded(), to: path.appending(Manifest.fileName))
        let error = try await Verbs.failure { try await Verbs.verify(path) }
        #expect(error?.code == .indexMismatch && error?.code.kind == .badData)
        #expect(error?.tensor == TensorName(name))
    }
}
