import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Names of files and tensors that are not UTF-8, combine with what stands before them, or are as long as a name can be.
@Suite struct OddNameTests {
    /// A path whose last component is no UTF-8.
    private func nameless(in path: FilePath) throws -> FilePath {
        let bytes = Array("x".utf8) + [0xFF, 0xFE] + Array(".txt".utf8) + [0]
        let name = unsafe FilePath.Component(platformString: bytes.map { CChar(bitPattern: $0) })
        return path.appending(try #require(name))
    }

    /// How many names a directory has that are no UTF-8.
    private func namelessCount(_ path: FilePath) throws -> Int { try Directory.entries(path).count { !$0.isText } }

    @Test func namesThatAreNotUTF8() async throws {
        let sample = try await CompanionSample()
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
}
