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

/// Journals that somebody edited, checksums and all: success with bytes that hold what they claim, or an error; never a signal.
@Suite struct JournalEditTests {
    /// A place in one document: keys and indexes from the outside in.
    private typealias Path = [Step]

    private enum Step {
        case key(String), index(Int)
    }

    // MARK: - Edits

    private static func leaves(_ value: JSONValue, _ path: Path = []) -> [(path: Path, value: JSONValue)] {
        switch value {
        case .object(let members):
            [(path, value)] + members.flatMap { leaves($0.value, path + [.key($0.key)]) }
        case .array(let values):
            [(path, value)] + values.enumerated().flatMap { leaves($1, path + [.index($0)]) }
        default: [(path, value)]
        }
    }

    private static func replaced(_ value: JSONValue, _ path: ArraySlice<Step>, by other: JSONValue?) -> JSONValue {
        guard let step = path.first else { return other ?? .null }
        let rest = path.dropFirst()
        switch (value, step) {
        case (.object(let members), .key(let key)):
            return .object(
                members.compactMap { member in
                    guard member.key == key else { return member }
                    if rest.isEmpty, other == nil { return nil }
                    return .init(key, replaced(member.value, rest, by: other))
                })
        case (.array(let values), .index(let index)):
            return .array(
                values.enumerated().compactMap { place, value in
                    guard place == index else { return value }
                    if rest.isEmpty, other == nil { return nil }
                    return replaced(value, rest, by: other)
                })
        default: return value
        }
    }

    /// Binary64 numbers at which arithmetic ends, as a journal writes them.
    private static let numbers: [Double] = [
        .nan, .signalingNaN, .infinity, -.infinity, 0, -0.0, .leastNonzeroMagnitude, 0x1p-1030, -1, 0x1p1023,
        .greatestFiniteMagnitude, 0x1p-149, 0x1p-126, 0x1p-127, 0x1p126, 0x1p127, 0x1p128, 1e-9, 0.3, 1.5, 1e18, 0x1p63,
        0x1p64,
    ]

    private static let integers: [UInt64] = [
        0, 1, 2, 3, 4, 8, 16, 255, 256, 257, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, .max - 1, .max,
    ]

    /// What is put in the place of a value; nil takes it away.
    private static func others(_ value: JSONValue, _ path: Path) -> [JSONValue?] {
        let kinds: [JSONValue?] = [nil, .null, .bool(true), .array([]), .object([]), .string(""), .unsigned(7)]
        switch value {
        case .unsigned: return kinds + integers.map { .unsigned($0) } + [.number(-1), .number(1.5), .number(1e300)]
        case .string(let text) where text.utf8.count == 16:
            return kinds + numbers.map { .string(ContentHash.hexadecimal($0.bitPattern)) }
                + [.string("not_finite"), .string("kept"), .string(text.uppercased()), .string("-1")]
        case .string(let text) where text.utf8.count == 32:
            return kinds + [.string(String(repeating: "0", count: 32)), .string(String(text.reversed()))]
        case .string(let text):
            return kinds
                + ["\u{1}", String(repeating: "x", count: 5000), "9223372036854775807.999999999", "-1.-1", "1.5.2"].map
            {
                .string($0)
            } + [.string(text + "0")]
        default: return kinds
        }
    }

    /// Raw texts in the place of a whole line.
    private static let lines = [
        "", "{}", "[]", "null", "{\"event\":\"begin\"}", "{\"event\":\"sealed\",\"shard\":0}",
        "{\"event\":\"consuming\",\"shard\":2}",
        "{\"event\":\"consuming\",\"shard\":9223372036854775807}", "{\"event\":\"consuming\",\"shard\":1000}",
        "{\"event\":\"rates\",\"shard\":0,\"payloads\":[]}", "{\"event\":\"rates\",\"shard\":7,\"payloads\":[]}",
        "{\"event\":\"encoding\",\"shard\":2,\"plan_xxh3_128\":\"00000000000000000000000000000000\"}",
        "{\"event\":\"encoded\",\"shard\":2,\"payloads\":[]}", "{\"event\":\"encoded\",\"shard\":0,\"payloads\":[]}",
        "{\"event\":\"replaced\",\"shard\":2,\"payload\":0,\"rate\":\"kept\",\"warning\":{}}",
        "{\"event\":\"publishing\",\"manifest_xxh3_128\":\"00000000000000000000000000000000\"}",
    ]

    // MARK: - Journals

    struct Journal: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let options: ConversionOptions
        var consumes = false
        /// Whether the third shard is unfinished, with payloads on the disk.
        var isUnfinished = false
        /// Whether the values of all lines are edited; else those of the first line of each event.
        var isWhole = false
        /// The least number of edits.
        let minimum: Int
    }

    static let journals: [Journal] = {
        var shared = Verbs.options(.trellis)
        shared.encoding.goal = .averageBits(4)
        var size = Verbs.options(.trellis, codec: .rans)
        size.encoding.goal = .totalBytes(6600)
        var unfinished = Verbs.options(.trellis)
        unfinished.encoding.goal = .bits(4)
        unfinished.run.recordedBytes = 1
        return [
            Journal(testDescription: "rate over all", options: shared, minimum: 900),
            Journal(testDescription: "target size, rans", options: size, minimum: 900),
            Journal(
                testDescription: "unfinished shard", options: unfinished, isUnfinished: true, isWhole: true,
                minimum: 900),
            Journal(testDescription: "uniform", options: Verbs.options(), isWhole: true, minimum: 900),
            Journal(testDescription: "consumed", options: Verbs.options(), consumes: true, minimum: 352),
        ]
    }()

    private static func shards() -> [[SampleTensor]] {
        let kinds: [WeightKind] = [.gaussian, .heavy, .sparse]
        return kinds.enumerated().map { index, kind in
            [
                SampleTensor("layers.\(index).a.weight", .f16, [12, 40], kind, seed: UInt64(index)),
                SampleTensor("layers.\(index).norm", .bf16, [7], kind, seed: UInt64(index)),
            ]
        }
    }

    /// Ends a conversion when the third shard has its payload on the disk.
    private func interruptKept(_ place: ShardedPlace) async throws {
        let name = ShardedPlace.temporaryName(2)
        let recorded = Mutex(false)
        let watch = CallWatch { _, call in
            guard call.path.hasSuffix(name) else { return nil }
            return recorded.withLock { isRecorded in
                if isRecorded, call.name == "pwrite" { return .ioError }
                isRecorded = isRecorded || call.name == "fsync"
                return nil
            }
        }
        let error = try await watch.run { try await place.failure() }
        #expect(error?.code == .inputOutput)
        #expect(Files.names(place.work).contains(name))
    }

    /// W14: a journal that names more tensors of an unfinished shard than the shard has.
    @Test(arguments: [2, 5]) func moreTensorsThanTheShardHas(times: Int) async throws {
        let journal = try #require(JournalEditTests.journals.first { $0.isUnfinished })
        let place = try ShardedPlace(JournalEditTests.shards(), journal.options)
        let expected = try await place.expected()
        try await interruptKept(place)
        let texts = try JournalFile.lines(place.journal)
        let edited = try texts.flatMap { text in
            let isEncoded = try JSONValue.parse(Array(text.utf8))["event"]?.string == "encoded"
            return [String](repeating: text, count: isEncoded ? times : 1)
        }
        #expect(edited.count > texts.count)
        try Files.write(edited.flatMap { JournalFile.line($0) }, to: place.journal)
        if let error = try await place.failure() {
            #expect(error.code.kind != .disagreement && FileIdentity(place.target) == nil, "\(error)")
        } else {
            #expect(try Files.snapshot(place.target) == expected)
        }
    }

    /// W14: values of its lines, and whole lines, in turn.
    @Test(arguments: journals)
    func everyEdit(journal: Journal) async throws {
        let place = try ShardedPlace(JournalEditTests.shards(), journal.options)
        let expected = try await place.expected()
        let whole = try (0..<ShardedPlace.count).map { try Files.read(place.sourceShard($0)) }
        let copy = place.directory.at("copy")
        try Files.copyTree(place.source, to: copy)
        if journal.isUnfinished {
            try await interruptKept(place)
        } else {
            try await place.interrupt(after: 2) { $0.run.consumesSource = journal.consumes }
        }
        let saved = try place.saved()
        let texts = try JournalFile.lines(place.journal)
        var edits: [(what: String, lines: [String], isRate: Bool)] = []
        var events: [String: Int] = [:]
        for (number, text) in texts.enumerated() {
            func add(_ what: String, _ line: [String], isRate: Bool = false) {
                edits.append(
                    ("line \(number): \(what)", Array(texts[..<number]) + line + texts[(number + 1)...], isRate))
            }
            add("gone", [])
            add("twice", [text, text])
            for line in JournalEditTests.lines { add(line, [line]) }
            let value = try JSONValue.parse(Array(text.utf8))
            let event = value["event"]?.string
            let isRates = event == "rates"
            guard journal.isWhole || events.updateValue(number, forKey: event ?? "") == nil else { continue }
            for (path, leaf) in JournalEditTests.leaves(value) {
                for other in JournalEditTests.others(leaf, path) where other != leaf {
                    let edited = JournalEditTests.replaced(value, path[...], by: other).text()
                    add("\(path) is \(other?.text().prefix(80) ?? "gone")", [edited], isRate: isRates)
                }
            }
        }
        #expect(edits.count >= journal.minimum, "\(edits.count) edits")
        var refused = 0
        let tried = Share.of(edits)
        for edit in tried {
            try place.restore(saved)
            if journal.consumes {
                for position in 0..<ShardedPlace.count where position < 2 {
                    try? Directory.removeFile(place.sourceShard(position))
                }
                try Files.write(whole[2], to: place.sourceShard(2))
            }
            try Files.write(edit.lines.flatMap { JournalFile.line($0) }, to: place.journal)
            let error = try await place.failure { $0.run.consumesSource = journal.consumes }
            if let error {
                refused += 1
                #expect(
                    [.request, .badData, .noInput, .cannotCreate, .system].contains(error.code.kind),
                    "\(edit.what): \(error)")
                #expect(FileIdentity(place.target) == nil, "\(edit.what)")
                if journal.consumes {
                    // The only copies of what was consumed stay.
                    for position in 0..<2 { #expect(FileIdentity(place.workShard(position)) != nil, "\(edit.what)") }
                }
                continue
            }
            let files = try Files.snapshot(place.target)
            if files != expected {
                // Rates and the size of a source that is gone can be others that are possible too.
                #expect(edit.isRate || journal.consumes, "\(edit.what): other bytes")
                #expect(try await Verbs.verify(place.target, against: copy).holds, "\(edit.what)")
            }
        }
        #expect(refused > 0 && refused < tried.count)
        Tally.print(tried.count, of: edits.count, "W14 edits of a journal, \(journal.testDescription)")
    }
}
