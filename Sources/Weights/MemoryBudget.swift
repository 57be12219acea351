import Container
import TensorModel
package import Work

/// How a memory budget is shared out when chunks are encoded or decoded.
package struct MemoryBudget: Sendable, Hashable {
    /// The ledger of all claims.
    package let ledger: MemoryLedger
    /// Number of chunks processed at the same time.
    package let jobs: Int
    /// The largest number of chunks between reading and writing.
    package let lookahead: Int
    /// The largest band of tiles, in bytes, that is read as a whole. Larger bands are read tile by tile.
    package let bandBytes: Int
    /// The most bytes that a writer gathers before it writes.
    package let writerBytes: Int

    /// The smallest budget in bytes.
    package static let minimumBytes: UInt64 = 64 << 20
    /// Bytes of a band of tiles in binary32, unless rows are very wide.
    private static let largestBand: UInt64 = 32 << 20
    /// Bands in memory: one worker may be at the end of a band while another starts the next.
    private static let bands: UInt64 = 2
    private static let largestWriter: UInt64 = 1 << 20
    /// Bytes for pieces read one by one, and for the sums of a tensor.
    private static let fixedBytes: UInt64 = 2 << 20
    /// Bytes for the encoder or decoder of a worker and its current chunk.
    private static let workspaceBytes = UInt64(ChunkEncoder.maximumBytes) + (2 << 20)
    /// Bytes for a result that waits for its turn, and for its source elements.
    private static let resultBytes: UInt64 = 3 << 20
    /// The largest lookahead: the step of a trellis chunk is computed from chunks at least 32 before it.
    package static let maximumLookahead = 32

    /// What a calibrated conversion needs besides: its workers encode whole bands, with factors of the inputs.
    package struct Bands: Sendable, Hashable {
        /// Bytes of one worker; of one result that waits; of the factors of the largest input while they are made.
        package let workspace: UInt64, result: UInt64, factors: UInt64

        /// The needs of a conversion.
        package init(workspace: UInt64, result: UInt64, factors: UInt64) {
            (self.workspace, self.result, self.factors) = (workspace, result, factors)
        }
    }

    /// Bytes for the factors of linear inputs in a calibrated conversion; 0 in any other.
    package let factorBytes: Int

    /// Shares out a budget of `bytes`. Uses fewer jobs if the budget is too small for `jobs`.
    ///
    /// - Parameter bands: the needs of a calibrated conversion; nil for any other.
    /// - Throws: `usage` if the budget is below the smallest.
    package init(bytes: UInt64, jobs: Int, bands: Bands? = nil) throws {
        guard bytes >= MemoryBudget.minimumBytes else {
            throw IngotError(
                .usage, found: "a memory limit of \(bytes) bytes",
                expected: "at least \(MemoryBudget.minimumBytes >> 20)MiB", remedy: .option(.moreMemory))
        }
        var ledger = MemoryLedger(bytes: bytes)
        let (band, writer) = (MemoryBudget.band(bytes), MemoryBudget.writer(bytes))
        try ledger.claim("bands of the source", MemoryBudget.bands * band)
        try ledger.claim("the writer", writer)
        try ledger.claim("pieces and sums", MemoryBudget.fixedBytes)
        let workspace = MemoryBudget.workspaceBytes + (bands?.workspace ?? 0)
        let result = MemoryBudget.resultBytes + (bands?.result ?? 0)
        if let bands {
            guard bytes >= MemoryBudget.leastBytes(bands) else {
                throw IngotError(
                    .usage, found: "a memory limit of \(bytes) bytes",
                    expected: "at least \(MemoryBudget.leastBytes(bands) >> 20)MiB for the moments of this file",
                    remedy: .option(.moreMemory))
            }
            // Two inputs take turns while a layer's tensors are encoded.
            let factors = min(2 * bands.factors, max(bands.factors, ledger.left / 2))
            try ledger.claim("factors of inputs", factors)
            factorBytes = Int(factors)
        } else {
            factorBytes = 0
        }
        let left = ledger.left
        func lookahead(_ jobs: Int) -> Int { min((bands == nil ? 2 : 1) * jobs + 1, MemoryBudget.maximumLookahead) }
        func needed(_ jobs: Int) -> UInt64 {
            UInt64(jobs) * workspace + UInt64(lookahead(jobs)) * result
        }
        let affordable = (1...max(1, min(jobs, MemoryBudget.maximumLookahead))).last { needed($0) <= left } ?? 1
        self.jobs = ledger.claim("workspaces", each: workspace, maximum: affordable)
        self.lookahead = ledger.claim("results that wait", each: result, maximum: lookahead(affordable))
        bandBytes = Int(band)
        writerBytes = Int(writer)
        self.ledger = ledger
    }

    private static func band(_ bytes: UInt64) -> UInt64 { min(bytes / 8, largestBand) }
    private static func writer(_ bytes: UInt64) -> UInt64 { min(bytes / 16, largestWriter) }

    /// The smallest budget of a calibrated conversion, in whole MiB.
    package static func leastBytes(_ bands: Bands) -> UInt64 {
        let factors = bands.factors + workspaceBytes + bands.workspace + 2 * (resultBytes + bands.result)
        var least = minimumBytes
        // What the source and the writer get grows with the budget, by at most 5 bytes in 16.
        while true {
            let needed = MemoryBudget.bands * band(least) + writer(least) + fixedBytes + factors
            guard needed > least else { return least }
            least = (needed + (1 << 20) - 1) & ~((1 << 20) - 1)
        }
    }

    /// The sum of all claims in bytes.
    package var maximumBytes: UInt64 { ledger.claimed }

    /// A pipeline with the jobs and lookahead of this budget.
    package func pipeline<Workspace>(_ makeWorkspace: @escaping @Sendable () -> Workspace) -> Pipeline<Workspace> {
        Pipeline(jobs: jobs, lookahead: lookahead, makeWorkspace: makeWorkspace)
    }

    /// A reader of chunks in order, with bands of at most `bandBytes`.
    package func bandReader() -> BandReader { BandReader(bandBytes: bandBytes) }
}
