import Conversion
import ConversionSupport
import FileAccess
import Foundation
import Synchronization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `--follow`: shards that arrive while the conversion runs, in whatever order and by whatever program.
/// The limit ends a test that waits for an event of a conversion that failed.
@Suite(.timeLimit(.minutes(10))) struct FollowTests {
    /// A whole checkpoint, what is made of it, and a place into which it is fetched.
    private struct Followed {
        let place: ShardedPlace
        let expected: [String: [UInt8]]
        let files: [String: [UInt8]]

        static let index = "model.safetensors.index.json"
        static let companions = ["config.json", "tokenizer.json"]
        static let shards = (0..<ShardedPlace.count).map(ShardedPlace.shardName)

        /// - Parameter settledAfter: an hour, but where it is what is tested: a download here is a task, and behind those of hundreds of
        ///   tests it stands still for as long as they take.
        init(_ shards: [[SampleTensor]] = ShardedPlace.shards(), settledAfter: Duration = .seconds(3600)) async throws {
            var place = try ShardedPlace(shards)
            place.options.run.lookInterval = .milliseconds(2)
            place.options.run.settledAfter = settledAfter
            place.options.run.pauseBetweenFiles = .milliseconds(50)
            self.place = place
            expected = try await place.expected()
            files = try Files.snapshot(place.source)
            try Directory.removeTree(place.source)
        }

        func download(_ client: SimulatedDownload.Client, seed: UInt64 = 1) -> SimulatedDownload {
            SimulatedDownload(client: client, files: files, target: place.source, seed: seed)
        }

        func follow(_ options: inout ConversionOptions) { options.run.follows = true }
    }

    // MARK: - Programs

    /// Any order in which the last file is one that is waited for.
    @Test(arguments: SimulatedDownload.Client.allCases)
    func anyOrder(client: SimulatedDownload.Client) async throws {
        let followed = try await Followed()
        var generator = SystemRandomNumberGenerator()
        for round in 0..<8 {
            let seed = UInt64.random(in: 0...UInt64.max, using: &generator)
            var order = Followed.shards.shuffled()
            let last = order.removeLast()
            order = (order + Followed.companions + [Followed.index]).shuffled() + [last]
            if round == 0 { order = [Followed.index] + Followed.companions + Followed.shards }
            if round == 1 { order = Followed.companions + Followed.shards.reversed() + [Followed.index] }
            let what = "seed \(seed), order \(order)"
            let files = order
            async let download: Void = followed.download(client, seed: seed).fetch(files)
            let report = try await followed.place.convert(followed.follow)
            try await download
            #expect(report.shardCount == ShardedPlace.count, "\(what)")
            try followed.place.expectFinished(followed.expected, what)
            try Directory.removeTree(followed.place.target)
            try Directory.removeTree(followed.place.source)
        }
    }

    /// What is all there needs no waiting.
    @Test func wholeSource() async throws {
        let followed = try await Followed()
        try await followed.download(.growing).fetch(followed.files.keys.sorted())
        for patience in [nil, 0, 20] as [Int?] {
            try await followed.place.convert { options in
                options.run.follows = true
                options.run.patience = patience.map { .milliseconds($0) }
            }
            try followed.place.expectFinished(followed.expected, "patience of \(patience ?? -1) ms")
            try Directory.removeTree(followed.place.target)
        }
    }

    /// The first shard that arrives is converted while the others are missing.
    @Test func shardsAreConvertedAsTheyArrive() async throws {
        let followed = try await Followed()
        let place = followed.place
        let download = followed.download(.hub)
        try await download.fetch([Followed.index, Followed.shards[2]] + Followed.companions)
        let told = ToldEvents()
        async let conversion = told.convert(place, followed.follow)
        while told.sealed.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        #expect(told.sealed == [Followed.shards[2]])
        #expect(Files.names(place.work) == [Followed.shards[2]])
        try await download.fetch([Followed.shards[0]])
        while !told.waits(for: Followed.shards[1]) { try await Task.sleep(for: .milliseconds(1)) }
        #expect(told.sealed.count == 2)
        try await download.fetch([Followed.shards[1]])
        _ = try await conversion
        #expect(told.sealed == [2, 0, 1].map { Followed.shards[$0] })
        try place.expectFinished(followed.expected)
    }

    /// The client of the hub fetches several files at the same time; the tokenizer may be the last.
    @Test func companionsUnderWay() async throws {
        let followed = try await Followed()
        let download = followed.download(.hub)
        try await download.fetch([Followed.index, "config.json"] + Followed.shards.dropLast())
        let partial = try download.downloads.appending("tokenizer.json.0123.incomplete")
        try Files.write("", to: partial)
        let told = ToldEvents()
        async let conversion = told.convert(followed.place, followed.follow)
        try await download.fetch([Followed.shards[2]])
        while told.sealed.count < ShardedPlace.count { try await Task.sleep(for: .milliseconds(1)) }
        try await Task.sleep(for: .milliseconds(20))
        try Files.write(followed.files["tokenizer.json"] ?? [], to: partial)
        try Directory.rename(partial, to: followed.place.source.appending("tokenizer.json"))
        _ = try await conversion
        try followed.place.expectFinished(followed.expected)
    }

    /// What an earlier download left behind, and nobody goes on with, is waited for only so long.
    @Test func abandonedPartialFile() async throws {
        let followed = try await Followed(settledAfter: .milliseconds(400))
        let download = followed.download(.hub)
        try await download.fetch(followed.files.keys.sorted())
        try Files.write("half", to: download.downloads.appending("other.bin.4567.incomplete"))
        try await followed.place.convert(followed.follow)
        try followed.place.expectFinished(followed.expected)
    }

    @Test func lateDirectory() async throws {
        let followed = try await Followed()
        #expect(try Directory.kind(followed.place.source) == nil)
        let told = ToldEvents()
        async let conversion = told.convert(followed.place, followed.follow)
        while told.all.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        try await followed.download(.growing).fetch(Followed.companions + [Followed.index] + Followed.shards)
        _ = try await conversion
        try followed.place.expectFinished(followed.expected)
    }

    /// A checkpoint of one file has no index to wait for.
    @Test(arguments: SimulatedDownload.Client.allCases)
    func oneFile(client: SimulatedDownload.Client) async throws {
        let directory = try TemporaryDirectory()
        let (whole, target) = (directory.at("whole"), directory.at("sealed"))
        try SampleSource.write([[SampleTensor("a.weight", .f16, [6, 40])]], to: whole)
        var options = Verbs.options()
        try await Verbs.convert(whole, to: directory.at("reference"), options)
        options.run.follows = true
        options.run.lookInterval = .milliseconds(2)
        options.run.settledAfter = .seconds(3600)
        options.run.pauseBetweenFiles = .milliseconds(50)
        let download = SimulatedDownload(
            client: client, files: try Files.snapshot(whole), target: directory.at("source"), seed: 3)
        async let fetched: Void = download.fetch(["config.json", "model.safetensors"])
        try await Verbs.convert(directory.at("source"), to: target, options)
        try await fetched
        #expect(try Files.snapshot(target) == Files.snapshot(directory.at("reference")))
    }

    // MARK: - With --consume-source

    private static func largeShards() -> [[SampleTensor]] {
        (0..<ShardedPlace.count).map { [SampleTensor("layers.\($0).weight", .f16, [64, 512], seed: UInt64($0))] }
    }

    /// A shard is fetched when the one before is consumed: source and output never lie side by side as a whole.
    @Test func consumedAsTheyArrive() async throws {
        let followed = try await Followed(FollowTests.largeShards())
        let place = followed.place
        let maximum = Mutex<UInt64>(0)
        let watch = CallWatch { _, _ in
            let names = [place.source, place.work, place.target].flatMap { folder in
                (try? FileManager.default.contentsOfDirectory(atPath: folder.string))?.map { folder.appending($0) }
                    ?? []
            }
            let bytes = names.reduce(UInt64(0)) { sum, path in
                let values = try? FileManager.default.attributesOfItem(atPath: path.string)
                return sum
                    + (values?[.type] as? FileAttributeType == .typeRegular
                        ? (values?[.size] as? UInt64 ?? 0) : 0)
            }
            maximum.withLock { $0 = max($0, bytes) }
            return nil
        }
        let told = ToldEvents()
        async let conversion = watch.run {
            try await told.convert(place) { options in
                options.run.follows = true
                options.run.consumesSource = true
            }
        }
        let download = followed.download(.hub)
        try await download.fetch([Followed.index] + Followed.companions)
        for (number, shard) in Followed.shards.enumerated() {
            try await download.fetch([shard])
            while told.consumed.count <= number { try await Task.sleep(for: .milliseconds(1)) }
            #expect(FileIdentity(place.source.appending(shard)) == nil)
        }
        #expect(try await conversion.shardCount == ShardedPlace.count)
        try place.expectFinished(followed.expected)
        func bytes(_ files: [String: [UInt8]]) -> UInt64 {
            files.filter { $0.key.hasSuffix(".safetensors") }.reduce(0) { $0 + UInt64($1.value.count) }
        }
        let (source, output) = (bytes(followed.files), bytes(followed.expected))
        let limit = source / 3 + output + 20_000
        #expect(
            limit < source && maximum.withLock { $0 } < limit, "\(maximum.withLock { $0 }) of \(source) and \(output)")
    }

    @Test(arguments: SimulatedDownload.Client.allCases)
    func consumedWhileOthersArrive(client: SimulatedDownload.Client) async throws {
        let followed = try await Followed()
        let place = followed.place
        for seed in 1...4 as ClosedRange<UInt64> {
            let order = Followed.companions + [Followed.index] + Followed.shards.shuffled()
            async let download: Void = followed.download(client, seed: seed).fetch(order)
            try await place.convert { options in
                options.run.follows = true
                options.run.consumesSource = true
            }
            try await download
            #expect(Files.names(place.source).filter { $0.hasSuffix(".safetensors") } == [], "\(order), seed \(seed)")
            try place.expectFinished(followed.expected, "\(order), seed \(seed)")
            try Directory.removeTree(place.target)
            try Directory.removeTree(place.source)
        }
    }

    // MARK: - Ends

    @Test func timeout() async throws {
        let followed = try await Followed()
        let place = followed.place
        func waitInVain() async throws -> IngotError? {
            try await place.failure { options in
                options.run.follows = true
                options.run.patience = .milliseconds(300)
            }
        }
        // Nothing at all, the index alone, one shard, half of another.
        #expect(try await waitInVain()?.code == .sourceIncomplete)
        #expect(place.leftovers == [])
        let download = followed.download(.hub)
        try await download.fetch([Followed.index] + Followed.companions)
        #expect(try await waitInVain()?.code == .sourceIncomplete)
        #expect(place.leftovers == [])
        try await download.fetch([Followed.shards[1]])
        let error = try await waitInVain()
        #expect(error?.code == .sourceIncomplete && error?.code.kind == .tryAgain)
        #expect(error?.found.contains(Followed.shards[0]) == true, "\(error?.found ?? "")")
        #expect(error?.remedy.text.contains("1 of 3 shards") == true, "\(error?.remedy.text ?? "")")
        #expect(Files.names(place.work) == [Followed.shards[1]])
        let bytes = followed.files[Followed.shards[0]] ?? []
        try Files.write(Array(bytes.prefix(bytes.count / 2)), to: place.source.appending(Followed.shards[0]))
        #expect(try await waitInVain()?.code == .sourceIncomplete)
        #expect(Files.names(place.work) == [Followed.shards[1]])
        // The download goes on, and so does the conversion, with --follow or without.
        try await download.fetch([Followed.shards[0], Followed.shards[2]])
        #expect(try await place.convert().resumedShards == 1)
        try place.expectFinished(followed.expected)
    }

    /// Bytes that arrive in a file of full size are something new, though no size changes.
    @Test func bytesOfAPreallocatedFile() async throws {
        let followed = try await Followed()
        let place = followed.place
        try await followed.download(.preallocated).fetch(
            Followed.companions + [Followed.index] + Followed.shards.dropLast())
        let bytes = followed.files[Followed.shards[2]] ?? []
        let path = place.source.appending(Followed.shards[2])
        let control = place.source.appending(Followed.shards[2] + ".aria2")
        // A writer that a busy machine held up for longer than the conversion has patience proves nothing: once more, with more patience.
        for patience in [3.0, 12, 48] {
            try Files.write("control", to: control)
            try Files.write([UInt8](repeating: 0, count: bytes.count), to: path)
            let writer = Mutex((longestPause: Duration.zero, hasEnded: false))
            async let failure = place.failure { options in
                options.run.follows = true
                options.run.patience = .seconds(patience)
            }
            // On a thread of its own: tasks may wait for others' longer than the conversion has patience.
            Thread {
                var last = ContinuousClock.now
                for step in 0..<90 {
                    let offset = min(bytes.count - 1, step)
                    try? Files.patch([bytes[offset]], at: offset, in: path)
                    let pause = ContinuousClock.now - last
                    last += pause
                    writer.withLock { $0.longestPause = max($0.longestPause, pause) }
                    Thread.sleep(forTimeInterval: patience / 60)
                }
                try? Files.patch(bytes, at: 0, in: path)
                try? Directory.removeFile(control)
                writer.withLock { $0.hasEnded = true }
            }.start()
            let error = try await failure
            while !writer.withLock({ $0.hasEnded }) { try await Task.sleep(for: .milliseconds(1)) }
            guard let error else { break }
            let isSlow = writer.withLock { $0.longestPause } > .seconds(patience / 2)
            #expect(error.code == .sourceIncomplete && isSlow, "\(error)")
        }
        try place.expectFinished(followed.expected)
    }

    /// What no download makes sense of is an error, once nothing changes any more.
    @Test(arguments: ["<!doctype html><title>404</title>", "zeros", "header", "trailing", "index"])
    func senselessForGood(kind: String) async throws {
        let followed = try await Followed(settledAfter: .milliseconds(400))
        let place = followed.place
        try await followed.download(.growing).fetch(
            Followed.companions + [Followed.index, Followed.shards[0], Followed.shards[2]])
        let path = place.source.appending(Followed.shards[1])
        let bytes = followed.files[Followed.shards[1]] ?? []
        switch kind {
        case "zeros": try Files.write([UInt8](repeating: 0, count: bytes.count), to: path)
        case "header": try Files.write(bytes.enumerated().map { $0 == 9 ? 0x7B : $1 }, to: path)
        case "trailing": try Files.write(bytes + [0], to: path)
        case "index": try Files.write("{\"weight_map\":", to: place.source.appending(Followed.index))
        default: try Files.write(kind, to: path)
        }
        let error = try await place.failure(followed.follow)
        #expect(error?.code.kind == .badData, "\(String(describing: error))")
        let name = kind == "index" ? Followed.index : Followed.shards[1]
        #expect(error?.file?.hasSuffix(name) == true, "\(String(describing: error))")
        #expect(place.leftovers == [])
    }

    /// A task that is cancelled while it waits leaves what is finished.
    @Test func cancelledWhileWaiting() async throws {
        let followed = try await Followed()
        let place = followed.place
        try await followed.download(.hub).fetch(Followed.companions + [Followed.index, Followed.shards[0]])
        let told = ToldEvents()
        let conversion = Task { try await told.convert(place, followed.follow) }
        while told.sealed.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        conversion.cancel()
        await #expect(throws: CancellationError.self) { try await conversion.value }
        #expect(Files.names(place.work) == [Followed.shards[0]])
        try await followed.download(.hub).fetch([Followed.shards[1], Followed.shards[2]])
        #expect(try await place.convert(followed.follow).resumedShards == 1)
        try place.expectFinished(followed.expected)
    }

    // MARK: - Refusals

    @Test(arguments: [RateGoal.averageBits(4), .totalBytes(40_000)])
    func ratesOverAllMatrices(goal: RateGoal) async throws {
        let place = try ShardedPlace()
        let error = try await place.failure { options in
            options = Verbs.options(.trellis)
            options.encoding.goal = goal
            options.run.follows = true
        }
        #expect(error?.code == .usage && error?.remedy.includes(.ratePerMatrix) == true)
        #expect(place.leftovers == [])
    }

    @Test func singleFile() async throws {
        let place = try ShardedPlace()
        var options = Verbs.options()
        options.run.follows = true
        let error = try await Verbs.failure {
            try await Verbs.convert(place.sourceShard(0), to: place.target, options)
        }
        #expect(error?.code == .usage && error?.found.contains("single file") == true)
        #expect(place.leftovers == [])
    }

    /// An index that comes when one file was taken for the checkpoint.
    @Test func indexBehindALoneFile() async throws {
        let followed = try await Followed()
        let place = followed.place
        try await followed.download(.growing).fetch(Followed.companions)
        try SampleSource.writeShard(
            [SampleTensor("a.weight", .f16, [6, 40])], to: place.source.appending("model.safetensors"))
        let isDone = Mutex(false)
        let watch = CallWatch { _, call in
            let isFirst = call.name == "rename" && call.path == place.work.appending("model.safetensors").string
            if isFirst, !isDone.withLock({ $0 }) {
                isDone.withLock { $0 = true }
                for (name, bytes) in followed.files { try? Files.write(bytes, to: place.source.appending(name)) }
            }
            return nil
        }
        let error = try await watch.run { try await place.failure(followed.follow) }
        #expect(error?.code == .sourceChanged, "\(String(describing: error))")
        #expect(try Directory.kind(place.target) == nil)
    }
}
