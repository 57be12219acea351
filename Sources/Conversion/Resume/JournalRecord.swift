import Container
import FileAccess
import Quantization
import TensorModel

/// One line of the journal (Specs/journal.md).
enum JournalRecord: Sendable {
    /// Options and versions of the conversion; the first line.
    case begin(JournalHeading)
    /// A shard of the source was opened: its position and fingerprint.
    case source(Int, SourceFingerprint)
    /// Rates for all matrices together were planned: the position of a shard, and its findings.
    case rates(Int, ConversionPlan.Findings)
    /// A tensor missed its goal and gets another form: the position of a shard, and the new form.
    case replaced(Int, Replacement)
    /// The payloads of an output shard are written by this plan: its position and the hash of the plan. Payloads of earlier lines are void.
    case encoding(Int, ContentHash)
    /// More payloads of that shard are complete and on the disk: its position and the payloads, in order.
    case encoded(Int, [WrittenPayload])
    /// An output shard has its final name and is on the disk.
    case sealed(Int, SealedRecord)
    /// A shard of the source is about to be deleted.
    case consuming(Int)
    /// The directory is complete and is about to get its name: the hash of its manifest.
    case publishing(ContentHash)

    /// The JSON text of the line, without checksum and newline.
    var text: [UInt8] {
        func line(_ event: String, _ shard: Int?, _ members: [JSONValue.Member]) -> [UInt8] {
            var all: [JSONValue.Member] = [.init("event", .string(event))]
            if let shard { all.append(.init("shard", .unsigned(UInt64(shard)))) }
            return Array(JSONValue.object(all + members).text().utf8)
        }
        switch self {
        case .begin(let heading): return line("begin", nil, heading.members)
        case .source(let shard, let fingerprint): return line("source", shard, [.init("file", fingerprint.json)])
        case .rates(let shard, let findings):
            return line(
                "rates", shard,
                [.init("payloads", .array(findings.sorted { $0.key < $1.key }.map { $1.journalEntry($0) }))])
        case .replaced(let shard, let replacement): return line("replaced", shard, replacement.members)
        case .encoding(let shard, let plan):
            return line("encoding", shard, [.init("plan_xxh3_128", .string(plan.description))])
        case .encoded(let shard, let payloads):
            return line("encoded", shard, [.init("payloads", .array(payloads.map(\.journalEntry)))])
        case .sealed(let shard, let record): return line("sealed", shard, record.members)
        case .consuming(let shard): return line("consuming", shard, [])
        case .publishing(let hash):
            return line("publishing", nil, [.init("manifest_xxh3_128", .string(hash.description))])
        }
    }

    /// Reads the text of a line; nil if this version does not write such a line.
    init?(_ text: [UInt8]) {
        guard let value = try? JSONValue.parse(text), let event = value["event"]?.string else { return nil }
        let shard = value["shard"]?.unsigned.flatMap { Int(exactly: $0) }
        switch (event, shard) {
        case ("begin", nil):
            guard let heading = JournalHeading(value) else { return nil }
            self = .begin(heading)
        case ("source", let shard?):
            guard let fingerprint = value["file"].flatMap({ SourceFingerprint($0) }) else { return nil }
            self = .source(shard, fingerprint)
        case ("rates", let shard?):
            var findings: ConversionPlan.Findings = [:]
            guard let payloads = value["payloads"]?.array else { return nil }
            for entry in payloads {
                guard let (payload, finding) = RatePlanner.Finding.parse(entry),
                    findings.updateValue(finding, forKey: payload) == nil
                else { return nil }
            }
            self = .rates(shard, findings)
        case ("replaced", let shard?):
            guard let replacement = Replacement(value) else { return nil }
            self = .replaced(shard, replacement)
        case ("encoding", let shard?):
            guard let plan = value["plan_xxh3_128"]?.string.flatMap({ ContentHash(hexadecimal: $0) }) else {
                return nil
            }
            self = .encoding(shard, plan)
        case ("encoded", let shard?):
            guard let entries = value["payloads"]?.array else { return nil }
            let payloads = entries.compactMap { WrittenPayload(journal: $0) }
            guard payloads.count == entries.count else { return nil }
            self = .encoded(shard, payloads)
        case ("sealed", let shard?):
            guard let record = SealedRecord(value) else { return nil }
            self = .sealed(shard, record)
        case ("consuming", let shard?): self = .consuming(shard)
        case ("publishing", nil):
            guard let hash = value["manifest_xxh3_128"]?.string.flatMap({ ContentHash(hexadecimal: $0) }) else {
                return nil
            }
            self = .publishing(hash)
        default: return nil
        }
    }
}

/// The first line: what must be the same for a conversion to be resumed.
struct JournalHeading: Sendable {
    private static let version: UInt64 = 1

    /// Version of the program, and versions of its codec libraries.
    let writer: String, codecs: String
    /// The options that decide the bytes.
    let options: [JSONValue.Member]
    /// Names of the shards of the source, in order.
    let shardNames: [String]

    /// The heading of a conversion by this program.
    init(_ options: EncodingOptions, shardNames: [String]) {
        writer = ContainerFormat.writer
        codecs = CodecLibraries.versions
        self.options = options.record
        self.shardNames = shardNames
    }

    /// Reads the members of a `begin` line; nil if this version does not write such a line.
    init?(_ value: JSONValue) {
        guard value["journal_version"]?.unsigned == JournalHeading.version, let writer = value["writer"]?.string,
            let codecs = value["codecs"]?.string, let options = value["options"]?.object,
            let names = value["source_shards"]?.array, names.allSatisfy({ $0.string != nil })
        else { return nil }
        self.writer = writer
        self.codecs = codecs
        self.options = options
        shardNames = names.compactMap(\.string)
    }

    /// The members of the line.
    var members: [JSONValue.Member] {
        [
            .init("journal_version", .unsigned(JournalHeading.version)), .init("writer", .string(writer)),
            .init("codecs", .string(codecs)), .init("options", .object(options)),
            .init("source_shards", .array(shardNames.map { .string($0) })),
        ]
    }

    /// The first difference from an earlier heading, in words; nil if there is none.
    func difference(from earlier: JournalHeading) -> String? {
        if writer != earlier.writer { return "begun by \(earlier.writer), where this is \(writer)" }
        if codecs != earlier.codecs { return "begun with \(earlier.codecs), where this has \(codecs)" }
        func texts(_ members: [JSONValue.Member]) -> [String: String] {
            Dictionary(members.map { ($0.key, $0.value.text()) }, uniquingKeysWith: { first, _ in first })
        }
        let (mine, others) = (texts(options), texts(earlier.options))
        let keys = Set(mine.keys).union(others.keys).sorted().filter { mine[$0] != others[$0] }
        if !keys.isEmpty {
            let parts = keys.map { "\($0) \(others[$0] ?? "not given"), now \(mine[$0] ?? "not given")" }
            return "begun with other options: " + parts.joined(separator: "; ")
        }
        if shardNames.map({ TensorName($0) }) != earlier.shardNames.map({ TensorName($0) }) {
            return "begun on a source of other shards: \(earlier.shardNames.count), now \(shardNames.count)"
        }
        return nil
    }
}

/// What the journal records of a finished shard.
struct SealedRecord: Sendable {
    /// Bytes of the output shard.
    let byteCount: UInt64
    /// The hash in its seal.
    let seal: ContentHash
    /// Warnings about its tensors.
    let warnings: [IngotWarning]

    /// The record of a shard that was sealed just now.
    init(byteCount: UInt64, seal: ContentHash, warnings: [IngotWarning]) {
        self.byteCount = byteCount
        self.seal = seal
        self.warnings = warnings
    }

    /// Reads the members of a `sealed` line; nil if this version does not write such a line.
    init?(_ value: JSONValue) {
        guard let bytes = value["bytes"]?.unsigned,
            let seal = value["seal_xxh3_128"]?.string.flatMap({ ContentHash(hexadecimal: $0) }),
            let warnings = value["warnings"]?.array
        else { return nil }
        self.init(
            byteCount: bytes, seal: seal,
            warnings: warnings.map { IngotWarning(journal: $0) })
    }

    /// The members of the line.
    var members: [JSONValue.Member] {
        [
            .init("bytes", .unsigned(byteCount)), .init("seal_xxh3_128", .string(seal.description)),
            .init("warnings", .array(warnings.map(\.journalEntry))),
        ]
    }
}

/// Reads and writes the lines of a journal; for tests of the reader.
package enum JournalText {
    /// The lines as this version writes them, up to the first line that it does not write.
    package static func rewritten(_ lines: [[UInt8]]) -> [[UInt8]] {
        _ = JournalState(lines)
        return lines.prefix { JournalRecord($0) != nil }.compactMap { JournalRecord($0)?.text }
    }
}
