import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import Synchronization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// System calls that fail, each in turn: the output is absent or whole, and nothing else is left but finished shards.
@Suite struct FaultTests {
    /// Counts the calls of a run, and fails some of them.
    private final class Fault: Sendable {
        private let calls = Mutex<[SystemCall]>([])
        private let rule: @Sendable (Int, SystemCall) -> Errno?

        init(_ rule: @escaping @Sendable (Int, SystemCall) -> Errno? = { _, _ in nil }) { self.rule = rule }

        var trace: [SystemCall] { calls.withLock { $0 } }

        private func note(_ call: SystemCall) -> Errno? {
            let number = calls.withLock { calls in
                calls.append(call)
                return calls.count - 1
            }
            return rule(number, call)
        }

        func run(_ body: () async throws -> Void) async throws {
            let hook = SystemCallHook { [self] (call) throws(Errno) in
                if let error = note(call) { throw error }
            }
            try await SystemCallHook.$current.withValue(hook) { try await body() }
        }
    }

    private struct Place {
        let directory: TemporaryDirectory
        let source: FilePath
        let target: FilePath
        /// What a run leaves that another can go on from.
        static let work = [".sealed.ingot-journal", ".sealed.ingot-partial"]

        init() throws {
            directory = try TemporaryDirectory()
            source = try SampleSource.write(
                SampleSource.small(), to: directory.at("source"), companions: ["config.json": "{}", "a.txt": "a"])
            target = directory.at("sealed")
        }

        func convert(force: Bool = false) async throws {
            var options = Verbs.options()
            options.run.force = force
            try await Verbs.convert(source, to: target, options)
        }

        /// Removes what a later run would go on from.
        func removeWork() throws {
            for kind in ["partial", "journal"] { try Directory.removeTree(directory.at(".sealed.ingot-\(kind)")) }
        }

        /// The files a conversion without faults writes.
        func expected() async throws -> [String: [UInt8]] {
            try await convert()
            let files = try Files.snapshot(target)
            try Directory.removeTree(target)
            return files
        }
    }

    // MARK: - Order

    /// W04: each file is created anew, synchronized, renamed, its directory synchronized; the directory comes last.
    @Test func orderOfWriting() async throws {
        let place = try Place()
        let fault = Fault()
        try await fault.run { try await place.convert() }
        let staging = place.directory.at(".sealed.ingot-partial")
        let changes = ["open", "pwrite", "fsync", "rename", "mkdir", "rmdir", "unlink", "flock"]
        let trace = fault.trace.filter { call in
            changes.contains(call.name) && !call.path.hasPrefix(place.source.string)
        }
        func index(_ name: String, _ path: FilePath, after start: Int = 0) throws -> Int {
            try #require(
                trace.indices.dropFirst(start).first { trace[$0].name == name && trace[$0].path == path.string },
                "\(name)(\(path)) after call \(start)")
        }
        let lock = try index("flock", place.directory.at(".sealed.ingot-lock"))
        let begin = try index("mkdir", staging, after: lock)
        let names = try Files.snapshot(place.target).keys
        #expect(names.count == 6)
        var ends: [String: Int] = [:]
        for name in names {
            let temporary = staging.appending(".\(name).ingot-tmp")
            let created = try index("open", temporary, after: begin)
            let renamed = try index("rename", staging.appending(name), after: created)
            let synchronized = try index("fsync", temporary, after: created)
            #expect(synchronized < renamed, "\(name) is on the disk before it has its name")
            let writes = trace.indices.filter { trace[$0].name == "pwrite" && trace[$0].path == temporary.string }
            #expect(!writes.isEmpty && writes.allSatisfy { created < $0 && $0 < synchronized }, "\(name)")
            ends[name] = try index("fsync", staging, after: renamed)
        }
        let manifest = try index("rename", staging.appending(Manifest.fileName))
        #expect(names.allSatisfy { $0 == Manifest.fileName || ends[$0, default: .max] < manifest })
        let published = try index("rename", place.target, after: ends[Manifest.fileName, default: .max])
        _ = try index("fsync", staging, after: manifest)
        let durable = try index("fsync", place.directory.path, after: published)
        #expect(
            trace.dropFirst(durable + 1).map(\.name) == ["unlink", "unlink"], "only journal and lock go after that")
        #expect(Files.names(place.directory.path) == ["sealed", "source"])
    }

    // MARK: - One call fails

    /// W01: every system call of a conversion fails once, with each of four errors.
    @Test(arguments: [Errno.ioError, .noSpace, .diskQuotaExceeded, .permissionDenied])
    func oneCallFails(error: Errno) async throws {
        let place = try Place()
        let expected = try await place.expected()
        let counting = Fault()
        try await counting.run { try await place.convert() }
        try Directory.removeTree(place.target)
        let count = counting.trace.count
        #expect(count > 80)
        let numbers = Share.of(0..<count)
        for number in numbers {
            let fault = Fault { call, _ in call == number ? error : nil }
            let failure = try await Verbs.failure { try await fault.run { try await place.convert() } }
            let call = fault.trace[number]
            let left = Files.names(place.directory.path)
            if let failure {
                let isInput = call.path.hasPrefix(place.source.string)
                let allowed: Set<IngotError.Kind> = isInput ? [.badData, .noInput, .system] : [.cannotCreate, .system]
                #expect(allowed.contains(failure.code.kind), "\(number) \(call): \(failure)")
                if [.noSpace, .diskQuotaExceeded].contains(error), !isInput {
                    #expect(failure.code == .outOfSpace, "\(number) \(call): \(failure)")
                }
            }
            // The name of the target appears with the rename; after it all that can fail is making it durable.
            if left.contains("sealed") {
                #expect(try Files.snapshot(place.target) == expected, "\(number) \(call)")
                try Directory.removeTree(place.target)
            } else {
                #expect(failure != nil, "\(number) \(call)")
            }
            let strange = left.filter { $0 != "source" && $0 != "sealed" }
            // Who does not hold the lock does not remove it; an empty file of that name is in nobody's way.
            // A target that has its name, but perhaps not on the disk yet, still has its journal.
            let excused = call.name == "flock" || left.contains("sealed")
            let traces: Set<String> = [".sealed.ingot-lock", ".sealed.ingot-journal"]
            if strange == Place.work {
                // A finished shard waits for the next run.
                #expect(Files.names(place.directory.at(Place.work[1])).contains { $0.hasSuffix(".safetensors") })
                try await place.convert()
                #expect(try Files.snapshot(place.target) == expected, "resumed after \(number) \(call)")
                try Directory.removeTree(place.target)
            } else {
                #expect(strange.isEmpty || excused && traces.isSuperset(of: strange), "\(number) \(call): \(strange)")
            }
            for name in strange { try Directory.removeTree(place.directory.at(name)) }
        }
        try await place.convert()
        #expect(try Files.snapshot(place.target) == expected)
        Tally.print(numbers.count, of: count, "W01 system calls failed once, \(error)")
    }

    /// W01: From one call on nothing works any more, cleaning up included; the next run makes good.
    @Test func everythingFailsFromSomeCallOn() async throws {
        let place = try Place()
        let expected = try await place.expected()
        let counting = Fault()
        try await counting.run { try await place.convert() }
        try Directory.removeTree(place.target)
        let numbers = Share.of(0..<counting.trace.count)
        for (index, number) in numbers.enumerated() {
            let fault = Fault { call, _ in call >= number ? .ioError : nil }
            let failure = try await Verbs.failure { try await fault.run { try await place.convert() } }
            let left = Files.names(place.directory.path)
            let known = Set(["source", "sealed", ".sealed.ingot-lock"] + Place.work)
            #expect(known.isSuperset(of: left), "call \(number): \(left)")
            if left.contains("sealed") {
                #expect(try Files.snapshot(place.target) == expected, "call \(number)")
                try Directory.removeTree(place.target)
            } else {
                #expect(failure != nil, "call \(number)")
            }
            if index % 10 == 0 {
                try await place.convert()
                #expect(try Files.snapshot(place.target) == expected, "after call \(number)")
                #expect(Files.names(place.directory.path) == ["sealed", "source"])
                try Directory.removeTree(place.target)
            } else {
                for name in Place.work { try Directory.removeTree(place.directory.at(name)) }
            }
            try place.removeWork()
        }
        Tally.print(numbers.count, of: counting.trace.count, "W01 runs in which every call fails from some call on")
    }

    /// With `--force`: the old checkpoint or the new one, never anything else.
    @Test func replacementFails() async throws {
        let place = try Place()
        let new = try await place.expected()
        let other = try SampleSource.write(SampleSource.small(seed: 9), to: place.directory.at("other"))
        let kept = place.directory.at("kept")
        try await Verbs.convert(other, to: kept)
        let old = try Files.snapshot(kept)
        #expect(old != new)
        try Files.copyTree(kept, to: place.target)
        let counting = Fault()
        try await counting.run { try await place.convert(force: true) }
        #expect(try Files.snapshot(place.target) == new)
        let numbers = Share.of(0..<counting.trace.count)
        for number in numbers {
            try Directory.removeTree(place.target)
            try place.removeWork()
            try Files.copyTree(kept, to: place.target)
            let fault = Fault { call, _ in call == number ? .ioError : nil }
            let failure = try await Verbs.failure { try await fault.run { try await place.convert(force: true) } }
            let files = try Files.snapshot(place.target)
            #expect(files == new || failure != nil && files == old, "\(number) \(fault.trace[number])")
            for name in Place.work { try Directory.removeTree(place.directory.at(name)) }
        }
        Tally.print(numbers.count, of: counting.trace.count, "W01 system calls failed once, of a replacement")
    }

    // MARK: - Interrupted calls

    /// W02: a call that a signal interrupts is made again, to the same bytes.
    @Test func everyCallIsInterruptedOnce() async throws {
        let place = try Place()
        let expected = try await place.expected()
        let fault = Fault { number, _ in number % 2 == 0 ? .interrupted : nil }
        try await fault.run { try await place.convert() }
        #expect(try Files.snapshot(place.target) == expected)
        #expect(fault.trace.count > 160)
        let verification = Fault { number, _ in number % 3 == 0 ? nil : .interrupted }
        try await verification.run { try await Verbs.verify(place.target, against: place.source) }
    }

    /// W02: calls that write less than they were asked to are made again, to the same bytes.
    @Test(arguments: [1, 7, 1000, 65_535]) func shortWrites(maximum: Int) async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            [[SampleTensor("a.weight", .f16, [300, 1000])], SampleSource.small()[0]], to: directory.at("source"))
        let options = Verbs.options(.trellis)
        try await Verbs.convert(source, to: directory.at("whole"), options)
        let shortened = Mutex(0)
        let hook = SystemCallHook(
            { _ throws(Errno) in },
            shorten: { _, count in
                if count > maximum { shortened.withLock { $0 += 1 } }
                return maximum
            })
        try await SystemCallHook.$current.withValue(hook) {
            _ = try await Verbs.convert(source, to: directory.at("short"), options)
        }
        #expect(try Files.snapshot(directory.at("short")) == Files.snapshot(directory.at("whole")))
        #expect(shortened.withLock { $0 } > 0)
    }

    /// `EAGAIN` of a write is no failure, either.
    @Test func writesThatWouldBlock() async throws {
        let place = try Place()
        let expected = try await place.expected()
        let fault = Fault { number, call in
            call.name == "pwrite" && number % 2 == 0 ? .resourceTemporarilyUnavailable : nil
        }
        try await fault.run { try await place.convert() }
        #expect(try Files.snapshot(place.target) == expected)
    }

    // MARK: - Readers

    @Test func exportFails() async throws {
        let place = try Place()
        try await place.convert()
        let output = place.directory.at("out")
        let counting = Fault()
        try await counting.run { try await Verbs.export(place.target, to: output) }
        let expected = try Files.snapshot(output)
        try Directory.removeTree(output)
        let numbers = Share.of(0..<counting.trace.count)
        for number in numbers {
            let fault = Fault { call, _ in call == number ? .ioError : nil }
            let failure = try await Verbs.failure {
                try await fault.run { try await Verbs.export(place.target, to: output) }
            }
            if Files.names(place.directory.path).contains("out") {
                #expect(try Files.snapshot(output) == expected, "\(number) \(fault.trace[number])")
                try Directory.removeTree(output)
            } else {
                #expect(failure != nil, "\(number) \(fault.trace[number])")
            }
        }
        Tally.print(numbers.count, of: counting.trace.count, "W01 system calls failed once, of an export")
    }

    @Test func verificationFails() async throws {
        let place = try Place()
        try await place.convert()
        let counting = Fault()
        try await counting.run { try await Verbs.verify(place.target, against: place.source) }
        let numbers = Share.of(0..<counting.trace.count)
        for number in numbers {
            let fault = Fault { call, _ in call == number ? .ioError : nil }
            let failure = try await Verbs.failure {
                try await fault.run { try await Verbs.verify(place.target, against: place.source) }
            }
            let call = fault.trace[number]
            // The listings' calls to stat tell kinds of files only; only codes need the configuration of the source.
            let isNeeded = !call.name.hasSuffix("stat") && !"\(call)".contains("source/config.json")
            #expect(failure != nil || !isNeeded, "\(number) \(call)")
        }
        Tally.print(numbers.count, of: counting.trace.count, "W01 system calls failed once, of a verification")
    }
}
