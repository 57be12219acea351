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

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// `--consume-source`: a shard of the source goes when its output is on the disk and verified, and no byte goes with it.
@Suite struct ConsumeTests {
    private static func consuming(_ options: inout ConversionOptions) { options.run.consumesSource = true }

    /// A place, and its source to be put back.
    private struct Consumable {
        let place: ShardedPlace
        let shards: [[UInt8]]
        let expected: [String: [UInt8]]

        init(_ place: ShardedPlace) async throws {
            self.place = place
            shards = try (0..<ShardedPlace.count).map { try Files.read(place.sourceShard($0)) }
            expected = try await place.expected()
        }

        func restoreSource() throws {
            for (position, bytes) in shards.enumerated() { try Files.write(bytes, to: place.sourceShard(position)) }
        }

        var remaining: [Int] {
            (0..<ShardedPlace.count).filter { FileIdentity(place.sourceShard($0)) != nil }
        }

        /// Requires that every shard is in the source, unchanged, or its output, the right one, in the work or the target.
        func expectNothingLost(_ what: String) throws {
            for position in 0..<ShardedPlace.count {
                let name = ShardedPlace.shardName(position)
                if FileIdentity(place.sourceShard(position)) != nil {
                    #expect(try Files.read(place.sourceShard(position)) == shards[position], "\(what): \(name)")
                } else {
                    let places = [place.work, place.target].map { $0.appending(name) }
                    let outputs = places.filter { FileIdentity($0) != nil }
                    #expect(outputs.count == 1, "\(what): \(name) is neither source nor output")
                    for output in outputs { #expect(try Files.read(output) == expected[name], "\(what): \(name)") }
                }
            }
        }
    }

    // MARK: - The usual way

    @Test func everythingIsConsumed() async throws {
        let consumable = try await Consumable(ShardedPlace())
        let told = ToldEvents()
        try await told.convert(consumable.place, ConsumeTests.consuming)
        #expect(told.consumed == (0..<ShardedPlace.count).map(ShardedPlace.shardName))
        #expect(consumable.remaining == [])
        #expect(
            Files.names(consumable.place.source) == ["config.json", "model.safetensors.index.json", "tokenizer.json"])
        try consumable.place.expectFinished(consumable.expected)
        try consumable.restoreSource()
        #expect(try await Verbs.verify(consumable.place.target, against: consumable.place.source).holds)
    }

    /// Sealed, on the disk, named, in the journal, read again, said to be consumed, deleted: in this order, shard by shard.
    @Test func orderOfConsumption() async throws {
        let place = try ShardedPlace()
        let watch = CallWatch()
        try await watch.run { _ = try await place.convert(ConsumeTests.consuming) }
        let trace = watch.trace
        var position = 0
        func next(_ name: String, _ path: FilePath) throws {
            let found = trace.indices.dropFirst(position).first {
                trace[$0].name == name && trace[$0].path == path.string
            }
            position = try #require(found, "\(name)(\(path)) after call \(position)") + 1
        }
        for shard in 0..<ShardedPlace.count {
            let temporary = place.work.appending(ShardedPlace.temporaryName(shard))
            try next("fsync", temporary)
            try next("rename", place.workShard(shard))
            try next("fsync", place.work)
            try next("pwrite", place.journal)
            try next("fsync", place.journal)
            try next("open", place.workShard(shard))
            try next("pwrite", place.journal)
            try next("fsync", place.journal)
            try next("unlink", place.sourceShard(shard))
            try next("fsync", place.source)
            if shard + 1 < ShardedPlace.count {
                try next("open", place.work.appending(ShardedPlace.temporaryName(shard + 1)))
            }
        }
        let unlinks = trace.filter { $0.name == "unlink" && $0.path.hasPrefix(place.source.string) }
        #expect(unlinks.count == ShardedPlace.count)
    }

    /// One shard of the source and its output is the most there ever is beyond one of each.
    @Test func rateOverAllMatrices() async throws {
        var options = Verbs.options(.trellis)
        options.encoding.goal = .averageBits(4)
        let consumable = try await Consumable(ShardedPlace(ShardedPlace.shards(), options))
        try await consumable.place.interrupt(after: 2, ConsumeTests.consuming)
        #expect(consumable.remaining == [2])
        #expect(try await consumable.place.convert(ConsumeTests.consuming).resumedShards == 2)
        try consumable.place.expectFinished(consumable.expected)
    }

    // MARK: - Refusals

    private func expectRefusal(
        _ source: FilePath, _ word: String, location: SourceLocation = #_sourceLocation
    ) async throws {
        let above = source.removingLastComponent()
        let before = try Files.snapshot(above)
        var options = Verbs.options()
        options.run.consumesSource = true
        let target = above.appending("refused")
        let error = try await Verbs.failure { try await Verbs.convert(source, to: target, options) }
        #expect(error?.code == .usage && error?.code.kind == .request, sourceLocation: location)
        #expect(error?.found.contains(word) == true, "\(String(describing: error))", sourceLocation: location)
        #expect(try Files.snapshot(above) == before, sourceLocation: location)
    }

    @Test func sourcesThatAreNotInShards() async throws {
        let directory = try TemporaryDirectory()
        let file = directory.at("one.safetensors")
        try SampleSource.writeShard([SampleTensor("a.weight", .f16, [2, 40])], to: file)
        try await expectRefusal(file, "not in shards")
        let lone = try SampleSource.write([[SampleTensor("a.weight", .f16, [2, 40])]], to: directory.at("lone"))
        try await expectRefusal(lone, "not in shards")
    }

    @Test func symbolicLinks() async throws {
        let place = try ShardedPlace()
        let path = place.sourceShard(1)
        let cached = place.directory.at("cached")
        try FileManager.default.moveItem(atPath: path.string, toPath: cached.string)
        try FileManager.default.createSymbolicLink(atPath: path.string, withDestinationPath: cached.string)
        try await expectRefusal(place.source, "symbolic link")
        #expect(try Directory.kind(cached) == .file)
    }

    @Test func hardLinks() async throws {
        let place = try ShardedPlace()
        try FileManager.default.linkItem(
            atPath: place.sourceShard(2).string, toPath: place.directory.at("second-name").string)
        try await expectRefusal(place.source, "2 names")
    }

    @Test func directoryThatMayNotBeWritten() async throws {
        let place = try ShardedPlace()
        guard geteuid() != 0 else {
            print("run by root, who may write anywhere: a directory without write permission is not tested")
            return
        }
        try FileManager.default.setAttributes([.posixPermissions: 0o555], ofItemAtPath: place.source.string)
        defer {
            try? FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: place.source.string)
        }
        try await expectRefusal(place.source, "may not be written")
    }

    /// The same where the system says so of any directory.
    @Test func directoryThatMayNotBeWrittenAsTheSystemSays() async throws {
        let place = try ShardedPlace()
        let watch = CallWatch { _, call in call.name == "access" ? .readOnlyFileSystem : nil }
        let error = try await watch.run { try await place.failure(ConsumeTests.consuming) }
        #expect(error?.code == .usage && error?.found.contains("may not be written") == true)
        #expect(place.leftovers == [] && Files.names(place.source).count == 6)
    }

    /// A second name that appears during the run keeps the shard.
    @Test func linkDuringTheRun() async throws {
        let consumable = try await Consumable(ShardedPlace())
        let place = consumable.place
        let second = place.directory.at("second-name")
        let watch = CallWatch { _, call in
            if call.name == "rename", call.path == place.workShard(0).string {
                try? FileManager.default.linkItem(atPath: place.sourceShard(0).string, toPath: second.string)
            }
            return nil
        }
        let error = try await watch.run { try await place.failure(ConsumeTests.consuming) }
        #expect(error?.code == .usage, "\(String(describing: error))")
        #expect(consumable.remaining == [0, 1, 2])
        try Directory.removeFile(second)
        try await place.convert(ConsumeTests.consuming)
        try place.expectFinished(consumable.expected)
    }

    // MARK: - Faults

    /// Whatever call fails, no shard is lost, and the next run makes what a run without consumption makes.
    @Test(arguments: [false, true])
    func nothingIsLost(atOnce: Bool) async throws {
        let consumable = try await Consumable(ShardedPlace())
        let place = consumable.place
        let counting = CallWatch()
        try await counting.run { _ = try await place.convert(ConsumeTests.consuming) }
        let count = counting.trace.count
        #expect(count > 200)
        var consumedEarlier = 0
        let numbers = Share.of(0..<count)
        for (index, number) in numbers.enumerated() {
            try Directory.removeTree(place.target)
            try consumable.restoreSource()
            let fault = CallWatch { call, _ in (atOnce ? call >= number : call == number) ? .ioError : nil }
            let error = try await fault.run { try await place.failure(ConsumeTests.consuming) }
            let what = "\(number) \(fault.trace[number])"
            try consumable.expectNothingLost(what)
            if try Directory.kind(place.target) == nil {
                #expect(error != nil, "\(what)")
                consumedEarlier += ShardedPlace.count - consumable.remaining.count
                // Without the option what is still there stays.
                let remaining = consumable.remaining
                let isPlain = index % 2 == 0
                let report = try await place.convert { $0.run.consumesSource = !isPlain }
                #expect(report.shardCount == ShardedPlace.count)
                #expect(consumable.remaining == (isPlain ? remaining : []), "\(what)")
            } else if FileIdentity(place.journal) != nil {
                _ = try await place.convert(ConsumeTests.consuming)
            }
            try? Directory.removeFile(place.directory.at(".sealed.ingot-lock"))
            try place.expectFinished(consumable.expected, what)
        }
        #expect(
            consumedEarlier > numbers.count / 2,
            "\(consumedEarlier) shards were consumed before \(numbers.count) faults")
        Tally.print(numbers.count, of: count, "W01 faults while a source is consumed, at once: \(atOnce)")
    }

    /// An output that is not what was written, when it is read again: the source stays.
    @Test(arguments: [0.3, 0.6, 0.99])
    func outputThatDoesNotVerify(place share: Double) async throws {
        let consumable = try await Consumable(ShardedPlace())
        let place = consumable.place
        let path = place.workShard(1)
        let isDone = Mutex(false)
        let watch = CallWatch { _, call in
            // The first opening behind the rename is that of the verification.
            guard call.name == "open", call.path == path.string, FileIdentity(path) != nil,
                isDone.withLock({ done in
                    defer { done = true }
                    return !done
                })
            else { return nil }
            guard let bytes = try? Files.read(path) else { return .ioError }
            let offset = Int(Double(bytes.count) * share)
            try? Files.patch([bytes[offset] ^ 0x20], at: offset, in: path)
            return nil
        }
        let error = try await watch.run { try await place.failure(ConsumeTests.consuming) }
        #expect(error != nil && [.disagreement, .badData].contains(error?.code.kind), "\(String(describing: error))")
        #expect(consumable.remaining == [1, 2])
        #expect(try Files.read(place.sourceShard(1)) == consumable.shards[1])
        let told = ToldEvents()
        try await told.convert(place, ConsumeTests.consuming)
        #expect(told.warnings.contains { $0.contains("converted again") }, "\(told.warnings)")
        try place.expectFinished(consumable.expected)
    }

    // MARK: - Going on after some were consumed

    @Test func restartIsRefused() async throws {
        let consumable = try await Consumable(ShardedPlace())
        let place = consumable.place
        try await place.interrupt(after: 1, ConsumeTests.consuming)
        let saved = try place.saved()
        for other in [false, true] {
            let error = try await place.failure { options in
                options.run.restarts = true
                if other { options.encoding.codec = .none }
            }
            #expect(error?.code == .cannotCreate && error?.found.contains("consumed") == true)
            #expect(try place.saved() == saved)
        }
        let error = try await place.failure { $0.encoding.codec = .none }
        #expect(error?.code == .cannotCreate)
        #expect(
            error?.remedy
                == "finish that conversion with its own options, or remove the directory and the journal beside it")
        #expect(try place.saved() == saved)
        try await place.convert()
        #expect(consumable.remaining == [1, 2])
        try place.expectFinished(consumable.expected)
    }

    enum Damage: CaseIterable, Sendable {
        case missing, flipped, truncated
    }

    /// The only copy is damaged: the error names what has to be fetched; then the run goes on.
    @Test(arguments: Damage.allCases)
    func damagedOutputOfAConsumedShard(damage: Damage) async throws {
        let consumable = try await Consumable(ShardedPlace())
        let place = consumable.place
        try await place.interrupt(after: 2, ConsumeTests.consuming)
        let path = place.workShard(1)
        let bytes = try Files.read(path)
        switch damage {
        case .missing: try Directory.removeFile(path)
        case .flipped: try Files.patch([bytes[bytes.count / 2] ^ 1], at: bytes.count / 2, in: path)
        case .truncated: try Files.write(Array(bytes.prefix(bytes.count / 2)), to: path)
        }
        for consumes in [false, true] {
            let error = try await place.failure { $0.run.consumesSource = consumes }
            #expect(error != nil && [.badData, .noInput].contains(error?.code.kind), "\(String(describing: error))")
            #expect(error?.remedy.text.contains(ShardedPlace.shardName(1)) == true, "\(error?.remedy.text ?? "")")
            #expect(error?.remedy.text.contains("fetch") == true)
            #expect(Files.names(place.work).contains(ShardedPlace.shardName(0)), "the other one stays")
        }
        // Something else under its name does not help, and does no harm.
        try Files.write(consumable.shards[0], to: place.sourceShard(1))
        #expect(try await place.failure(ConsumeTests.consuming) != nil)
        #expect(try Files.read(place.workShard(0)) == consumable.expected[ShardedPlace.shardName(0)])
        try Files.write(consumable.shards[1], to: place.sourceShard(1))
        let told = ToldEvents()
        #expect(try await told.convert(place, ConsumeTests.consuming).resumedShards == 1)
        #expect(told.consumed == [ShardedPlace.shardName(1), ShardedPlace.shardName(2)])
        #expect(consumable.remaining == [])
        try place.expectFinished(consumable.expected)
    }

    /// A consumed shard that is being fetched again, and not whole yet: its output, which is, stays.
    @Test func halfASourceBesideItsOutput() async throws {
        let consumable = try await Consumable(ShardedPlace())
        let place = consumable.place
        try await place.interrupt(after: 1, ConsumeTests.consuming)
        for half in [0, 5, 100, consumable.shards[0].count - 1] {
            try Files.write(Array(consumable.shards[0].prefix(half)), to: place.sourceShard(0))
            let error = try await place.failure(ConsumeTests.consuming)
            #expect(error != nil && error?.file?.hasSuffix(ShardedPlace.shardName(0)) == true, "\(half) bytes")
            #expect(
                try Files.read(place.workShard(0)) == consumable.expected[ShardedPlace.shardName(0)], "\(half) bytes")
        }
        try Directory.removeFile(place.sourceShard(0))
        #expect(try await place.convert(ConsumeTests.consuming).resumedShards == 1)
        try place.expectFinished(consumable.expected)
    }

    /// Without the lines of the journal that speak of consumed shards their outputs are not taken for rubbish.
    @Test func damagedJournalOfAConsumedSource() async throws {
        let consumable = try await Consumable(ShardedPlace())
        let place = consumable.place
        try await place.interrupt(after: 2, ConsumeTests.consuming)
        let saved = try place.saved()
        let bytes = try Files.read(place.journal)
        var damages = stride(from: 0, to: bytes.count, by: 61).map { offset in
            bytes.enumerated().map { $0 == offset ? $1 ^ 4 : $1 }
        }
        damages.append([])
        for damaged in Share.of(damages) {
            try place.restore(saved)
            try Files.write(damaged, to: place.journal)
            try await expectOutputsKept(consumable)
        }
        try place.restore(saved)
        try Directory.removeFile(place.journal)
        try await expectOutputsKept(consumable)
        // Fetched again, they are converted again, where the journal does not say better.
        try consumable.restoreSource()
        try await place.convert(ConsumeTests.consuming)
        try place.expectFinished(consumable.expected)
    }

    private func expectOutputsKept(_ consumable: Consumable) async throws {
        for restarts in [false, true] {
            let error = try await consumable.place.failure { options in
                options.run.consumesSource = true
                options.run.restarts = restarts
            }
            #expect(error != nil)
            try consumable.expectNothingLost("\(String(describing: error))")
        }
    }
}
