import FileAccess
import TensorModel

/// What the lines of a journal record, by the position of the shard.
struct JournalState: Sendable {
    /// The first line; nil in an empty journal.
    private(set) var heading: JournalHeading?
    /// Fingerprints of the shards of the source that were opened.
    private(set) var sources: [Int: SourceFingerprint] = [:]
    /// Rates for all matrices together; empty with other goals.
    private(set) var rates: [Int: ConversionPlan.Findings] = [:]
    /// Finished output shards.
    var sealed: [Int: SealedRecord] = [:]
    /// Output shards that are not finished and have payloads on the disk.
    var unfinished: [Int: UnfinishedRecord] = [:]
    /// Tensors that missed their goal, by the position of their shard, in the order in which they got another form.
    private(set) var replaced: [Int: [Replacement]] = [:]
    /// Shards of the source that were deleted, or were about to be.
    private(set) var consumed: Set<Int> = []
    /// Hash of the manifest, if the directory was about to get its name.
    private(set) var publishing: ContentHash?
    /// Whether the journal has lines and the first of them is not one that this version writes.
    let isForeign: Bool
    /// Sum of the bytes of all shards in `sources`.
    private var sourceBytes: UInt64 = 0
    /// Number of lines that were accepted: those before the first that this version does not write.
    private(set) var lineCount = 0

    /// Number of payloads in unfinished shards that are on the disk.
    var unfinishedPayloads: Int { unfinished.values.reduce(0) { $0 + $1.payloads.count } }

    /// Whether a later run can go on from shards or payloads on the disk.
    var hasWork: Bool { !sealed.isEmpty || unfinishedPayloads > 0 }

    /// Reads lines, up to the first that this version does not write or that may not stand at its place.
    init(_ lines: [[UInt8]]) {
        if case .begin? = lines.first.flatMap({ JournalRecord($0) }) {
            isForeign = false
        } else {
            isForeign = !lines.isEmpty
        }
        for line in lines {
            guard let record = JournalRecord(line), isNext(record) else { break }
            add(record)
            lineCount += 1
        }
    }

    /// Whether a line may follow those read so far: it is the first line, or it is about a shard that the first line names.
    private func isNext(_ record: JournalRecord) -> Bool {
        func isShard(_ position: Int) -> Bool { heading.map { $0.shardNames.indices.contains(position) } ?? false }
        switch record {
        case .begin: return heading == nil
        case .source(let shard, let fingerprint):
            let others = sourceBytes - (sources[shard]?.identity.byteCount ?? 0)
            // The sum goes into the manifest; real files have less than 2^63 bytes together.
            return isShard(shard)
                && Checked.add(others, fingerprint.identity.byteCount).map { $0 <= UInt64(Int64.max) } ?? false
        case .rates(let shard, _), .replaced(let shard, _), .encoding(let shard, _), .sealed(let shard, _):
            return isShard(shard)
        case .encoded(let shard, _): return isShard(shard) && unfinished[shard] != nil
        case .consuming(let shard): return isShard(shard) && sealed[shard] != nil
        case .publishing: return heading != nil
        }
    }

    /// Adds a line that was written or accepted.
    mutating func add(_ record: JournalRecord) {
        switch record {
        case .begin(let heading): self.heading = heading
        case .source(let shard, let fingerprint):
            sourceBytes = sourceBytes - (sources[shard]?.identity.byteCount ?? 0) + fingerprint.identity.byteCount
            sources[shard] = fingerprint
        case .rates(let shard, let findings): rates[shard] = findings
        case .replaced(let shard, let replacement): replaced[shard, default: []].append(replacement)
        case .encoding(let shard, let plan): unfinished[shard] = UnfinishedRecord(plan: plan)
        case .encoded(let shard, let payloads): unfinished[shard]?.payloads += payloads
        case .sealed(let shard, let record):
            sealed[shard] = record
            unfinished[shard] = nil
        case .consuming(let shard): consumed.insert(shard)
        case .publishing(let hash): publishing = hash
        }
    }
}
