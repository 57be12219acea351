import Container
import Conversion
import ConversionSupport
import FileAccess
import Foundation
import Synchronization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `--force`: what is replaced is an earlier output and nothing else, when the run begins and when it ends.
@Suite struct ReplacementTests {
    /// A place with an earlier output of another source.
    private struct Replaceable {
        let place: ShardedPlace
        let expected: [String: [UInt8]]
        let old: [String: [UInt8]]

        init() async throws {
            place = try ShardedPlace()
            expected = try await place.expected()
            let other = try SampleSource.write(
                ShardedPlace.shards(seed: 8), to: place.directory.at("other"),
                companions: ["config.json": "{}\n", "notes.txt": "old"])
            try await Verbs.convert(other, to: place.target, place.options)
            try Directory.removeTree(other)
            old = try Files.snapshot(place.target)
        }

        func force(_ options: inout ConversionOptions) { options.run.force = true }

        /// Requires that the work waits beside the target, and that the same command ends it.
        func expectFinishes(_ location: SourceLocation = #_sourceLocation) async throws {
            #expect(
                place.leftovers == [".sealed.ingot-journal", ".sealed.ingot-partial"], sourceLocation: location)
            let report = try await place.convert(force)
            #expect(report.resumedShards == ShardedPlace.count, sourceLocation: location)
            try place.expectFinished(expected, location: location)
        }
    }

    // MARK: - At the start

    enum Edit: CaseIterable, Sendable {
        case companion, configuration, index, addedFile, addedBelow, shardCut, shardSealed, shardReplaced, manifest

        func make(in target: FilePath) throws -> String {
            let shard = ShardedPlace.shardName(1)
            switch self {
            case .companion:
                try Files.write("new", to: target.appending("notes.txt"))
                return "notes.txt"
            case .configuration:
                let path = target.appending("config.json")
                try Files.patch([UInt8(ascii: " ")], at: Files.read(path).count - 1, in: path)
                return "config.json"
            case .index:
                try Files.write("{}", to: target.appending("model.safetensors.index.json"))
                return "model.safetensors.index.json"
            case .addedFile:
                try Files.write("mine", to: target.appending("mine.txt"))
                return "mine.txt"
            case .addedBelow:
                try Directory.create(target.appending("below"))
                try Files.write("mine", to: target.appending("below").appending("mine.txt"))
                return "below/mine.txt"
            case .shardCut:
                try Files.write(Array(Files.read(target.appending(shard)).dropLast(64)), to: target.appending(shard))
            case .shardSealed:
                let path = target.appending(shard)
                let bytes = try Files.read(path)
                try Files.patch([bytes[bytes.count - 1] ^ 1], at: bytes.count - 1, in: path)
            case .shardReplaced:
                let other = try Files.read(target.appending(ShardedPlace.shardName(0)))
                try Files.write(other, to: target.appending(shard))
            case .manifest:
                let path = target.appending(Manifest.fileName)
                try Files.patch([Files.read(path)[30] ^ 1], at: 30, in: path)
                return "no conversion made"
            }
            return shard
        }
    }

    /// W17: what was edited since it was converted, or added, stays. The run is refused before any work.
    @Test(arguments: Edit.allCases)
    func editedBefore(edit: Edit) async throws {
        let replaceable = try await Replaceable()
        let place = replaceable.place
        let name = try edit.make(in: place.target)
        let before = try Files.snapshot(place.directory.path)
        let error = try await place.failure(replaceable.force)
        #expect(error?.code == .cannotCreate && error?.code.kind == .cannotCreate, "\(String(describing: error))")
        #expect("\(error?.file ?? "") \(error?.found ?? "")".contains(name), "\(String(describing: error))")
        #expect(try Files.snapshot(place.directory.path) == before)
    }

    /// What is gone is no loss.
    @Test func missingFiles() async throws {
        let replaceable = try await Replaceable()
        for name in ["notes.txt", ShardedPlace.shardName(2)] {
            try Directory.removeFile(replaceable.place.target.appending(name))
        }
        try await replaceable.place.convert(replaceable.force)
        try replaceable.place.expectFinished(replaceable.expected)
    }

    // MARK: - During the run

    /// Runs a conversion that changes something when a call is about to be made.
    private func failure(
        _ replaceable: Replaceable, at isMoment: @escaping @Sendable (SystemCall) -> Bool,
        _ change: @escaping @Sendable () throws -> Void
    ) async throws -> IngotError? {
        let isDone = Mutex(false)
        let watch = CallWatch { _, call in
            guard isMoment(call), isDone.withLock({ !$0 }) else { return nil }
            isDone.withLock { $0 = true }
            do {
                try change()
                return nil
            } catch {
                Issue.record("\(error)")
                return .ioError
            }
        }
        let error = try await watch.run { try await replaceable.place.failure(replaceable.force) }
        #expect(isDone.withLock { $0 })
        return error
    }

    enum Moment: CaseIterable, Sendable {
        case firstShard, manifest, exchange

        func isNow(_ call: SystemCall) -> Bool {
            switch self {
            case .firstShard: call.name == "open" && call.path.hasSuffix(ShardedPlace.temporaryName(0))
            case .manifest: call.name == "open" && call.path.hasSuffix(".\(Manifest.fileName).ingot-tmp")
            // The last check was made: only the one behind the exchange can see it.
            case .exchange: call.name.contains("EXCHANGE")
            }
        }
    }

    /// W17: a file that appears in the output stays, and so does the finished work.
    @Test(arguments: Moment.allCases)
    func appearsDuringTheRun(moment: Moment) async throws {
        let replaceable = try await Replaceable()
        let place = replaceable.place
        let mine = place.target.appending("mine.txt")
        let error = try await failure(replaceable, at: moment.isNow) { try Files.write("mine", to: mine) }
        #expect(error?.code == .cannotCreate && error?.file == mine.string, "\(String(describing: error))")
        #expect(error?.remedy.text.contains("3 of 3 shards are done") == true, "\(error?.remedy.text ?? "")")
        var expected = replaceable.old
        expected["mine.txt"] = Array("mine".utf8)
        #expect(try Files.snapshot(place.target) == expected)
        // It has to go before the output is replaced.
        #expect(try await place.failure(replaceable.force)?.code == .cannotCreate)
        try Directory.removeFile(mine)
        try await replaceable.expectFinishes()
    }

    /// A file of the output that is edited meanwhile, even to the same length and with its time set back.
    @Test(arguments: Moment.allCases, ["notes.txt", "config.json", ShardedPlace.shardName(0)])
    func editedDuringTheRun(moment: Moment, name: String) async throws {
        let replaceable = try await Replaceable()
        let place = replaceable.place
        let path = place.target.appending(name)
        let bytes = try Files.read(path)
        try FileTimes.waitForAnotherTick(in: place.directory)
        let error = try await failure(replaceable, at: moment.isNow) {
            try FileTimes.patch([bytes[1] ^ 1], at: 1, in: path)
        }
        #expect(error?.code == .cannotCreate && error?.file == path.string, "\(String(describing: error))")
        var expected = replaceable.old
        expected[name]?[1] ^= 1
        #expect(try Files.snapshot(place.target) == expected)
        try Files.write(bytes, to: path)
        try await replaceable.expectFinishes()
    }

    /// The output is moved away, and another directory takes its place.
    @Test func replacedDuringTheRun() async throws {
        let replaceable = try await Replaceable()
        let place = replaceable.place
        let away = place.directory.at("away")
        let error = try await failure(replaceable, at: Moment.manifest.isNow) {
            try Directory.rename(place.target, to: away)
            try Directory.create(place.target)
        }
        #expect(error?.code == .cannotCreate && error?.found.contains("another directory") == true)
        #expect(try Files.snapshot(away) == replaceable.old && Files.snapshot(place.target).isEmpty)
        try Directory.removeTree(away)
        try await replaceable.expectFinishes()
    }

    /// Where the exchange cannot be undone, the old directory stays under a name of its own.
    @Test func exchangeThatCannotBeUndone() async throws {
        let replaceable = try await Replaceable()
        let place = replaceable.place
        let exchanges = Mutex(0)
        let watch = CallWatch { _, call in
            guard call.name.contains("EXCHANGE") else { return nil }
            let number = exchanges.withLock { count in
                count += 1
                return count
            }
            guard number == 1 else { return .ioError }
            try? Files.write("mine", to: place.target.appending("mine.txt"))
            return nil
        }
        let error = try await watch.run { try await place.failure(replaceable.force) }
        let kept = place.directory.at(".sealed.ingot-replaced")
        #expect(error?.code == .cannotCreate && error?.file == kept.string, "\(String(describing: error))")
        #expect(try Files.read(kept.appending("mine.txt")) == Array("mine".utf8))
        #expect(try Files.snapshot(place.target) == replaceable.expected)
    }

    /// What appears in an export that is replaced, or changes there, stays too.
    @Test func exportsAreReplacedAlike() async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(SampleSource.small(), to: directory.at("source"))
        try await Verbs.convert(source, to: directory.at("sealed"))
        let output = directory.at("out")
        try await Verbs.export(directory.at("sealed"), to: output)
        let before = try Files.snapshot(output)
        try FileTimes.waitForAnotherTick(in: directory)
        for (name, isNew) in [("mine.txt", true), ("config.json", false)] {
            let isDone = Mutex(false)
            let watch = CallWatch { _, call in
                guard call.name == "open", call.path.hasSuffix(".ingot-tmp"), isDone.withLock({ !$0 }) else {
                    return nil
                }
                isDone.withLock { $0 = true }
                try? Files.write("mine", to: output.appending(name))
                return nil
            }
            let error = try await watch.run {
                try await Verbs.failure { try await Verbs.export(directory.at("sealed"), to: output, force: true) }
            }
            #expect(error?.code == .cannotCreate && error?.file == output.appending(name).string)
            #expect(try Files.read(output.appending(name)) == Array("mine".utf8))
            #expect(Files.names(directory.path) == ["out", "sealed", "source"])
            if isNew {
                try Directory.removeFile(output.appending(name))
            } else {
                try Files.write(before[name] ?? [], to: output.appending(name))
            }
        }
        try await Verbs.export(directory.at("sealed"), to: output, force: true)
        #expect(try Files.snapshot(output) == before)
    }

    /// A copy or the configuration of an export that was edited since, even to the same length. Exports of earlier versions have no manifest,
    /// only the list in their shards.
    @Test(arguments: ["config.json", "notes.txt"], [true, false])
    func editedExports(name: String, hasManifest: Bool) async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            SampleSource.small(), to: directory.at("source"),
            companions: ["config.json": "{\"torch_dtype\": \"float16\"}\n", "notes.txt": "notes"])
        try await Verbs.convert(source, to: directory.at("sealed"))
        let output = directory.at("out")
        let manifest = output.appending("ingot-export.json")
        try await Verbs.export(directory.at("sealed"), to: output)
        if !hasManifest { try Directory.removeFile(manifest) }
        // Another type changes the configuration, and is no edit.
        try await Verbs.export(directory.at("sealed"), to: output, as: .bf16, force: true)
        if !hasManifest { try Directory.removeFile(manifest) }
        let path = output.appending(name)
        try Files.patch([Files.read(path)[0] ^ 1], at: 0, in: path)
        let before = try Files.snapshot(output)
        let error = try await Verbs.failure { try await Verbs.export(directory.at("sealed"), to: output, force: true) }
        #expect(error?.code == .cannotCreate && error?.file == path.string, "\(String(describing: error))")
        #expect(try Files.snapshot(output) == before)
        #expect(Files.names(directory.path) == ["out", "sealed", "source"])
    }
}
