import Container
import Conversion
import ConversionSupport
import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Runs that ended early, and the same command again: the bytes of one that did not, and no shard written twice.
@Suite struct ResumeTests {
    // MARK: - Every call

    /// Whatever call fails: the next run makes the same bytes, and does not write again what was finished.
    @Test func everyCallFailsOnce() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        let counting = CallWatch()
        try await counting.run { _ = try await place.convert() }
        try Directory.removeTree(place.target)
        let count = counting.trace.count
        #expect(count > 150)
        var resumed = 0
        let numbers = Share.of(0..<count)
        for number in numbers {
            let fault = CallWatch { call, _ in call == number ? .ioError : nil }
            let error = try await fault.run { try await place.failure() }
            let what = "\(number) \(fault.trace[number])"
            try await expectResumption(place, expected, failure: error, what) { resumed += $0 }
        }
        // A third of the calls come behind the first shard, a third behind the second.
        #expect(resumed > numbers.count / 3, "\(resumed) shards resumed in \(numbers.count) runs")
        Tally.print(numbers.count, of: count, "W01 system calls failed once, and the run that follows")
    }

    /// The same where nothing works any more from some call on, as in a run that is killed.
    @Test func everyCallIsTheLast() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        let counting = CallWatch()
        try await counting.run { _ = try await place.convert() }
        try Directory.removeTree(place.target)
        var resumed = 0
        let numbers = Share.of(0..<counting.trace.count)
        for number in numbers {
            let fault = CallWatch { call, _ in call >= number ? .ioError : nil }
            let error = try await fault.run { try await place.failure() }
            let what = "from \(number) on: \(fault.trace[number])"
            try await expectResumption(place, expected, failure: error, isKilled: true, what) { resumed += $0 }
        }
        #expect(resumed > numbers.count / 3)
        Tally.print(
            numbers.count, of: counting.trace.count,
            "W01 runs in which every call fails from some call on, and the run that follows")
    }

    /// Checks what a run left, resumes it, and removes the target.
    private func expectResumption(
        _ place: ShardedPlace, _ expected: [String: [UInt8]], failure: IngotError?, isKilled: Bool = false,
        _ what: String, _ count: (Int) -> Void
    ) async throws {
        let finished = (0..<ShardedPlace.count).filter { Files.names(place.work).contains(ShardedPlace.shardName($0)) }
        for position in finished {
            #expect(throws: Never.self, "\(what)") { _ = try SealedShard(place.workShard(position)) }
        }
        if Files.names(place.directory.path).contains("sealed") {
            #expect(try Files.snapshot(place.target) == expected, "\(what)")
        } else {
            #expect(failure != nil, "\(what)")
            if !isKilled {
                let known: Set<String> = [".sealed.ingot-partial", ".sealed.ingot-journal", ".sealed.ingot-lock"]
                #expect(known.isSuperset(of: place.leftovers), "\(what)")
                #expect(finished.isEmpty == (try Directory.kind(place.work) == nil), "\(what): \(place.leftovers)")
                // A shard has its name a moment before the journal says so.
                let told = (finished.count - 1...finished.count).contains {
                    failure?.remedy.text.contains("\($0) of 3 shards are done") == true
                }
                #expect(finished.isEmpty || told, "\(what): \(failure?.remedy.text ?? "")")
            }
            let journaled = try journaledShards(place)
            let before = finished.map { FileIdentity(place.workShard($0)) }
            let report = try await place.convert()
            #expect(report.resumedShards == journaled.count, "\(what)")
            for (position, identity) in zip(finished, before) where journaled.contains(position) {
                #expect(
                    FileIdentity(place.target.appending(ShardedPlace.shardName(position))) == identity,
                    "\(what): shard \(position) is the file it was")
            }
            count(report.resumedShards)
        }
        if Files.names(place.directory.path).contains(".sealed.ingot-journal") {
            // Killed between its last steps: it says that it is done.
            let report = try await place.convert()
            #expect(report.shardCount == 3 && report.resumedShards == 3, "\(what)")
        }
        try? Directory.removeFile(place.directory.at(".sealed.ingot-lock"))
        try place.expectFinished(expected, what)
        try Directory.removeTree(place.target)
    }

    /// The shards that the journal says are finished.
    private func journaledShards(_ place: ShardedPlace) throws -> Set<Int> {
        guard try Directory.kind(place.journal) != nil, try Directory.kind(place.work) != nil else { return [] }
        let lines = try JournalFile.lines(place.journal)
        return Set(
            (0..<ShardedPlace.count).filter { shard in
                lines.contains { $0.hasPrefix("{\"event\":\"sealed\",\"shard\":\(shard),") }
            })
    }

    @Test func resumedShardsAreNotWritten() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        for finished in 1...ShardedPlace.count {
            try await place.interrupt(after: finished)
            let (watch, told) = (CallWatch(), ToldEvents())
            let report = try await watch.run { try await told.convert(place) }
            #expect(report.resumedShards == finished && report.shardCount == ShardedPlace.count)
            #expect(told.resumed == (0..<finished).map(ShardedPlace.shardName))
            #expect(told.sealed == (finished..<ShardedPlace.count).map(ShardedPlace.shardName))
            for position in 0..<finished {
                let name = ShardedPlace.temporaryName(position)
                #expect(!watch.trace.contains { $0.path.hasSuffix(name) }, "\(position) of \(finished)")
            }
            try place.expectFinished(expected)
            try Directory.removeTree(place.target)
        }
    }

    /// The report of a resumed conversion counts what the first run did.
    @Test func reportCountsEverything() async throws {
        let place = try ShardedPlace()
        let whole = try await place.convert()
        try Directory.removeTree(place.target)
        try await place.interrupt(after: 2)
        let report = try await place.convert()
        #expect(report.sourceBytes == whole.sourceBytes && report.outputBytes == whole.outputBytes)
        #expect(report.companionBytes == whole.companionBytes && report.weights == whole.weights)
        #expect(report.tensors.map(\.name) == whole.tensors.map(\.name))
        #expect(report.tensors.map(\.byteCount) == whole.tensors.map(\.byteCount))
        #expect(report.keptCount == whole.keptCount && report.keptBytes == whole.keptBytes)
    }

    /// Ended again and again, one shard further each time.
    @Test func chainOfRuns() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        for finished in 1...ShardedPlace.count { try await place.interrupt(after: finished) }
        #expect(try await place.convert().resumedShards == ShardedPlace.count)
        try place.expectFinished(expected)
    }

    /// What no other run can mend leaves nothing, unless an earlier run finished something.
    @Test func failuresOfTheSourceLeaveNothing() async throws {
        var shards = ShardedPlace.shards()
        shards[2].append(SampleTensor("bad.weight", .f16, [20, 40], values: [Float](repeating: .nan, count: 800)))
        let place = try ShardedPlace(shards)
        let error = try await place.failure()
        #expect(error?.code == .nonFinite)
        #expect(place.leftovers == [])
    }

    // MARK: - Other ways to quantize

    private static func trellis(_ goal: RateGoal) -> ConversionOptions {
        var options = Verbs.options(.trellis)
        options.encoding.goal = goal
        return options
    }

    static let schemes: [ConversionOptions] = [
        Verbs.options(.lossless), Verbs.options(.uniform, codec: .none), trellis(.bits(3)), trellis(.averageBits(4)),
        trellis(.relativeMSE(0.01)), trellis(.totalBytes(20_000)),
    ]

    /// Shards whose matrices differ, so that rates over all of them are not those of one shard.
    private static func unequalShards() -> [[SampleTensor]] {
        let kinds: [WeightKind] = [.gaussian, .heavy, .sparse]
        return kinds.enumerated().map { index, kind in
            [
                SampleTensor("layers.\(index).a.weight", .f16, [48, 96], kind, seed: UInt64(index)),
                SampleTensor("layers.\(index).b.weight", .bf16, [32, 64], .scaled, seed: UInt64(index)),
            ]
        }
    }

    @Test(arguments: schemes.indices)
    func everySchemeIsResumed(scheme: Int) async throws {
        let place = try ShardedPlace(ResumeTests.unequalShards(), ResumeTests.schemes[scheme])
        let expected = try await place.expected()
        for finished in 1...ShardedPlace.count {
            try await place.interrupt(after: finished)
            #expect(try await place.convert().resumedShards == finished)
            try place.expectFinished(expected, "\(finished) shards of scheme \(scheme)")
            try Directory.removeTree(place.target)
        }
    }

    /// Rates over all matrices are decided once: the run that goes on does not look at samples again.
    @Test(arguments: [RateGoal.averageBits(4), .totalBytes(20_000)])
    func sharedRatesAreFrozen(goal: RateGoal) async throws {
        let place = try ShardedPlace(ResumeTests.unequalShards(), ResumeTests.trellis(goal))
        let expected = try await place.expected()
        try await place.interrupt(after: 1)
        let rates = try JournalFile.lines(place.journal).filter { $0.contains("\"event\":\"rates\"") }
        #expect(rates.count == ShardedPlace.count)
        let told = ToldEvents()
        try await told.convert(place)
        #expect(!told.all.contains { if case .planning = $0 { true } else { false } })
        try place.expectFinished(expected)
    }

    /// Without the rates nothing that follows them in the journal counts: all is done anew, to the same bytes.
    @Test func damagedRates() async throws {
        let place = try ShardedPlace(ResumeTests.unequalShards(), ResumeTests.trellis(.averageBits(4)))
        let expected = try await place.expected()
        try await place.interrupt(after: 2)
        let saved = try place.saved()
        let lines = try JournalFile.lines(place.journal)
        let first = try #require(lines.firstIndex { $0.contains("\"event\":\"rates\"") })
        var bytes = try Files.read(place.journal)
        bytes[lines.prefix(first).reduce(0) { $0 + $1.utf8.count + 18 } + 60] ^= 1
        try Files.write(bytes, to: place.journal)
        #expect(try await place.convert().resumedShards == 0)
        try place.expectFinished(expected)
        // A line whose checksum holds and that makes no sense.
        try place.restore(saved)
        try JournalFile.edit(place.journal) {
            $0[first].replace("\"numbers\":[", with: "\"numbers\":[\"0000000000000000\",")
        }
        #expect(try await place.convert().resumedShards == 0)
        try place.expectFinished(expected)
    }

    // MARK: - The finished shard

    enum Damage: CaseIterable, Sendable {
        case truncated, emptied, flipped, flippedSeal, missing, replacedByAnother, replacedByDirectory
    }

    /// Damaged is converted again, and said to be; the other finished shard is kept.
    @Test(arguments: Damage.allCases, [0, 1])
    func damagedShard(damage: Damage, position: Int) async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 2)
        let path = place.workShard(position)
        let bytes = try Files.read(path)
        switch damage {
        case .truncated: try Files.write(Array(bytes.dropLast(70)), to: path)
        case .emptied: try Files.write([], to: path)
        case .flipped: try Files.patch([bytes[bytes.count / 2] ^ 1], at: bytes.count / 2, in: path)
        case .flippedSeal: try Files.patch([bytes[bytes.count - 1] ^ 1], at: bytes.count - 1, in: path)
        case .missing: try Directory.removeFile(path)
        case .replacedByAnother: try Files.write(Files.read(place.workShard(1 - position)), to: path)
        case .replacedByDirectory:
            try Directory.removeFile(path)
            try Directory.create(path)
        }
        let told = ToldEvents()
        #expect(try await told.convert(place).resumedShards == 1)
        #expect(told.resumed == [ShardedPlace.shardName(1 - position)])
        #expect(told.warnings.count == 1)
        let warning = told.warnings.first ?? ""
        #expect(warning.contains(ShardedPlace.shardName(position)) && warning.contains("converted again"), "\(warning)")
        try place.expectFinished(expected)
    }

    /// Every byte of a finished shard counts.
    @Test func everyFlippedByteIsSeen() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 1)
        let saved = try place.saved()
        let count = try Files.read(place.workShard(0)).count
        for offset in Share.of(Array(stride(from: 0, to: count, by: 37))) {
            try place.restore(saved)
            try Files.patch([Files.read(place.workShard(0))[offset] ^ 0x10], at: offset, in: place.workShard(0))
            #expect(try await place.convert().resumedShards == 0, "byte \(offset) of \(count)")
            #expect(try Files.snapshot(place.target) == expected, "byte \(offset) of \(count)")
        }
    }

    // MARK: - The journal

    /// Cut off anywhere: shards whose lines are whole are kept, and the bytes are the same.
    @Test func tornJournal() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 2)
        let saved = try place.saved()
        let bytes = try Files.read(place.journal)
        var ends: [Int] = []
        for (line, text) in try JournalFile.lines(place.journal).enumerated() {
            ends.append((ends.last ?? 0) + text.utf8.count + 18)
            #expect(line > 0 || text.hasPrefix("{\"event\":\"begin\""))
        }
        let sealed = try JournalFile.lines(place.journal).map { $0.hasPrefix("{\"event\":\"sealed\"") }
        #expect(sealed.count { $0 } == 2)
        let cuts = Set(
            ends + ends.map { $0 - 1 } + ends.map { $0 - 20 } + Array(stride(from: 0, to: bytes.count, by: 41)))
        for cut in Share.of(cuts.sorted()) {
            for tail in [[], Array("0123456789abcdef {}\n".utf8), [UInt8](repeating: 0, count: 100)] {
                try place.restore(saved)
                try Files.write(Array(bytes.prefix(cut)) + tail, to: place.journal)
                let whole = zip(ends, sealed).count { $0 <= cut && $1 }
                #expect(try await place.convert().resumedShards == whole, "\(cut) of \(bytes.count)")
                try place.expectFinished(expected, "\(cut) of \(bytes.count) bytes and \(tail.count) others")
            }
        }
    }

    /// A flipped byte anywhere: at worst work is done again.
    @Test func garbledJournal() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 2)
        let saved = try place.saved()
        let bytes = try Files.read(place.journal)
        for offset in Share.of(Array(stride(from: 0, to: bytes.count, by: 29))) {
            try place.restore(saved)
            try Files.patch([bytes[offset] ^ 4], at: offset, in: place.journal)
            #expect(try await place.convert().resumedShards < 2, "byte \(offset)")
            try place.expectFinished(expected, "byte \(offset)")
        }
    }

    @Test func journalWithoutWork() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 2)
        try Directory.removeTree(place.work)
        #expect(try await place.convert().resumedShards == 0)
        try place.expectFinished(expected)
    }

    @Test func workWithoutJournal() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 2)
        try Directory.removeFile(place.journal)
        #expect(try await place.convert().resumedShards == 0)
        try place.expectFinished(expected)
    }

    /// What a killed run had under way does not come into the result.
    @Test func leftoversAreRemoved() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 1)
        try Files.write("half", to: place.work.appending(ShardedPlace.temporaryName(1)))
        try Files.write("older", to: place.workShard(2))
        try Files.write("{}", to: place.work.appending(Manifest.fileName))
        try Files.write("{}", to: place.work.appending("model.safetensors.index.json"))
        try Directory.create(place.work.appending("folder"))
        try Files.write("x", to: place.work.appending("folder").appending("x.py"))
        #expect(try await place.convert().resumedShards == 1)
        try place.expectFinished(expected)
    }

    // MARK: - The last steps

    /// Killed before, between and behind the steps that give the directory its name.
    @Test(arguments: [false, true])
    func killedWhilePublishing(force: Bool) async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        let old = try ShardedPlace(ShardedPlace.shards(seed: 7))
        try await old.convert()
        func prepare() throws {
            for path in [place.target, place.work, place.journal] { try Directory.removeTree(path) }
            if force { try Files.copyTree(old.target, to: place.target) }
        }
        try prepare()
        let counting = CallWatch()
        try await counting.run { _ = try await place.convert { $0.run.force = force } }
        let trace = counting.trace
        let manifest = place.work.appending(Manifest.fileName).string
        let first = try #require(trace.lastIndex { $0.name == "rename" && $0.path == manifest })
        let renamed = try #require(trace.lastIndex { $0.name.hasPrefix("rename") && $0.path == place.target.string })
        #expect(first < renamed && renamed < trace.count - 1)
        for number in first..<trace.count {
            try prepare()
            let fault = CallWatch { call, _ in call >= number ? .ioError : nil }
            _ = try await fault.run { try await place.failure { $0.run.force = force } }
            let what = "from \(number) on: \(trace[number])"
            if force || number > renamed {
                let files = try Files.snapshot(place.target)
                #expect(files == (number > renamed ? expected : try Files.snapshot(old.target)), "\(what)")
            } else {
                #expect(try Directory.kind(place.target) == nil, "\(what)")
            }
            if number > renamed, try Directory.kind(place.journal) == nil { continue }
            let report = try await place.convert { $0.run.force = force }
            #expect(report.shardCount == 3 && report.resumedShards == 3, "\(what)")
            try place.expectFinished(expected, what)
        }
    }

    /// Finished but for its traces: the same command says so, another one finds the target in its way, and no traces.
    @Test func finishedWithOtherOptions() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        func finishKilled() async throws {
            try Directory.removeTree(place.target)
            try await place.kill(at: place.isRemovingJournal)
            #expect(place.leftovers.contains(".sealed.ingot-journal"))
        }
        try await finishKilled()
        let error = try await place.failure { $0.encoding.codec = .none }
        #expect(error?.code == .cannotCreate && error?.found.contains("exists") == true, "\(String(describing: error))")
        try place.expectFinished(expected)
        // Nothing of the kind when all traces are gone.
        #expect(try await place.failure()?.code == .cannotCreate)
        try await finishKilled()
        #expect(try await place.convert().resumedShards == 3)
        try place.expectFinished(expected)
        // With --force another conversion replaces it.
        try await finishKilled()
        let other = try await place.expected { $0.encoding.codec = .none }
        #expect(
            try await place.convert { options in (options.encoding.codec, options.run.force) = (.none, true) }
                .resumedShards == 0)
        try place.expectFinished(other)
    }

    /// Finished but for its traces, and then the source was changed: `--force` converts it again.
    @Test func finishedAndThenChanged() async throws {
        let place = try ShardedPlace()
        try await place.kill(at: place.isRemovingJournal)
        #expect(place.leftovers.contains(".sealed.ingot-journal"))
        let bytes = try Files.read(place.sourceShard(1))
        try Files.patch([bytes[bytes.count - 20] ^ 1], at: bytes.count - 20, in: place.sourceShard(1))
        let expected = try await place.expected()
        _ = try await place.convert { $0.run.force = true }
        try place.expectFinished(expected)
    }
}
