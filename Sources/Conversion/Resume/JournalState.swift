import FileAccess
import TensorModel

/// What a journal says.
struct JournalState: Sendable {
    private(set) var heading: JournalHeading?
    private(set) var sources: [Int: SourceFingerprint] = [:]
    private(set) var rates: [Int: ConversionPlan.Findings] = [:]
    var sealed: [Int: SealedRecord] = [:]
    private(set) var consumed: Set<Int> = []
    private(set) var publishing: ContentHash?
    /// Whether whole lines begin with one that this version does not write.
    let isForeign: Bool
    /// Bytes of all sources together.
    private var sourceBytes: UInt64 = 0
    /// Lines that count: those up to the first that this version does not write, or not there.
    private(set) var lineCount = 0

    /// Reads lines up to the first that this version does not write.
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

    /// Whether a line may follow those read so far: it begins the journal, or is about a shard that the first line names.
    private func isNext(_ record: JournalRecord) -> Bool {
        func isShard(_ position: Int) -> Bool { heading.map { $0.shardNames.indices.contains(position) } ?? false }
        switch record {
        case .begin: return heading == nil
        case .source(let shard, let fingerprint):
            let others = sourceBytes - (sources[shard]?.identity.byteCount ?? 0)
            // The sum goes into the manifest; real files together have less than 2^63 bytes.
            return isShard(shard)
                && Checked.add(others, fingerprint.identity.byteCount).map { $0 <= UInt64(Int64.max) } ?? false
        case .rates(let shard, _), .sealed(let shard, _): return isShard(shard)
        case .consuming(let shard): return isShard(shard) && sealed[shard] != nil
        case .publishing: return heading != nil
        }
    }

    mutating func add(_ record: JournalRecord) {
        switch record {
        case .begin(let heading): self.heading = heading
        case .source(let shard, let fingerprint):
            sourceBytes = sourceBytes - (sources[shard]?.identity.byteCount ?? 0) + fingerprint.identity.byteCount
            sources[shard] = fingerprint
        case .rates(let shard, let findings): rates[shard] = findings
        case .sealed(let shard, let record): sealed[shard] = record
        case .consuming(let shard): consumed.insert(shard)
        case .publishing(let hash): publishing = hash
        }
    }
}
