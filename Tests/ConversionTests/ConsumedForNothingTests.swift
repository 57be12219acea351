import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Foundation
import Inspection
import Synchronization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Limits of those who read the output: asked before the first shard is written, and before a shard of the source goes.
@Suite struct ConsumedForNothingTests {
    /// Requires that a conversion is refused before it writes or deletes anything.
    private func expectRefusal(
        _ source: FilePath, to target: FilePath, _ words: [String], code: IngotError.Code = .cannotCreate,
        location: SourceLocation = #_sourceLocation
    ) async throws {
        let before = try ConsumedForNothingTests.listing(source)
        for consumes in [false, true] {
            var options = Verbs.options()
            options.run.consumesSource = consumes
            let watch = CallWatch()
            let error = try await watch.run {
                try await Verbs.failure { try await Verbs.convert(source, to: target, options) }
            }
            #expect(error?.code == code, "\(String(describing: error))", sourceLocation: location)
            for word in words {
                #expect(
                    "\(error?.file ?? "") \(error?.found ?? "") \(error?.expected ?? "")".contains(word),
                    "\(word): \(String(describing: error))", sourceLocation: location)
            }
            let changes = watch.trace.filter {
                $0.path.hasSuffix(".safetensors.ingot-tmp") || $0.name == "unlink" && $0.path.hasPrefix(source.string)
            }
            #expect(changes.isEmpty, sourceLocation: location)
            #expect(try ConsumedForNothingTests.listing(source) == before, sourceLocation: location)
            #expect(FileIdentity(target) == nil, sourceLocation: location)
            #expect(
                Files.names(target.removingLastComponent()).filter { $0.hasPrefix(".") } == [], sourceLocation: location
            )
        }
    }

    private static func listing(_ path: FilePath) throws -> [String] { try Directory.tree(path).map(\.name) }

    // MARK: - The manifest

    /// Files whose names are as long as a list of files can have them: 1400 of them fill a manifest.
    private static func addManyFiles(to source: FilePath, count: Int = 1500) throws -> FilePath {
        // A control character takes six bytes in JSON.
        let long = String(repeating: "\u{1}", count: 240)
        let first = source.appending(long + "0")
        var place = first
        try Directory.create(place)
        for level in 1..<3 {
            place.append(long + "\(level)")
            try Directory.create(place)
        }
        for number in 0..<count { try Files.write("", to: place.appending(long + "\(number)")) }
        return first
    }

    /// W15: a list of files that no reader takes.
    @Test func manifestTooLarge() async throws {
        let place = try ShardedPlace()
        let many = try ConsumedForNothingTests.addManyFiles(to: place.source)
        try await expectRefusal(place.source, to: place.target, ["1505 files", "manifest", "8388608"])
        try Directory.removeTree(many)
        try await place.convert { $0.run.consumesSource = true }
        #expect(try SealedCheckpoint(place.target).shards.count == ShardedPlace.count)
    }

    /// The longest list that is taken is one that readers take.
    @Test func manifestAsLargeAsItMayBe() async throws {
        let place = try ShardedPlace()
        let maximum = try ConsumedForNothingTests.maximumFiles(place)
        let many = try ConsumedForNothingTests.addManyFiles(to: place.source, count: maximum)
        try await place.convert { $0.run.consumesSource = true }
        #expect(try SealedCheckpoint(place.target).manifest.files.count == maximum + 6)
        try Directory.removeTree(many)
        let bytes = try Files.read(place.target.appending(Manifest.fileName)).count
        #expect(bytes > 8_000_000 && bytes <= 8_388_608, "\(bytes) bytes")
    }

    /// A number of files whose list is hardly shorter than it may be.
    private static func maximumFiles(_ place: ShardedPlace) throws -> Int { 8_388_608 / (4 * 6 * 240 + 130) - 5 }

    /// Files that come while the first shard is converted: no further shard goes, and once they are away the run ends.
    @Test func filesThatComeLater() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        let many = Mutex<FilePath?>(nil)
        let watch = CallWatch { _, call in
            guard call.name == "rename", call.path == place.workShard(1).string else { return nil }
            let path = try? ConsumedForNothingTests.addManyFiles(to: place.source)
            many.withLock { $0 = path }
            return nil
        }
        let error = try await watch.run { try await place.failure { $0.run.consumesSource = true } }
        #expect(
            error?.code == .cannotCreate && error?.found.contains("manifest") == true, "\(String(describing: error))")
        #expect([1, 2].allSatisfy { FileIdentity(place.sourceShard($0)) != nil })
        #expect(FileIdentity(place.sourceShard(0)) == nil && FileIdentity(place.target) == nil)
        try Directory.removeTree(#require(many.withLock { $0 }))
        #expect(try await place.convert { $0.run.consumesSource = true }.resumedShards == 2)
        try place.expectFinished(expected)
    }

    /// Files that come behind the last shard: the end is refused, and what was made waits.
    @Test(arguments: [false, true])
    func filesThatComeAtTheEnd(consumes: Bool) async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        let many = Mutex<FilePath?>(nil)
        let watch = CallWatch { _, call in
            let isLast =
                consumes
                ? call.name == "unlink" && call.path == place.sourceShard(2).string
                : call.name == "rename" && call.path == place.workShard(2).string
            guard isLast else { return nil }
            let path = try? ConsumedForNothingTests.addManyFiles(to: place.source)
            many.withLock { $0 = path }
            return nil
        }
        let error = try await watch.run { try await place.failure { $0.run.consumesSource = consumes } }
        #expect(
            error?.code == .cannotCreate && error?.found.contains("manifest") == true, "\(String(describing: error))")
        #expect(error?.remedy.text.contains("3 of 3 shards are done") == true)
        #expect(FileIdentity(place.target) == nil)
        try Directory.removeTree(#require(many.withLock { $0 }))
        #expect(try await place.convert { $0.run.consumesSource = consumes }.resumedShards == 3)
        try place.expectFinished(expected)
    }

    // MARK: - Names

    /// A source whose shards have names of their own.
    private static func oddSource(in directory: TemporaryDirectory) throws -> FilePath {
        let source = try SampleSource.write(SampleSource.small(), to: directory.at("source"))
        let index = source.appending("model.safetensors.index.json")
        var text = String(decoding: try Files.read(index), as: UTF8.self)
        for number in 0..<2 {
            let name = SampleSource.shardName(number, of: 2)
            try Directory.rename(source.appending(name), to: source.appending("part-\(number).safetensors"))
            text = text.replacing(name, with: "part-\(number).safetensors")
        }
        try Files.write(text, to: index)
        return source
    }

    /// W15: a directory under the name of a file of the output.
    @Test(arguments: [SampleSource.shardName(0, of: 2), SampleSource.shardName(1, of: 2)])
    func directoriesNamedAsOutputs(name: String) async throws {
        let directory = try TemporaryDirectory()
        let source = try ConsumedForNothingTests.oddSource(in: directory)
        try Directory.create(source.appending(name))
        try Files.write("x", to: source.appending(name).appending("x.txt"))
        try await expectRefusal(source, to: directory.at("sealed"), [name + "/x.txt", "a name that the output needs"])
        // Where nothing of it is copied, it is in nobody's way.
        try Directory.removeFile(source.appending(name).appending("x.txt"))
        try await Verbs.convert(source, to: directory.at("sealed"))
        #expect(try await Verbs.verify(directory.at("sealed"), against: source).holds)
    }

    /// The manifest's name makes a source one of ours.
    @Test func directoryNamedAsTheManifest() async throws {
        let directory = try TemporaryDirectory()
        let source = try ConsumedForNothingTests.oddSource(in: directory)
        try Directory.create(source.appending(Manifest.fileName))
        try Files.write("x", to: source.appending(Manifest.fileName).appending("x.txt"))
        try await expectRefusal(source, to: directory.at("sealed"), [], code: .unsupportedSource)
    }

    /// The index's too, for a model of one shard that has none.
    @Test func directoryNamedAsTheIndex() async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write([SampleSource.small()[0]], to: directory.at("source"))
        let name = "model.safetensors.index.json"
        try Directory.create(source.appending(name))
        try Files.write("x", to: source.appending(name).appending("x.txt"))
        let error = try await Verbs.failure { try await Verbs.convert(source, to: directory.at("sealed")) }
        #expect(error != nil && FileIdentity(directory.at("sealed")) == nil)
        #expect(Files.names(directory.path) == ["source"])
    }

    /// W15: paths that fit into the source, and not into the output.
    @Test func pathsTooLong() async throws {
        let directory = try TemporaryDirectory()
        let source = try ConsumedForNothingTests.oddSource(in: directory)
        var place = source
        for _ in 0..<3 {
            place.append(String(repeating: "n", count: 250))
            try Directory.create(place)
        }
        try Files.write("x", to: place.appending(String(repeating: "n", count: 250)))
        var parent = directory.path
        while parent.string.utf8.count < 2900 {
            parent.append(String(repeating: "d", count: 100))
            try Directory.create(parent)
        }
        parent.append("e")
        try Directory.create(parent)
        try await Verbs.convert(source, to: parent.appending("sealed"))
        var longer = parent
        while longer.string.utf8.count < 3080 {
            longer.append(String(repeating: "f", count: 30))
            try Directory.create(longer)
        }
        try await expectRefusal(source, to: longer.appending("sealed"), ["a path of ", "4095"])
    }

    // MARK: - Other limits

    /// W15: a configuration that is too long only with what is added to it.
    @Test func configurationTooLarge() async throws {
        let directory = try TemporaryDirectory()
        let source = try ConsumedForNothingTests.oddSource(in: directory)
        let text = "{\"a\":\"\(String(repeating: "x", count: (16 << 20) - 40))\"}"
        try Files.write(text, to: source.appending("config.json"))
        try await expectRefusal(source, to: directory.at("sealed"), ["config.json", "16777216"])
    }

    /// Names that a later shard may not have are refused by the index, before the first is consumed.
    @Test func reservedNamesInALaterShard() async throws {
        let directory = try TemporaryDirectory()
        var shards = SampleSource.small()
        shards[1].append(SampleTensor("__ingot_seal__", .f16, [3]))
        let source = try SampleSource.write(shards, to: directory.at("source"))
        let before = try Files.snapshot(source)
        var options = Verbs.options()
        options.run.consumesSource = true
        options.run.follows = true
        let error = try await Verbs.failure { try await Verbs.convert(source, to: directory.at("sealed"), options) }
        #expect(error?.code == .reservedName && error?.tensor == TensorName("__ingot_seal__"))
        #expect(try Files.snapshot(source) == before)
        #expect(Files.names(directory.path) == ["source"])
    }

    /// W15: a source of as many tensors as a file may have: with its seal the output has one entry more.
    @Test func millionTensors() async throws {
        let directory = try TemporaryDirectory()
        let count = Limits.standard.tensorsPerFile
        let source = directory.at("source.safetensors")
        let shape = try #require(Shape([1]))
        let header = try SafetensorsWriter.header(
            tensors: (0..<count).map {
                SafetensorsWriter.Entry(name: TensorName("t\($0)"), elementType: .u8, shape: shape, byteCount: 1)
            })
        try Files.write(header + [UInt8](repeating: 7, count: count), to: source)
        try await Verbs.convert(source, to: directory.at("sealed"))
        let checkpoint = try SealedCheckpoint(directory.at("sealed"))
        #expect(checkpoint.shards[0].kept.count == count)
        #expect(checkpoint.shards[0].header.tensors.count == count + 1)
    }
}
