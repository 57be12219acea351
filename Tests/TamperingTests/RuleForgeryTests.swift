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
import Weights
import Work

/// C03: the rules of Specs/container.md, section 10, broken one by one under right hashes. `test_forgeries.py` has many more cases, and gives
/// each to the decoder in Python too.
@Suite struct RuleForgeryTests {
    /// A lossless checkpoint of one shard: two matrices, and kept tensors of 8, 4, 2 and 1 bytes an element.
    private struct Sample {
        let directory: TemporaryDirectory
        let source: FilePath, path: FilePath
        var shard: ForgedShard

        init() async throws {
            directory = try TemporaryDirectory()
            (source, path) = (directory.at("source"), directory.at("sealed"))
            let tensors = [
                SampleTensor("a.weight", .f16, [6, 40]), SampleTensor("b.weight", .bf16, [4, 64]),
                SampleTensor("kept.i64", raw: .i64, [2]), SampleTensor("kept.f32", .f32, [4]),
                SampleTensor("kept.f16", .f16, [8]), SampleTensor("kept.u8", raw: .u8, [16]),
            ]
            try SampleSource.write(
                [tensors], to: source, companions: ["config.json": "{\"a\": 1}\n", "notes.txt": "-"])
            try await Verbs.convert(source, to: path, Verbs.options(.lossless))
            shard = try ForgedShard(path.appending("model.safetensors"))
        }

        func verify(against source: FilePath? = nil) async throws -> IngotError? {
            try await Verbs.failure { try await Verbs.verify(path, against: source) }
        }

        /// Writes `config.json` anew, and its hash in the manifest.
        func configure(_ text: String) throws {
            try Files.write(text, to: path.appending("config.json"))
            try ForgedShard.rewriteManifest(path)
        }
    }

    // MARK: - Lossless data (L1, L2)

    /// C07: The decoded bytes are not those of the hash that the description states: damage, with or without the source.
    @Test(arguments: [false, true]) func losslessOfAnotherHash(isCompared: Bool) async throws {
        var sample = try await Sample()
        let hash = ContentHash(of: SampleTensor("a.weight", .f16, [6, 40]).bytes.span).description
        sample.shard.replaceInHeader(hash, String(hash.reversed()))
        try sample.shard.publish()
        let error = try await sample.verify(against: isCompared ? sample.source : nil)
        #expect(error?.code == .payloadInvalid && error?.code.kind == .badData, "\(String(describing: error))")
        #expect(error?.tensor == TensorName("a.weight"))
        #expect(error?.found.contains(hash) == true && error?.expected?.contains(String(hash.reversed())) == true)
        let exported = try await Verbs.failure {
            try await Verbs.export(sample.path, to: sample.directory.at("out"))
        }
        #expect(exported?.code == .payloadInvalid && Files.names(sample.directory.path) == ["sealed", "source"])
    }

    /// The data are others, under a checksum that holds.
    @Test(arguments: [0, 100, 479]) func losslessOfOtherBytes(byte: Int) async throws {
        var sample = try await Sample()
        try await Verbs.convert(
            sample.source, to: sample.directory.at("plain"), Verbs.options(.lossless, codec: .none))
        sample.shard = try ForgedShard(sample.directory.at("plain").appending("model.safetensors"))
        let payload = sample.shard.dataStart
        let chunk = payload + sample.shard.number(at: payload + 64)
        sample.shard.bytes[chunk + byte] ^= 1
        sample.shard.set(ContentHash.checksum64(Array(sample.shard.bytes[chunk..<chunk + 480]).span), at: payload + 72)
        try sample.shard.publish()
        let error = try await Verbs.failure { try await Verbs.verify(sample.directory.at("plain")) }
        #expect(error?.code == .payloadInvalid && error?.tensor == TensorName("a.weight"))
    }

    /// An error of what has none: in the table, in the description, in both.
    @Test(arguments: [16, 24, 32], [(true, false), (false, true), (true, true)])
    func errorOfLossless(offset: Int, places: (table: Bool, description: Bool)) async throws {
        var sample = try await Sample()
        let key = [16: "signal", 24: "noise", 32: "max_error"][offset] ?? ""
        if places.table { sample.shard.set((0.5).bitPattern, at: sample.shard.dataStart + 64 + offset) }
        if places.description {
            sample.shard.replaceInHeader(
                "\\\"\(key)\\\":\\\"0000000000000000", "\\\"\(key)\\\":\\\"\(ContentHash.hexadecimal((0.5).bitPattern))"
            )
        }
        try sample.shard.publish()
        let error = try await sample.verify()
        #expect(error?.code == (places.description ? .descriptorInvalid : .payloadInvalid))
        #expect(error?.tensor == TensorName("a.weight"))
    }

    // MARK: - Headers (H1 to H8)

    @Test(arguments: [
        // Keys of `__metadata__`, and what stands under them.
        ("\"format\":\"ingot\"", "\"format\":\"pt\"", IngotError.Code.descriptorInvalid),
        ("\"format\":\"ingot\"", "\"format\":\"ingot\",\"x\":\"\"", .descriptorInvalid),
        ("\"format\":\"ingot\"", "\"format\":\"ingot\",\"ingot-source-metadata\":\"{}\"", .descriptorInvalid),
        (
            "\"format\":\"ingot\"", "\"format\":\"ingot\",\"ingot-source-metadata\":\"{\\\"a\\\":1}\"",
            .descriptorInvalid
        ),
        ("\\\"writer\\\"", "\\\"Writer\\\"", .descriptorInvalid),
        ("\\\"optional_features\\\":[]", "\\\"optional_features\\\":[\\\"a b\\\"]", .descriptorInvalid),
        ("\\\"optional_features\\\":[]", "\\\"optional_features\\\":[1]", .descriptorInvalid),
        // Names, fields, white space, ranks.
        ("\"kept.i64\"", "\"__ingot_\"", .reservedName),
        ("{\"dtype\":\"I64\"", "{\"a\":1,\"dtype\":\"I64\"", .headerSyntax),
        ("{\"__metadata__\"", " {\"__metadata__\"", .headerSyntax),
        (
            "\"kept.u8\":{\"dtype\":\"U8\",\"shape\":[16]", "\"kept.u8\":{\"dtype\":\"I64\",\"shape\":[2]",
            .invalidOffsets
        ),
        ("\"shape\":[448]", "\"shape\":[1,448]", .payloadInvalid),
    ])
    func header(old: String, new: String, code: IngotError.Code) async throws {
        var sample = try await Sample()
        let size = sample.shard.number(at: sample.shard.dataStart + 56)
        sample.shard.replaceInHeader(
            old.replacing("[448]", with: "[\(size)]"), new.replacing("448]", with: "\(size)]"))
        try sample.shard.publish()
        let error = try await sample.verify()
        #expect(error?.code == code && error?.code.kind == .badData, "\(String(describing: error))")
        #expect(error?.file == sample.path.appending("model.safetensors").string)
        let opened = try await Verbs.failure { _ = try OpenedCheckpoint(sample.path) }
        #expect(opened?.code == code)
    }

    /// Behind the object there are spaces and nothing else.
    @Test(arguments: ["\n", "\t", "\r"]) func whiteSpace(character: String) async throws {
        var sample = try await Sample()
        sample.shard.header = String(sample.shard.header.dropLast()) + character
        try sample.shard.publish()
        #expect(try await sample.verify()?.code == .headerSyntax)
    }

    /// Features have names of a certain length, and there are not many: 2 MB of them are refused, and not printed.
    @Test(arguments: [(64, 64, true), (65, 1, false), (1, 65, false), (2000, 1000, false)])
    func features(count: Int, length: Int, isTaken: Bool) async throws {
        let sample = try await Sample()
        let names = (0..<count).map { _ in JSONValue.string(String(repeating: "f", count: length)) }
        let text = JSONValue.object([
            .init("version", .unsigned(1)), .init("required_features", .array([])),
            .init("optional_features", .array(names)), .init("writer", .string("a test")),
            .init("codecs", .string("none")),
        ]).text()
        let directory = sample.directory.at("hollow")
        try HollowCheckpoint.write(
            shape: [2, 64], frontBytes: 128, payloadBytes: 192, about: text, to: directory)
        let error = try await Verbs.failure {
            let warnings = try SealedCheckpoint(directory).warnings
            #expect(warnings.count == 1 && warnings.allSatisfy { $0.message.utf8.count < 500 })
        }
        #expect(error?.code == (isTaken ? nil : .descriptorInvalid))
        #expect((error.map { $0.found + ($0.expected ?? "") } ?? "").utf8.count < 500)
    }

    // MARK: - Names (N2, N3, N4), configuration (D2)

    /// The shard under another name; the manifest and the directory agree.
    @Test(arguments: [
        ("model.safetensors", true), ("adapter_model.safetensors", true), ("diffusion_pytorch_model.safetensors", true),
        ("weights.safetensors", false), ("model-00001-of-00001.safetensors", false), ("Model.safetensors", false),
        ("model-00001-of-00002.safetensors", false), ("notes/model.safetensors", false),
    ])
    func shardName(name: String, isTaken: Bool) async throws {
        let sample = try await Sample()
        let manifest = try Manifest.read(sample.path)
        if name.contains("/") { try Directory.create(sample.path.appending("notes")) }
        let bytes = try Files.read(sample.path.appending("model.safetensors"))
        try Directory.removeFile(sample.path.appending("model.safetensors"))
        try Files.write(bytes, to: sample.path.pushing(FilePath(name)))
        let files = manifest.files.map { file in
            file.isShard
                ? Manifest.File(name: name, byteCount: file.byteCount, hash: file.hash, isShard: true) : file
        }
        let forged = Manifest(
            files: files, options: manifest.options, sourceBytes: manifest.sourceBytes, codecs: manifest.codecs)
        try Files.write(forged.encoded(), to: sample.path.appending(Manifest.fileName))
        let error = try await sample.verify()
        #expect(error?.code == (isTaken ? nil : .manifestInvalid), "\(String(describing: error))")
        #expect(isTaken || error?.found.contains(name) == true)
    }

    /// A shard among the other files, another file among the shards, none at all.
    @Test(arguments: ["shard as a file", "file as a shard", "no shard", "itself", "index"])
    func listedAsAnother(what: String) async throws {
        let sample = try await Sample()
        let manifest = try Manifest.read(sample.path)
        var files = manifest.files
        func file(_ name: String, _ bytes: [UInt8]) -> Manifest.File {
            Manifest.File(
                name: name, byteCount: UInt64(bytes.count), hash: ContentHash(of: bytes.span), isShard: false)
        }
        switch what {
        case "no shard":
            files.removeAll(where: \.isShard)
            try Directory.removeFile(sample.path.appending("model.safetensors"))
        case "shard as a file":
            files.removeAll(where: \.isShard)
            files.append(
                file("model.safetensors", try Files.read(sample.path.appending("model.safetensors"))))
        case "itself": files.append(file(Manifest.fileName, []))
        case "index":
            let text = Array(#"{"metadata":{"total_size":0},"weight_map":{}}"#.utf8)
            try Files.write(text, to: sample.path.appending("model.safetensors.index.json"))
            files.append(file("model.safetensors.index.json", text))
        default:
            files = files.map {
                $0.isShard ? $0 : Manifest.File(name: $0.name, byteCount: $0.byteCount, hash: $0.hash, isShard: true)
            }
        }
        let forged = Manifest(
            files: files, options: manifest.options, sourceBytes: manifest.sourceBytes, codecs: manifest.codecs)
        try Files.write(forged.encoded(), to: sample.path.appending(Manifest.fileName))
        let error = try await sample.verify()
        #expect(error?.code == .manifestInvalid, "\(String(describing: error))")
    }

    @Test(arguments: [
        "{\"a\": 1}", "[]", "", "{", "{\"a\": 1, \"quantization_config\": {\"quant_method\": \"gptq\"}}",
        "{\"inner\": QQ}", "{QQ, \"a\": 1}", "{QQ,QQ}", "{\"a\": 1, QQ} x", "{\"a\": 1, \"a\": 1, QQ}",
    ])
    func configuration(text: String) async throws {
        let sample = try await Sample()
        let place = sample.path.appending("config.json")
        let whole = String(decoding: try Files.read(place), as: UTF8.self)
        let start = try #require(whole.firstRange(of: "\"quantization_config\"")).lowerBound
        let end = try #require(whole[start...].firstIndex(of: "}"))
        let member = String(whole[start...end])
        try sample.configure("{\"b\": [NaN], \(member)\n}")
        #expect(try await sample.verify() == nil)
        try sample.configure(text.replacing("QQ", with: text.contains("inner") ? "{\(member)}" : member))
        let error = try await sample.verify()
        #expect(error?.code.kind == .badData && error?.file == place.string, "\(String(describing: error))")
        let out = sample.directory.at("out")
        #expect(try await Verbs.failure { try await Verbs.export(sample.path, to: out) }?.code == error?.code)
        // A checkpoint without any is complete.
        try Directory.removeFile(place)
        let manifest = try Manifest.read(sample.path)
        let others = Manifest(
            files: manifest.files.filter { $0.name != "config.json" }, options: manifest.options,
            sourceBytes: manifest.sourceBytes, codecs: manifest.codecs)
        try Files.write(others.encoded(), to: sample.path.appending(Manifest.fileName))
        #expect(try await sample.verify() == nil)
    }

    // MARK: - Expansion

    /// C09: As many weights as no payload of its size can hold are refused when the checkpoint is opened; as many as one can hold are not, and
    /// an export of them finds no room before it writes anything.
    @Test func expansion() async throws {
        let directory = try TemporaryDirectory()
        let chunks = 1 << 22
        let front = UInt64(64 + 64 * chunks)
        let minimum = (front + UInt64(2 * chunks) + 63) / 64 * 64
        let weights = UInt64(chunks) << 18
        #expect(weights / minimum < 4096 && weights / (minimum - 64) < 4096)
        let shape = [chunks, 1 << 18]
        try HollowCheckpoint.write(
            shape: shape, frontBytes: front, payloadBytes: minimum - 64, to: directory.at("less"))
        #expect(throws: IngotError.self) { try SealedCheckpoint(directory.at("less")) }
        try HollowCheckpoint.write(shape: shape, frontBytes: front, payloadBytes: minimum, to: directory.at("least"))
        let error = try await Verbs.failure {
            try await Verbs.export(directory.at("least"), to: directory.at("out"), as: .f32)
        }
        #expect(error?.code == .outOfSpace, "\(String(describing: error))")
        #expect(error?.expected?.contains("\(weights * 4) bytes") == true)
        #expect(Files.names(directory.path) == ["least", "less"])
    }
}
