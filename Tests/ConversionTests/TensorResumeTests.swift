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

/// A shard whose conversion ended in the middle: the next run goes on behind the tensors that are on the disk, and makes the same bytes.
@Suite struct TensorResumeTests {
    private static let tensorCount = 6

    /// One file of six matrices and two kept tensors. Complete payloads are recorded one by one.
    private static func place(
        _ options: ConversionOptions = Verbs.options(), rows: Int = 24
    ) throws -> ShardedPlace {
        var options = options
        options.run.recordedBytes = 1
        let matrices = (0..<tensorCount).map {
            SampleTensor("layers.\($0).q_proj.weight", .f16, [rows, 96], seed: UInt64($0))
        }
        let others = [
            SampleTensor("norm.weight", .bf16, [11], seed: 1), SampleTensor("counts", raw: .i64, [3], seed: 1),
        ]
        return try ShardedPlace([matrices + others], options)
    }

    private static let temporary = ".model.safetensors.ingot-tmp"

    /// Runs a conversion that fails behind `finished` tensors. With those of earlier runs, `all` are then recorded.
    private func interrupt(
        _ place: ShardedPlace, after finished: Int, of all: Int? = nil, location: SourceLocation = #_sourceLocation,
        _ change: (inout ConversionOptions) -> Void = { _ in }
    ) async throws {
        let recorded = Mutex(0)
        let watch = CallWatch { _, call in
            // Each record is one synchronization of the unfinished file.
            guard call.name == "fsync", call.path.hasSuffix(TensorResumeTests.temporary) else { return nil }
            return recorded.withLock { count in
                count += 1
                return count > finished ? .ioError : nil
            }
        }
        let error = try await watch.run { try await place.failure(change) }
        #expect(error?.code == .inputOutput, "\(String(describing: error))", sourceLocation: location)
        let all = all ?? finished
        #expect(try recordedTensors(place) == all, sourceLocation: location)
        #expect(
            error?.remedy.text.contains("\(all) \(all == 1 ? "tensor is" : "tensors are") done") == true,
            "\(error?.remedy.text ?? "")", sourceLocation: location)
    }

    /// Number of payloads that the journal names since the last `encoding` line.
    private func recordedTensors(_ place: ShardedPlace) throws -> Int {
        guard try Directory.kind(place.journal) != nil, try Directory.kind(place.work) != nil else { return 0 }
        var count = 0
        for line in try JournalFile.lines(place.journal) {
            let value = try JSONValue.parse(Array(line.utf8))
            if value["event"]?.string == "encoding" { count = 0 }
            if value["event"]?.string == "encoded" { count += value["payloads"]?.array?.count ?? 0 }
        }
        return count
    }

    private func continued(_ told: ToldEvents) -> [Int] {
        told.all.compactMap { if case .continued(_, let tensors, _) = $0 { tensors } else { nil } }
    }

    // MARK: - Same bytes

    static let options: [(name: String, options: ConversionOptions)] = {
        var bits = Verbs.options(.trellis)
        bits.encoding.goal = .bits(4)
        var error = Verbs.options(.trellis)
        error.encoding.goal = .relativeMSE(0.01)
        var average = Verbs.options(.trellis, codec: .rans)
        average.encoding.goal = .averageBits(5)
        return [
            ("uniform", Verbs.options()), ("lossless", Verbs.options(.lossless)), ("bits", bits),
            ("relative MSE", error), ("bits over all", average),
        ]
    }()

    /// Interrupted behind each tensor, and once more behind a later one.
    @Test(arguments: options.indices)
    func continuesBehindEachTensor(index: Int) async throws {
        let place = try TensorResumeTests.place(TensorResumeTests.options[index].options)
        let expected = try await place.expected()
        for finished in 1..<TensorResumeTests.tensorCount {
            try await interrupt(place, after: finished)
            let (watch, told) = (CallWatch(), ToldEvents())
            let report = try await watch.run { try await told.convert(place) }
            #expect(report.resumedTensors == finished && report.resumedShards == 0)
            #expect(continued(told) == [finished])
            // The planned rates are in the journal.
            #expect(!told.all.contains { if case .planning = $0 { true } else { false } })
            try place.expectFinished(expected, "after \(finished)")
            try Directory.removeTree(place.target)
        }
    }

    /// Any call fails, or every call from some call on: the next run makes the same bytes and takes over what the journal names.
    @Test(arguments: [false, true])
    func everyCallFails(isKilled: Bool) async throws {
        var trellis = Verbs.options(.trellis)
        trellis.encoding.goal = .bits(4)
        let place = try TensorResumeTests.place(trellis)
        let expected = try await place.expected()
        let counting = CallWatch()
        try await counting.run { _ = try await place.convert() }
        try Directory.removeTree(place.target)
        let count = counting.trace.count
        var resumed = 0
        let numbers = Share.of(0..<count)
        for number in numbers {
            let fault = CallWatch { call, _ in
                (isKilled ? call >= number : call == number) ? .ioError : nil
            }
            _ = try await fault.run { try await place.failure() }
            let what = "\(number) \(fault.trace[number])"
            if try Directory.kind(place.target) == nil {
                let recorded = try recordedTensors(place)
                let hasFile = Files.names(place.work).contains(TensorResumeTests.temporary)
                let report = try await place.convert()
                if report.resumedShards == 0 {
                    #expect(report.resumedTensors == (hasFile ? recorded : 0), "\(what)")
                }
                resumed += report.resumedTensors
            } else if Files.names(place.directory.path).contains(".sealed.ingot-journal") {
                _ = try await place.convert()
            }
            try? Directory.removeFile(place.directory.at(".sealed.ingot-lock"))
            try place.expectFinished(expected, what)
            try Directory.removeTree(place.target)
        }
        #expect(resumed > numbers.count / 2, "\(resumed) tensors in \(numbers.count) runs")
    }

    /// A tensor that no step brings to its goal gets another form; a run that goes on behind it repeats that, and its warning.
    @Test func replacedTensorsStayReplaced() async throws {
        var options = Verbs.options(.trellis, jobs: 2)
        options.encoding.goal = .bits(4)
        options.run.recordedBytes = 1
        var tensors = (0..<5).map { SampleTensor("layers.\($0).q_proj.weight", .f16, [24, 96], seed: UInt64($0)) }
        tensors.insert(TensorResumeTests.unpredictable, at: 1)
        let place = try ShardedPlace([tensors], options)
        let told = ToldEvents()
        try await told.convert(place)
        let (expected, warnings) = (try Files.snapshot(place.target), told.warnings)
        #expect(warnings.contains { $0.contains(" instead") }, "no tensor missed its goal: \(warnings)")
        try Directory.removeTree(place.target)
        // The first attempt records one tensor, the second all six.
        for (records, taken) in [(1, 1), (2, 1), (3, 2), (4, 3), (6, 5)] {
            let recorded = Mutex(0)
            let watch = CallWatch { _, call in
                guard call.name == "fsync", call.path.hasSuffix(TensorResumeTests.temporary) else { return nil }
                return recorded.withLock { count in
                    count += 1
                    return count > records ? .ioError : nil
                }
            }
            let error = try await watch.run { try await place.failure() }
            #expect(error?.code == .inputOutput, "after \(records)")
            let again = ToldEvents()
            let report = try await again.convert(place)
            #expect(report.resumedTensors == (records == 1 ? 0 : taken), "after \(records)")
            #expect(again.warnings == warnings, "after \(records)")
            try place.expectFinished(expected, "after \(records)")
            try Directory.removeTree(place.target)
        }
    }

    /// A matrix whose samples predict too few bytes: one row in ten has magnitudes near the largest of the type.
    private static let unpredictable: SampleTensor = {
        var generator = SeededGenerator(11)
        var bytes: [UInt8] = []
        for row in 0..<1024 {
            for column in 0..<1024 {
                let large: Float = column * 7919 % 1009 % 2 == 0 ? 3e38 : -3e38
                bytes += FloatBytes.encode(row % 10 == 3 ? large : generator.gaussian() * 1e-3, .f32)
            }
        }
        return SampleTensor("layers.9.q_proj.weight", .f32, [1024, 1024], bytes: bytes)
    }()

    /// Runs of other sizes and jobs, each interrupted, make the same bytes.
    @Test func jobsAndMemoryMayDiffer() async throws {
        let place = try TensorResumeTests.place()
        let expected = try await place.expected()
        try await interrupt(place, after: 1) { $0.run.jobs = 4 }
        try await interrupt(place, after: 2, of: 3) { $0.run.memory = 128 << 20 }
        let report = try await place.convert { $0.run.jobs = 3 }
        #expect(report.resumedTensors == 3)
        try place.expectFinished(expected)
    }

    // MARK: - Damage

    /// A damaged byte in any payload: the tensors before it are taken over, the others are encoded again.
    @Test func damagedPayloadsAreEncodedAgain() async throws {
        let place = try TensorResumeTests.place()
        let expected = try await place.expected()
        try await interrupt(place, after: 4)
        let saved = try place.saved()
        let file = place.work.appending(TensorResumeTests.temporary)
        let size = try Files.read(file).count
        let dataStart = try #require(expected["model.safetensors"].map { 8 + Int($0[0]) + Int($0[1]) << 8 })
        let places = Array(stride(from: dataStart, to: size, by: 7))
        for offset in Share.of(places, minimum: 40) {
            try place.restore(saved)
            try FileTimes.patch([try Files.read(file)[offset] ^ 0x10], at: offset, in: file)
            let told = ToldEvents()
            let report = try await told.convert(place)
            if report.resumedTensors < 4 {
                #expect(told.warnings.contains { $0.contains("not whole any more") }, "byte \(offset)")
            }
            try place.expectFinished(expected, "byte \(offset)")
        }
    }

    /// An unfinished file that is gone, empty, cut off, or replaced by a link.
    @Test func lostFilesAreMadeAgain() async throws {
        let place = try TensorResumeTests.place()
        let expected = try await place.expected()
        try await interrupt(place, after: 3)
        let saved = try place.saved()
        let file = place.work.appending(TensorResumeTests.temporary)
        let whole = try Files.read(file)
        for size in [nil, 0, 63, 64, whole.count / 2, whole.count - 1] {
            try place.restore(saved)
            try Directory.removeFile(file)
            if let size { try Files.write(Array(whole[..<size]), to: file) }
            let report = try await place.convert()
            #expect(report.resumedTensors <= 3)
            try place.expectFinished(expected, "\(size.map(String.init) ?? "gone")")
        }
    }

    // MARK: - Another source, other options

    /// Touched, but with the same bytes: its tensors are hashed, and the work is taken over. With other bytes: refused.
    @Test func changedSourcesAreRefused() async throws {
        // Larger than what a fingerprint covers as a whole, so that the change lies outside of its samples.
        let place = try TensorResumeTests.place(rows: 8192)
        let expected = try await place.expected()
        try await interrupt(place, after: 2)
        let saved = try place.saved()
        let source = place.source.appending("model.safetensors")
        let bytes = try Files.read(source)
        try Files.write(bytes, to: source)
        #expect(try await place.convert().resumedTensors == 2)
        try place.expectFinished(expected)
        try place.restore(saved)
        // Sampled are 64 KiB at each 63rd part of the file.
        let offset = (bytes.count - (64 << 10)) / 63 * 3 + (80 << 10)
        try FileTimes.patch([bytes[offset] ^ 1], at: offset, in: source)
        let error = try await place.failure()
        #expect(
            error?.code == .sourceChanged && error?.found.contains("other weights in layers.0") == true,
            "\(error as Any)")
        #expect(try Directory.kind(place.target) == nil)
    }

    @Test func otherOptionsAreRefused() async throws {
        let place = try TensorResumeTests.place()
        try await interrupt(place, after: 2)
        let error = try await place.failure { $0.encoding.codec = .lz4 }
        #expect(
            error?.code == .cannotCreate
                && error?.found.hasPrefix("2 tensors of a conversion that was interrupted") == true)
        #expect(error?.remedy.includes(.beginAnew) == true)
        let expected = try await place.expected { $0.encoding.codec = .lz4 }
        let report = try await place.convert {
            $0.encoding.codec = .lz4
            $0.run.restarts = true
        }
        #expect(report.resumedTensors == 0)
        try place.expectFinished(expected)
    }

    /// Less than the bytes to record are not worth a file: the run leaves nothing.
    @Test func littleWorkIsNotKept() async throws {
        let place = try TensorResumeTests.place()
        let watch = CallWatch { _, call in
            call.name == "pwrite" && call.path.hasSuffix(TensorResumeTests.temporary) ? .ioError : nil
        }
        let error = try await watch.run { try await place.failure { $0.run.recordedBytes = 1 << 30 } }
        #expect(error?.code == .inputOutput)
        #expect(place.leftovers == [])
    }

    /// A run that would fail again leaves nothing, however much was recorded.
    @Test func hopelessRunsLeaveNothing() async throws {
        var options = Verbs.options()
        options.run.recordedBytes = 1
        let bad = [UInt8](repeating: 0xFF, count: 24 * 96 * 2)
        let place = try ShardedPlace(
            [
                [
                    SampleTensor("layers.0.q_proj.weight", .f16, [24, 96]),
                    SampleTensor("layers.1.q_proj.weight", .f16, [24, 96], bytes: bad),
                ]
            ],
            options)
        let error = try await place.failure()
        #expect(error?.code == .nonFinite)
        #expect(place.leftovers == [])
    }
}
