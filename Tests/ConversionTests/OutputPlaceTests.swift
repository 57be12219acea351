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

/// Where an output may go: refused before work what would destroy something, replaced only what is ours.
@Suite struct OutputPlaceTests {
    private struct Place {
        let directory = try? TemporaryDirectory()
        let source: FilePath
        let target: FilePath

        init() throws {
            guard let directory else { throw Errno.noSpace }
            source = try SampleSource.write(SampleSource.small(), to: directory.at("source"))
            target = directory.at("sealed")
        }

        func at(_ name: String) -> FilePath { source.removingLastComponent().appending(name) }

        /// The error of a conversion that must leave everything as it was.
        func refusal(_ source: FilePath? = nil, to target: FilePath, force: Bool = false) async throws
            -> IngotError?
        {
            let all = self.source.removingLastComponent()
            let before = try Files.snapshot(all)
            let names = Files.names(all)
            var options = Verbs.options()
            options.run.force = force
            let error = try await Verbs.failure {
                try await Verbs.convert(source ?? self.source, to: target, options)
            }
            #expect(try Files.snapshot(all) == before)
            #expect(Files.names(all) == names)
            return error
        }
    }

    /// W05: what is there is refused.
    @Test func existingOutputs() async throws {
        let place = try Place()
        try await Verbs.convert(place.source, to: place.target)
        #expect(try await place.refusal(to: place.target)?.code == .cannotCreate)
        try Directory.create(place.at("empty"))
        #expect(try await place.refusal(to: place.at("empty"))?.code == .cannotCreate)
        try Files.write("text", to: place.at("file"))
        #expect(try await place.refusal(to: place.at("file"))?.code == .cannotCreate)
        #expect(try await place.refusal(to: place.at("file"), force: true)?.code == .cannotCreate)
        #expect(try await place.refusal(to: place.at("file").appending("below"))?.code.kind == .cannotCreate)
        #expect(try await place.refusal(to: place.at("missing").appending("below"))?.code.kind == .cannotCreate)
    }

    /// W05: so is an output in the input, by whatever name.
    @Test(arguments: [false, true])
    func outputsInTheInput(force: Bool) async throws {
        let place = try Place()
        let source = place.source
        for target in [source, source.appending("."), source.appending("below"), source.appending("../source")] {
            let error = try await place.refusal(to: target, force: force)
            #expect(error?.code == .cannotCreate, "\(target)")
        }
        try FileManager.default.createSymbolicLink(
            atPath: place.at("link").string, withDestinationPath: source.string)
        #expect(try await place.refusal(to: place.at("link"), force: force)?.code == .cannotCreate)
        #expect(try await place.refusal(to: place.at("link").appending("x"), force: force)?.code == .cannotCreate)
        #expect(try await place.refusal(place.at("link"), to: source, force: force)?.code == .cannotCreate)
        // The input lies in the output.
        let file = source.appending(SampleSource.shardName(0, of: 2))
        #expect(try await place.refusal(file, to: source, force: force)?.code == .cannotCreate)
        #expect(try await place.refusal(file, to: file, force: force)?.code == .cannotCreate)
        let above = source.removingLastComponent()
        #expect(try await place.refusal(to: above, force: force)?.code == .cannotCreate)
    }

    /// A file beside its output is fine, and so is an output that only begins with the input's name.
    @Test func outputsBesideTheInput() async throws {
        let place = try Place()
        let file = place.at("model.safetensors")
        try SampleSource.writeShard([SampleTensor("a.weight", .f16, [2, 64])], to: file)
        try await Verbs.convert(file, to: place.at("model"))
        try await Verbs.convert(place.source, to: place.at("source-4bit"))
        try await Verbs.convert(place.source, to: place.at("with-slash").appending("."))
        #expect(Files.names(place.at("")).filter { $0.hasPrefix(".") } == [])
    }

    @Test func forceReplacesOnlyOurs() async throws {
        let place = try Place()
        try Directory.create(place.at("precious"))
        try Files.write("work of years", to: place.at("precious").appending("thesis.tex"))
        #expect(try await place.refusal(to: place.at("precious"), force: true)?.code == .cannotCreate)
        let other = try SampleSource.write(SampleSource.small(seed: 4), to: place.at("other"))
        try await Verbs.convert(other, to: place.target)
        var options = Verbs.options()
        options.run.force = true
        try await Verbs.convert(place.source, to: place.target, options)
        #expect(try await Verbs.verify(place.target, against: place.source).holds)
        try Directory.create(place.at("empty"))
        try await Verbs.convert(place.source, to: place.at("empty"), options)
        #expect(try Files.snapshot(place.at("empty")) == Files.snapshot(place.target))
        #expect(Files.names(place.at("")) == ["empty", "other", "precious", "sealed", "source"])
    }

    /// A conversion that fails leaves the checkpoint it would have replaced.
    @Test func forceKeepsTheOldOneUntilTheEnd() async throws {
        let place = try Place()
        try await Verbs.convert(place.source, to: place.target)
        let bad = try SampleSource.write(
            [[SampleTensor("z.weight", .f16, [20, 40], values: [Float](repeating: .nan, count: 800))]],
            to: place.at("bad"))
        #expect(try await place.refusal(bad, to: place.target, force: true)?.code == .nonFinite)
        #expect(try await Verbs.verify(place.target, against: place.source).holds)
    }

    @Test func exportReplacesOnlyExports() async throws {
        let place = try Place()
        try await Verbs.convert(place.source, to: place.target)
        try await Verbs.export(place.target, to: place.at("out"))
        let before = try Files.snapshot(place.at("out"))
        let refused = try await Verbs.failure { try await Verbs.export(place.target, to: place.at("out")) }
        #expect(refused?.code == .cannotCreate)
        try await Verbs.export(place.target, to: place.at("out"), force: true)
        #expect(try Files.snapshot(place.at("out")) == before)
        for path in [place.source, place.target, place.target.appending("below")] {
            let error = try await Verbs.failure { try await Verbs.export(place.target, to: path, force: true) }
            #expect(error?.code == .cannotCreate, "\(path)")
        }
        #expect(Files.names(place.at("")) == ["out", "sealed", "source"])
    }

    /// W05: Source and output can be on different file systems; the output's own parent is all that counts.
    @Test func sourceOnAnotherFileSystem() async throws {
        let place = try Place()
        let memory = FilePath("/dev/shm")
        guard try Directory.kind(memory) == .directory else { return }
        let source = memory.appending("ingot-test-\(UInt64.random(in: 0...UInt64.max))")
        defer { try? Directory.removeTree(source) }
        try SampleSource.write(SampleSource.small(), to: source)
        try await Verbs.convert(source, to: place.target)
        #expect(try await Verbs.verify(place.target, against: place.source).holds)
    }

    // MARK: - The source changes

    /// Converts, and changes the source when the first shard begins to be written.
    private func failure(_ place: Place, _ change: @escaping @Sendable () throws -> Void) async throws -> IngotError? {
        let changed = Mutex(false)
        let hook = SystemCallHook { call throws(Errno) in
            guard call.name == "open", call.path.hasSuffix(".ingot-tmp"), changed.withLock({ !$0 }) else { return }
            changed.withLock { $0 = true }
            do {
                try change()
            } catch {
                throw Errno.ioError
            }
        }
        return try await Verbs.failure {
            try await SystemCallHook.$current.withValue(hook) {
                _ = try await Verbs.convert(place.source, to: place.target)
            }
        }
    }

    /// W07: no output of a source that shrinks meanwhile.
    @Test func sourceTruncatedDuringTheRun() async throws {
        let place = try Place()
        let shard = place.source.appending(SampleSource.shardName(1, of: 2))
        let error = try await failure(place) { try Files.write(Array(Files.read(shard).prefix(100)), to: shard) }
        #expect(error?.code == .sourceChanged)
        #expect(error?.code.kind == .system)
        #expect(Files.names(place.at("")) == ["source"])
    }

    /// W07: none of one that is written anew.
    @Test func sourceRewrittenDuringTheRun() async throws {
        let place = try Place()
        let shard = place.source.appending(SampleSource.shardName(0, of: 2))
        let error = try await failure(place) {
            let bytes = try Files.read(shard)
            try Directory.removeFile(shard)
            try Files.write(bytes, to: shard)
        }
        #expect(error?.code == .sourceChanged)
        #expect(Files.names(place.at("")) == ["source"])
    }
}
