import Checkpoints
import Container
import Conversion
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

        /// Writes a manifest of other files; the error of verifying it.
        func failure(files: [Manifest.File]) async throws -> IngotError? {
            let forged = Manifest(
                files: files, options: manifest.options, sourceBytes: manifest.sourceBytes, codecs: manifest.codecs)
            try Files.write(forged.encoded(), to: path.appending(Manifest.fileName))
            return try await Verbs.failure { try await Verbs.verify(path) }
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
            return try await Verbs.failure { try await Verbs.verify(path) }
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
}
