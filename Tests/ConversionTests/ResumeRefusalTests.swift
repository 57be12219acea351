import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Foundation
import Publishing
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Another conversion than the one that was interrupted: refused, the difference named, nothing lost; `--restart` begins anew.
@Suite struct ResumeRefusalTests {
    /// Requires that a conversion is refused and changes nothing; then `--restart` does it, unless the source is at fault.
    private func expectRefusal(
        _ place: ShardedPlace, _ words: [String], code: IngotError.Code = .cannotCreate, restarts: Bool = true,
        location: SourceLocation = #_sourceLocation, _ change: (inout ConversionOptions) -> Void = { _ in }
    ) async throws {
        let saved = try place.saved()
        let error = try await place.failure(change)
        #expect(error?.code == code, "\(String(describing: error))", sourceLocation: location)
        #expect(error?.code.kind == (code == .sourceChanged ? .system : .cannotCreate), sourceLocation: location)
        for word in words {
            #expect(error?.found.contains(word) == true, "\(word): \(error?.found ?? "")", sourceLocation: location)
        }
        #expect(error?.remedy.includes(.beginAnew) == true, "\(error?.remedy.text ?? "")", sourceLocation: location)
        let left = try place.saved()
        #expect(
            left.filter { $0.key != ".sealed.ingot-journal" } == saved.filter { $0.key != ".sealed.ingot-journal" },
            "finished shards stay", sourceLocation: location)
        #expect(
            left[".sealed.ingot-journal"]?.starts(with: saved[".sealed.ingot-journal"] ?? []) == true,
            "the journal stays", sourceLocation: location)
        #expect(try Directory.kind(place.target) == nil, sourceLocation: location)
        guard restarts else { return }
        let expected = try await place.expected(change)
        let report = try await place.convert { options in
            change(&options)
            options.run.restarts = true
        }
        #expect(report.resumedShards == 0, sourceLocation: location)
        try place.expectFinished(expected, location: location)
        try Directory.removeTree(place.target)
    }

    // MARK: - Options

    /// Two conversions, and the member of the record in which they differ.
    struct Difference: Sendable, CustomTestStringConvertible {
        let key: String
        let first: ConversionOptions, second: ConversionOptions
        let shards: [[SampleTensor]]
        var testDescription: String { key }

        init(
            _ key: String, _ base: ConversionOptions = Verbs.options(),
            of shards: [[SampleTensor]] = ShardedPlace.shards(), _ change: (inout ConversionOptions) -> Void
        ) {
            self.key = key
            self.shards = shards
            first = base
            var second = base
            change(&second)
            self.second = second
        }
    }

    private static func parameters(_ bits: Int, _ group: Int, symmetric: Bool = false) -> UniformParameters {
        Verbs.options(bits: bits, group: group, symmetric: symmetric).encoding.parameters
    }

    static let differences = [
        Difference("scheme") { $0.encoding.scheme = .lossless },
        Difference("codec") { $0.encoding.codec = .none },
        Difference("bits") { $0.encoding.parameters = parameters(5, 32) },
        Difference("group_size") { $0.encoding.parameters = parameters(4, 64) },
        Difference("symmetric") { $0.encoding.parameters = parameters(4, 32, symmetric: true) },
        Difference("on_nonfinite") { $0.encoding.nonFinite = .keep },
        Difference("bits", Verbs.options(.trellis)) { $0.encoding.goal = .bits(4.25) },
        Difference("states", Verbs.options(.trellis)) { $0.encoding.states = 16 },
        Difference("relative_mse", Verbs.options(.trellis)) { $0.encoding.goal = .relativeMSE(0.01) },
        Difference("bits_per_weight", Verbs.options(.trellis)) { $0.encoding.goal = .averageBits(4) },
        // Of the smallest matrices the tables alone take more than any size allows.
        Difference(
            "target_size", Verbs.options(.trellis),
            of: (0..<3).map { [SampleTensor("model.layers.\($0).q_proj.weight", .f16, [64, 128])] }
        ) { $0.encoding.goal = .totalBytes(18_000) },
    ]

    /// W08: a run with other options is refused.
    @Test(arguments: differences)
    func otherOptions(_ difference: Difference) async throws {
        var place = try ShardedPlace(difference.shards)
        place.options = difference.first
        try await place.interrupt(after: 1)
        try await expectRefusal(place, ["1 shard ", "other options", difference.key]) { $0 = difference.second }
    }

    /// All that differ are named, with both values.
    @Test func severalOptions() async throws {
        let place = try ShardedPlace()
        try await place.interrupt(after: 2)
        try await expectRefusal(
            place, ["2 shards ", "codec \"zstd\", now \"none\"", "group_size 32, now 64"]
        ) { options in
            options.encoding.codec = .none
            options.encoding.parameters = ResumeRefusalTests.parameters(4, 64)
        }
    }

    /// What does not decide the bytes may differ.
    @Test func optionsThatChangeNoByte() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 1)
        let report = try await place.convert { options in
            options.run.jobs = 2
            options.run.memory = 128 << 20
            options.run.force = true
        }
        #expect(report.resumedShards == 1)
        try place.expectFinished(expected)
    }

    // MARK: - Versions

    @Test(arguments: ["writer", "codecs"])
    func otherVersions(key: String) async throws {
        let place = try ShardedPlace()
        try await place.interrupt(after: 1)
        let now = key == "writer" ? ContainerFormat.writer : CodecLibraries.versions
        try JournalFile.edit(place.journal) { $0[0].replace("\"\(key)\":\"\(now)\"", with: "\"\(key)\":\"other 9.9\"") }
        try await expectRefusal(place, ["other 9.9", now])
    }

    /// A journal of a version this one cannot read is no rubbish.
    @Test func otherJournalVersion() async throws {
        let place = try ShardedPlace()
        try await place.interrupt(after: 1)
        try JournalFile.edit(place.journal) { $0[0].replace("\"journal_version\":1", with: "\"journal_version\":2") }
        try await expectRefusal(place, ["version"])
    }

    @Test func otherShards() async throws {
        let place = try ShardedPlace()
        try await place.interrupt(after: 1)
        try Directory.removeTree(place.source)
        try SampleSource.write(Array(ShardedPlace.shards().prefix(2)), to: place.source)
        try await expectRefusal(place, ["other shards", "3", "2"])
    }

    // MARK: - The source

    enum Change: CaseIterable, Sendable {
        case size, header, weight, keptWeight
    }

    /// W08: so is one on a source that changed.
    @Test(arguments: Change.allCases, [0, 1])
    func changedSource(change: Change, position: Int) async throws {
        let place = try ShardedPlace()
        try await place.interrupt(after: 1)
        // The second shard was opened, and not finished.
        let path = place.sourceShard(position)
        var tensors = ShardedPlace.shards()[position]
        switch change {
        case .size: tensors.append(SampleTensor("more.weight", .f16, [2, 40]))
        case .header:
            try SampleSource.writeShard(tensors, to: path, metadata: [.init("format", "np")])
            try await expectRefusal(place, [], code: .sourceChanged)
            return
        case .weight: tensors[0].bytes[7] ^= 1
        case .keptWeight: tensors[tensors.count - 1].bytes[0] ^= 1
        }
        try SampleSource.writeShard(tensors, to: path)
        if change == .size { try addToIndex(place, "more.weight", position) }
        let words = change == .size ? ["bytes, where there were"] : ["weights"]
        try await expectRefusal(place, words, code: .sourceChanged)
    }

    private func addToIndex(_ place: ShardedPlace, _ name: String, _ position: Int) throws {
        let path = place.source.appending("model.safetensors.index.json")
        let text = String(decoding: try Files.read(path), as: UTF8.self)
        try Files.write(
            text.replacing(
                "\"weight_map\":{", with: "\"weight_map\":{\"\(name)\":\"\(ShardedPlace.shardName(position))\","),
            to: path)
    }

    /// A shard that was touched, or copied to and fro, is the same one.
    @Test func touchedSource() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 2)
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSince1970: 1_000_000_000)], ofItemAtPath: place.sourceShard(0).string)
        for position in [1, 2] {
            let bytes = try Files.read(place.sourceShard(position))
            try Directory.removeFile(place.sourceShard(position))
            try Files.write(bytes, to: place.sourceShard(position))
        }
        #expect(try await place.convert().resumedShards == 2)
        try place.expectFinished(expected)
    }

    /// Touched shards of matrices in many tiles, and between the samples of a fingerprint one weight that differs.
    @Test func changeBetweenTheSamples() async throws {
        let rows = 9000
        let block = SampleTensor("block", .f16, [100, 512]).bytes
        let bytes = (0..<rows / 100).flatMap { _ in block }
        let shards = (0..<ShardedPlace.count).map { index in
            [
                SampleTensor(
                    "layers.\(index).weight", .f16, index == 0 ? [rows, 512] : [2, 40],
                    bytes: index == 0 ? bytes : Array(bytes.prefix(160)))
            ]
        }
        let place = try ShardedPlace(shards, Verbs.options(.lossless, codec: .none))
        try await place.interrupt(after: 1)
        let path = place.sourceShard(0)
        let date = [FileAttributeKey.modificationDate: Date(timeIntervalSince1970: 1_000_000_000)]
        try FileManager.default.setAttributes(date, ofItemAtPath: path.string)
        let saved = try place.saved()
        #expect(try await place.convert().resumedShards == 1)
        try place.restore(saved)
        // Samples are 64 KiB each, one every 146 KB.
        let offset = 100_000
        try Files.patch([try Files.read(path)[offset] ^ 1], at: offset, in: path)
        try await expectRefusal(place, ["layers.0.weight"], code: .sourceChanged, restarts: false)
    }

    /// A shard of the source that is gone is no damage of what was made of it.
    @Test(arguments: [0, 1])
    func missingSource(position: Int) async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 1)
        let saved = try place.saved()
        let bytes = try Files.read(place.sourceShard(position))
        try Directory.removeFile(place.sourceShard(position))
        let error = try await place.failure()
        #expect(error?.code == .missingShard && error?.file?.hasSuffix(ShardedPlace.shardName(position)) == true)
        #expect(try place.saved() == saved)
        try Files.write(bytes, to: place.sourceShard(position))
        #expect(try await place.convert().resumedShards == 1)
        try place.expectFinished(expected)
    }

    // MARK: - --restart

    @Test func restart() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 2)
        let report = try await place.convert { $0.run.restarts = true }
        #expect(report.resumedShards == 0)
        try place.expectFinished(expected)
    }

    /// Without anything to throw away `--restart` changes nothing; it does not replace what is finished.
    @Test func restartOfNothing() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.convert { $0.run.restarts = true }
        try place.expectFinished(expected)
        #expect(try await place.failure { $0.run.restarts = true }?.code == .cannotCreate)
        try place.expectFinished(expected)
    }

    // MARK: - Others in the place

    @Test func exportIntoTheWork() async throws {
        let place = try ShardedPlace()
        let other = place.directory.at("other")
        try await Verbs.convert(place.source, to: other, place.options)
        try await place.interrupt(after: 1)
        let saved = try place.saved()
        for force in [false, true] {
            let error = try await Verbs.failure { try await Verbs.export(other, to: place.target, force: force) }
            #expect(error?.code == .cannotCreate && error?.found.contains("interrupted") == true)
            #expect(try place.saved() == saved)
        }
        #expect(try await place.convert().resumedShards == 1)
        try Directory.removeTree(other)
        #expect(place.leftovers == [])
    }

    /// Who holds the lock is not disturbed.
    @Test func lockedPlace() async throws {
        let place = try ShardedPlace()
        try await place.interrupt(after: 1)
        let saved = try place.saved()
        let builder = try DirectoryBuilder.begin(place.target, resumes: true, replaceable: nil)
        var options = place.options
        options.run.restarts = true
        let converter = try Converter(place.source, to: place.target, options)
        // Not by `Verbs`, which would wait for the lock.
        let error = try await Verbs.failure { _ = try await converter.run() }
        #expect(error?.code == .locked && error?.code.kind == .tryAgain)
        #expect(try place.saved().filter { !$0.key.hasSuffix("-lock") } == saved)
        let isResumed = builder.isResumed
        #expect(isResumed)
    }

    /// The target appeared while the work lay there.
    @Test func targetAppears() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        try await place.interrupt(after: 2)
        try Directory.create(place.target)
        let error = try await place.failure()
        #expect(error?.code == .cannotCreate)
        #expect(Files.names(place.work).count == 2)
        try Directory.removeTree(place.target)
        #expect(try await place.convert().resumedShards == 2)
        try place.expectFinished(expected)
    }
}
