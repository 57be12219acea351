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
import Weights
import Work

/// Sources that change under the conversion without a new time of modification, and sources whose status alone changes.
@Suite struct SourceTimesTests {
    enum Moment: CaseIterable, Sendable {
        case beforeEncoding, beforeTheEnd, afterTheLastWrite, nextShard, companions, manifest, checked

        /// Whether a call is the one before which something happens to the source's second shard.
        func isNow(_ call: SystemCall, _ place: ShardedPlace) -> Bool {
            func isTemporary(_ name: String) -> Bool { call.path.hasSuffix("/" + name) }
            let own = isTemporary(ShardedPlace.temporaryName(1))
            return switch self {
            case .beforeEncoding: own && call.name == "open"
            case .beforeTheEnd: own && call.name == "pwrite"
            case .afterTheLastWrite: own && call.name == "fsync"
            case .nextShard: isTemporary(ShardedPlace.temporaryName(2)) && call.name == "open"
            case .companions: isTemporary(".config.json.ingot-tmp") && call.name == "open"
            case .manifest: isTemporary(".ingot-manifest.json.ingot-tmp") && call.name == "fsync"
            case .checked: false
            }
        }
    }

    /// Converts, with one change when its moment comes.
    private func failure(
        _ place: ShardedPlace, _ moment: Moment, options: @escaping (inout ConversionOptions) -> Void = { _ in },
        _ change: @escaping @Sendable () throws -> Void
    ) async throws -> IngotError? {
        let isDone = Mutex(false)
        let once: @Sendable () throws -> Void = {
            guard
                isDone.withLock({ done in
                    defer { done = true }
                    return !done
                })
            else { return }
            try change()
        }
        let watch = CallWatch { _, call in
            guard moment.isNow(call, place) else { return nil }
            do {
                try once()
                return nil
            } catch {
                Issue.record("\(error)")
                return .ioError
            }
        }
        var chosen = place.options
        options(&chosen)
        var converter = try Converter(place.source, to: place.target, chosen)
        // The manifest is the last file: only a check before publishing comes behind it.
        if [.manifest, .checked].contains(moment) {
            converter.beforePublishing = { _, _ in if moment == .checked { try once() } }
        }
        let prepared = converter
        let error = try await watch.run {
            try await Verbs.failure { _ = try await Verbs.whenUnlocked { try await prepared.run() } }
        }
        #expect(isDone.withLock { $0 })
        return error
    }

    /// W07: other bytes under the same size and time of modification are found, whenever they come.
    @Test(arguments: Moment.allCases, [EncodingOptions.Scheme.uniform, .trellis, .lossless])
    func changedInPlace(moment: Moment, scheme: EncodingOptions.Scheme) async throws {
        let place = try ShardedPlace(ShardedPlace.shards(), Verbs.options(scheme))
        let path = place.sourceShard(1)
        let bytes = try Files.read(path)
        try FileTimes.waitForAnotherTick(in: place.directory)
        let error = try await failure(place, moment) {
            let before = FileIdentity(path)
            try FileTimes.patch([bytes[bytes.count - 9] ^ 1], at: bytes.count - 9, in: path)
            let after = FileIdentity(path)
            #expect(before.flatMap { after?.isSameButStatus(as: $0) } == true, "the time was set back")
        }
        #expect(error?.code == .sourceChanged && error?.file == path.string, "\(String(describing: error))")
        #expect(FileIdentity(place.target) == nil)
    }

    enum StatusChange: CaseIterable, Sendable {
        case mode, link, sameMode

        func make(_ path: FilePath) throws {
            switch self {
            case .mode: try FileTimes.set(0o600, of: path)
            case .link:
                try FileManager.default.linkItem(
                    atPath: path.string, toPath: path.removingLastComponent().string + ".second")
            // The system notes a new time of change, and nothing else tells what changed.
            case .sameMode: try FileTimes.set(FileTimes.permissions(path), of: path)
            }
        }
    }

    /// A status that changes is no change of the bytes.
    @Test(arguments: Moment.allCases, StatusChange.allCases)
    func changedStatus(moment: Moment, change: StatusChange) async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        let path = place.sourceShard(1)
        try FileTimes.waitForAnotherTick(in: place.directory)
        let error = try await failure(place, moment) { try change.make(path) }
        #expect(error == nil, "\(String(describing: error))")
        try? Directory.removeFile(FilePath(place.source.string + ".second"))
        try place.expectFinished(expected)
    }

    /// A change between the samples of a fingerprint, of a matrix in many tiles.
    @Test(arguments: [Moment.afterTheLastWrite, .nextShard, .checked])
    func changedBetweenTheSamples(moment: Moment) async throws {
        let block = SampleTensor("block", .f16, [100, 512]).bytes
        let large = SampleTensor("layers.1.weight", .f16, [9000, 512], bytes: (0..<90).flatMap { _ in block })
        var shards = ShardedPlace.shards()
        shards[1] = [large]
        let place = try ShardedPlace(shards, Verbs.options(.uniform, codec: .none))
        let path = place.sourceShard(1)
        let bytes = try Files.read(path)
        try FileTimes.waitForAnotherTick(in: place.directory)
        let error = try await failure(place, moment) {
            try FileTimes.patch([bytes[100_000] ^ 1], at: 100_000, in: path)
        }
        #expect(error?.code == .sourceChanged && error?.file == path.string, "\(String(describing: error))")
        #expect(FileIdentity(place.target) == nil)
    }

    // MARK: - Other runs, and consumption

    /// Between two runs.
    @Test(arguments: [0, 1], [false, true])
    func changedBetweenRuns(position: Int, consumes: Bool) async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 1)
        let path = place.sourceShard(position)
        let bytes = try Files.read(path)
        try FileTimes.waitForAnotherTick(in: place.directory)
        try FileTimes.patch([bytes[bytes.count - 9] ^ 1], at: bytes.count - 9, in: path)
        let error = try await place.failure { $0.run.consumesSource = consumes }
        #expect(error?.code == .sourceChanged && error?.file == path.string, "\(String(describing: error))")
        #expect(try Files.read(path).count == bytes.count, "it is still there")
        try FileTimes.patch([bytes[bytes.count - 9]], at: bytes.count - 9, in: path)
        if FileIdentity(place.sourceShard(0)) != nil { try FileTimes.set(0o600, of: place.sourceShard(0)) }
        #expect(try await place.convert { $0.run.consumesSource = consumes }.resumedShards == 1)
        try Directory.removeTree(place.directory.at("reference"))
        #expect(try Files.snapshot(place.target) == expected)
    }

    /// A shard that changes when its output is verified, or right before it would be deleted, stays.
    @Test(arguments: [false, true])
    func changedBeforeItIsConsumed(isStatus: Bool) async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        let path = place.sourceShard(1)
        let bytes = try Files.read(path)
        try FileTimes.waitForAnotherTick(in: place.directory)
        let opened = Mutex(0)
        let watch = CallWatch { _, call in
            // The verification opens the output that has its name.
            guard call.name == "open", call.path == place.workShard(1).string,
                opened.withLock({ count in
                    count += 1
                    return count == 2
                })
            else { return nil }
            if isStatus {
                try? FileTimes.set(0o600, of: path)
            } else {
                try? FileTimes.patch([bytes[bytes.count - 9] ^ 1], at: bytes.count - 9, in: path)
            }
            return nil
        }
        let error = try await watch.run { try await place.failure { $0.run.consumesSource = true } }
        #expect(opened.withLock { $0 } >= 2)
        guard !isStatus else {
            #expect(error == nil, "\(String(describing: error))")
            #expect(FileIdentity(path) == nil)
            return try place.expectFinished(expected)
        }
        #expect(
            error != nil && [.sourceChanged, .certificateMismatch].contains(error?.code), "\(String(describing: error))"
        )
        #expect(FileIdentity(path) != nil && FileIdentity(place.target) == nil)
    }

    // MARK: - One file

    /// Where nobody has a hash: a mode or a link explains a new time of change, nothing does not.
    @Test func oneFile() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("f")
        for change in StatusChange.allCases {
            try Files.write("0123456789", to: path)
            try FileTimes.set(0o644, of: path)
            try FileTimes.waitForAnotherTick(in: directory)
            let file = try MappedFile.open(path)
            try file.checkUnchanged()
            try change.make(path)
            if change == .sameMode {
                #expect(throws: IngotError.self) { try file.checkUnchanged() }
            } else {
                try file.checkUnchanged()
            }
            #expect(file.change == .status)
            try Directory.removeFile(path)
        }
        try Files.write("0123456789", to: path)
        try FileTimes.waitForAnotherTick(in: directory)
        let file = try MappedFile.open(path)
        try FileTimes.patch([7], at: 3, in: path)
        #expect(throws: IngotError.self) { try file.checkUnchanged() }
        try Files.patch([7], at: 3, in: path)
        #expect(file.change == .content)
    }

    /// What reports are made from: a checkpoint whose bytes changed is told, one whose mode changed is not.
    @Test func openedCheckpoint() throws {
        let place = try ShardedPlace()
        let path = place.sourceShard(1)
        let bytes = try Files.read(path)
        try FileTimes.waitForAnotherTick(in: place.directory)
        let opened = try OpenedCheckpoint(place.source)
        try FileTimes.set(0o600, of: path)
        try opened.requireUnchanged()
        let again = try OpenedCheckpoint(place.source)
        try FileTimes.waitForAnotherTick(in: place.directory)
        try FileTimes.patch([bytes[bytes.count - 9] ^ 1], at: bytes.count - 9, in: path)
        let error = try #require(throws: IngotError.self) { try again.requireUnchanged() }
        #expect(error.code == .sourceChanged && error.file == path.string)
    }

    /// A companion whose mode changes while it is copied is copied.
    @Test func companionWhoseStatusChanges() async throws {
        let place = try ShardedPlace()
        let path = place.source.appending("tokenizer.json")
        try FileTimes.waitForAnotherTick(in: place.directory)
        let watch = CallWatch { _, call in
            if call.name == "open", call.path.hasSuffix(".tokenizer.json.ingot-tmp") {
                try? FileTimes.set(0o600, of: path)
            }
            return nil
        }
        let error = try await watch.run { try await place.failure() }
        #expect(error == nil)
        #expect(try Files.read(place.target.appending("tokenizer.json")) == Files.read(path))
    }

    // MARK: - Dates that 64 bits of nanoseconds do not hold

    /// Gives a file a date whose nanoseconds since 1970 no 64-bit number holds; false where the file system cannot.
    private func moveToYear2300(_ path: FilePath) throws -> Bool {
        let date = Date(timeIntervalSince1970: 10_413_792_000)
        try FileManager.default.setAttributes([.modificationDate: date], ofItemAtPath: path.string)
        return FileIdentity(path)?.modifiedSeconds == 10_413_792_000
    }

    @Test func filesOfTheYear2300() async throws {
        let sample = try await CompanionSample()
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
}
