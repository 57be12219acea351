import Checkpoints
import Container
import Conversion
import Export
import FileAccess
import Foundation
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Sources and outputs that once went wrong.
@Suite struct RegressionTests {
    /// A source with companions, one of them in a folder, and the checkpoint made of it.
    private struct Sample {
        let directory: TemporaryDirectory
        let source: FilePath
        let sealed: FilePath

        init() async throws {
            directory = try TemporaryDirectory()
            source = try SampleSource.write(
                SampleSource.small(), to: directory.at("source"),
                companions: ["config.json": "{}\n", "tokenizer.json": "{}"])
            try Directory.create(source.appending("code"))
            try Files.write("pass", to: source.appending("code").appending("modeling.py"))
            sealed = directory.at("sealed")
            try await Verbs.convert(source, to: sealed)
        }

        /// Converts with `--force`.
        func convert() async throws -> IngotError? {
            var options = Verbs.options()
            options.run.force = true
            return try await Verbs.failure { try await Verbs.convert(source, to: sealed, options) }
        }

        /// Requires that `--force` refuses, before and after a second look, and touches nothing.
        func expectRefusal(_ what: String, export: FilePath? = nil) async throws {
            let before = try Files.snapshot(directory.path)
            let error =
                if let export {
                    try await Verbs.failure { try await Verbs.export(sealed, to: export, force: true) }
                } else { try await convert() }
            #expect(error?.code == .cannotCreate && error?.code.kind == .cannotCreate, "\(what)")
            #expect(try Files.snapshot(directory.path) == before, "\(what)")
        }
    }

    // MARK: - Dates

    /// Gives a file a date whose nanoseconds since 1970 no 64-bit number holds; false where the file system cannot.
    private func moveToYear2300(_ path: FilePath) throws -> Bool {
        let date = Date(timeIntervalSince1970: 10_413_792_000)
        try FileManager.default.setAttributes([.modificationDate: date], ofItemAtPath: path.string)
        return FileIdentity(path)?.modifiedSeconds == 10_413_792_000
    }

    @Test func filesOfTheYear2300() async throws {
        let sample = try await Sample()
        for name in try Files.snapshot(sample.source).keys.sorted() {
            guard try moveToYear2300(sample.source.pushing(FilePath(name))) else { return }
        }
        let target = sample.directory.at("new")
        try await Verbs.convert(sample.source, to: target)
        #expect(try Files.snapshot(target) == Files.snapshot(sample.sealed))
        for name in try Files.snapshot(target).keys.sorted() {
            let moved = try moveToYear2300(target.pushing(FilePath(name)))
            #expect(moved, "\(name)")
        }
        #expect(try await Verbs.verify(target, against: sample.source).holds)
        try await Verbs.export(target, to: sample.directory.at("out"))
    }

    // MARK: - What --force replaces

    @Test func forceRefusesABogusManifest() async throws {
        let sample = try await Sample()
        let real = try Files.read(sample.sealed.appending(Manifest.fileName))
        let files = try Files.snapshot(sample.sealed).keys.filter { $0 != Manifest.fileName }
        for text in ["", "{}", "{\"format\": \"ingot-manifest\", \"version\": 1, \"files\": []}"] {
            try Files.write(text, to: sample.sealed.appending(Manifest.fileName))
            try await sample.expectRefusal("the manifest `\(text)` beside its shards")
        }
        for name in files { try Directory.removeFile(sample.sealed.pushing(FilePath(name))) }
        try await sample.expectRefusal("a bogus manifest alone")
        try Files.write(real, to: sample.sealed.appending(Manifest.fileName))
        try Files.write("work of years", to: sample.sealed.appending("thesis.tex"))
        try await sample.expectRefusal("another's manifest beside a file of the user's")
    }

    @Test func forceRefusesACheckpointWithAFileOfTheUsers() async throws {
        let sample = try await Sample()
        try Files.write("mine", to: sample.sealed.appending("notes.txt"))
        try await sample.expectRefusal("a file")
        try Directory.removeFile(sample.sealed.appending("notes.txt"))
        let below = sample.sealed.appending("code").appending("notes.txt")
        try Files.write("mine", to: below)
        try await sample.expectRefusal("a file in a folder of ours")
        try Directory.removeFile(below)
        try Directory.create(sample.sealed.appending("mine"))
        try Files.write("mine", to: sample.sealed.appending("mine").appending("config.json"))
        try await sample.expectRefusal("a file in a folder of the user's")
        try Directory.removeTree(sample.sealed.appending("mine"))
        #expect(try await sample.convert() == nil)
        #expect(try await Verbs.verify(sample.sealed, against: sample.source).holds)
    }

    @Test func forceRefusesAnExportWithAFileOfTheUsers() async throws {
        let sample = try await Sample()
        let output = sample.directory.at("out")
        try await Verbs.export(sample.sealed, to: output)
        let before = try Files.snapshot(output)
        let place = output.appending("code").appending("notes.txt")
        try Files.write("mine", to: place)
        try await sample.expectRefusal("a file in a folder", export: output)
        try Directory.removeFile(place)
        try await Verbs.export(sample.sealed, to: output, force: true)
        #expect(try Files.snapshot(output) == before)
    }

    // MARK: - Names

    /// A path whose last component is no UTF-8.
    private func nameless(in path: FilePath) throws -> FilePath {
        let bytes = Array("x".utf8) + [0xFF, 0xFE] + Array(".txt".utf8) + [0]
        let name = unsafe FilePath.Component(platformString: bytes.map { CChar(bitPattern: $0) })
        return path.appending(try #require(name))
    }

    /// How many names a directory has that are no UTF-8.
    private func namelessCount(_ path: FilePath) throws -> Int { try Directory.entries(path).count { !$0.isText } }

    @Test func namesThatAreNotUTF8() async throws {
        let sample = try await Sample()
        // Some file systems refuse such names.
        guard (try? Files.write("mine", to: nameless(in: sample.sealed))) != nil else { return }
        let before = try #require(FileIdentity(sample.sealed))
        #expect(try await sample.convert()?.code == .cannotCreate)
        #expect(FileIdentity(sample.sealed)?.isSameFile(as: before) == true)
        #expect(try namelessCount(sample.sealed) == 1)
        #expect(try Files.read(nameless(in: sample.sealed)) == Array("mine".utf8))
        #expect(Files.names(sample.directory.path) == ["sealed", "source"])

        try Files.write("lost", to: nameless(in: sample.source))
        let target = sample.directory.at("new")
        let report = try await Verbs.convert(sample.source, to: target)
        #expect(report.skipped.map(\.reason) == ["its name is not UTF-8"])
        #expect(try namelessCount(target) == 0)
        #expect(try await Verbs.verify(target, against: sample.source).holds)

        // The name as it looks with its bytes replaced, in the manifest, does not cover it.
        let twin = Files.names(sample.sealed).first { $0.contains("\u{FFFD}") } ?? ""
        try Files.write("twin", to: sample.source.appending(twin))
        try Directory.removeTree(target)
        try await Verbs.convert(sample.source, to: target)
        try Directory.removeFile(target.appending(twin))
        try Files.write("mine", to: nameless(in: target))
        var options = Verbs.options()
        options.run.force = true
        let error = try await Verbs.failure { try await Verbs.convert(sample.source, to: target, options) }
        #expect(error?.code == .cannotCreate)
        #expect(try namelessCount(target) == 1)

        try Directory.create(sample.sealed.appending("folder"))
        try Files.write("mine", to: nameless(in: sample.sealed.appending("folder")))
        try Directory.create(nameless(in: sample.directory.path))
        try Files.write("mine", to: nameless(in: nameless(in: sample.directory.path)))
        try Directory.removeTree(sample.sealed)
        try Directory.removeTree(nameless(in: sample.directory.path))
        #expect(Files.names(sample.directory.path) == ["new", "source"])
    }

    /// Characters that join the one before them, which in a shard's metadata is the colon of `ingot:`.
    @Test(arguments: [EncodingOptions.Scheme.uniform, .lossless])
    func namesThatBeginWithACombiningCharacter(scheme: EncodingOptions.Scheme) async throws {
        let directory = try TemporaryDirectory()
        let names = ["\u{301}x.weight", "\u{200D}x.weight", "\u{FE0F}x.weight", "x.weight", "\u{301}"]
        let tensors = names.map { SampleTensor($0, .f16, [2, 40]) } + [SampleTensor("\u{FE0F}norm", .f16, [3])]
        let source = try SampleSource.write([tensors], to: directory.at("source"))
        let target = directory.at("sealed")
        try await Verbs.convert(source, to: target, Verbs.options(scheme))
        let report = try await Verbs.verify(target, against: source)
        #expect(report.holds)
        #expect(report.tensors.map { Array($0.name.text.utf8) } == tensors.map { Array($0.name.utf8) })
        try await Verbs.export(target, to: directory.at("out"))
        let exported = try Verbs.tensors(directory.at("out"))
        #expect(
            Set(exported.keys.map { Array($0.text.utf8) }) == Set(tensors.map { Array($0.name.utf8) }))
        if scheme == .lossless {
            for tensor in tensors { #expect(exported[TensorName(tensor.name)]?.bytes == tensor.bytes) }
        }
    }

    /// With room for no suffix: the longest name a file can have is 255 bytes.
    @Test(arguments: [201, 250, 255])
    func companionWithALongName(length: Int) async throws {
        let directory = try TemporaryDirectory()
        let name = String(repeating: "n", count: length - 4) + ".txt"
        let source = try SampleSource.write(
            [[SampleTensor("a.weight", .f16, [2, 40])]], to: directory.at("source"), companions: [name: "text"])
        let target = directory.at("sealed")
        try await Verbs.convert(source, to: target)
        #expect(Files.names(target).contains(name))
        #expect(try await Verbs.verify(target, against: source).holds)
        try await Verbs.export(target, to: directory.at("out"))
        #expect(try Files.read(directory.at("out").appending(name)) == Array("text".utf8))
    }

    // MARK: - Configurations

    private func roundTrip(configuration text: String) async throws -> IngotError? {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            [[SampleTensor("a.weight", .f16, [2, 40])]], to: directory.at("source"), companions: ["config.json": text])
        let target = directory.at("sealed")
        let output = directory.at("out")
        let error = try await Verbs.failure {
            try await Verbs.convert(source, to: target)
            #expect(try await Verbs.verify(target, against: source).holds)
            try await Verbs.export(target, to: output)
        }
        if error == nil {
            let sealed = try Files.read(target.appending("config.json"))
            #expect(String(decoding: sealed, as: UTF8.self).contains("\"quantization_config\": {"))
            #expect(try Files.read(output.appending("config.json")) == Array(text.utf8))
        }
        return error
    }

    @Test func configurationOfManyKeys() async throws {
        let members = (0..<100_000).map { "\"key \($0)\": \($0)" }.joined(separator: ",\n  ")
        #expect(try await roundTrip(configuration: "{\n  \(members)\n}\n") == nil)
    }

    @Test(arguments: [
        "{\"a\": NaN, \"b\": [Infinity, -Infinity, 1], \"c\": {\"d\": NaN}}\n", "{\"a\":NaN}", "{\"a\":-Infinity }",
        "{\n  \"rope\": {\"beta\": Infinity},\n  \"x\": 1\n}\n",
    ])
    func configurationWithNonFiniteNumbers(text: String) async throws {
        #expect(try await roundTrip(configuration: text) == nil)
    }

    /// Keys are their bytes: what looks the same need not be.
    @Test func configurationKeysAreBytes() async throws {
        #expect(try await roundTrip(configuration: "{\"\u{E9}\": 1, \"e\u{301}\": 2}\n") == nil)
        for text in ["{\"\u{E9}\": 1, \"\u{E9}\": 2}", "{\"e\u{301}\": 1, \"a\": 0, \"e\u{301}\": 1}"] {
            let error = try await roundTrip(configuration: text)
            #expect(error?.code == .duplicateKey && error?.code.kind == .badData)
        }
    }

    // MARK: - Values

    @Test(arguments: [Float(-3.4e38), 65520])
    func keptValueTooLargeForF16(value: Float) async throws {
        let directory = try TemporaryDirectory()
        let tensors = [
            SampleTensor("a.weight", .f16, [2, 40]), SampleTensor("norm.weight", .f32, [2], values: [1, value]),
        ]
        let target = directory.at("sealed")
        try await Verbs.convert(SampleSource.write([tensors], to: directory.at("source")), to: target)
        let error = try await Verbs.failure { try await Verbs.export(target, to: directory.at("out"), as: .f16) }
        #expect(error?.code == .valueOutOfRange)
        #expect(error?.tensor == TensorName("norm.weight"))
        #expect(error?.file == target.appending("model.safetensors").string)
        #expect(Files.names(directory.path) == ["sealed", "source"])
        try await Verbs.export(target, to: directory.at("out"), as: .f32)
    }
}
