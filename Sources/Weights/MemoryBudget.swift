import Container
import TensorModel
package import Work

/// What a budget of memory is spent on when chunks are encoded or decoded.
package struct MemoryBudget: Sendable, Hashable {
    /// The claims.
    package let ledger: MemoryLedger
    /// Chunks worked on at the same time.
    package let jobs: Int
    /// Chunks between reading and writing.
    package let lookahead: Int
    /// Bytes of a band of tiles at most that is read as a whole; rows of wider bands are read tile by tile.
    package let bandBytes: Int
    /// Bytes that a writer gathers at most before it writes them.
    package let writerBytes: Int

    /// The smallest budget.
    package static let leastBytes: UInt64 = 64 << 20
    /// A band of binary32 in the format's tiles, unless rows are very wide.
    private static let largestBand: UInt64 = 32 << 20
    /// Bands that are read and not done yet: a worker may be at the end of one, and another at the start of the next.
    private static let bands: UInt64 = 2
    private static let largestWriter: UInt64 = 1 << 20
    /// Pieces that are read one by one, and sums over a tensor.
    private static let fixedBytes: UInt64 = 2 << 20
    /// Encoder or decoder of a worker, with the chunk that it has in hand.
    private static let workspaceBytes = UInt64(ChunkEncoder.maximumBytes) + (2 << 20)
    /// A result that waits for its turn, and the elements it was made of.
    private static let resultBytes: UInt64 = 3 << 20
    /// The step of a chunk of scheme `trellis` follows from chunks that are as far back.
    package static let mostLookahead = 32

    /// Shares a budget out; fewer jobs where it is too small for all.
    ///
    /// - Throws: `usage` below the smallest budget.
    package init(bytes: UInt64, jobs: Int) throws {
        guard bytes >= MemoryBudget.leastBytes else {
            throw IngotError(
                .usage, found: "a memory limit of \(bytes) bytes",
                expected: "at least \(MemoryBudget.leastBytes >> 20)MiB", remedy: .option(.moreMemory))
        }
        var ledger = MemoryLedger(bytes: bytes)
        let band = min(bytes / 8, MemoryBudget.largestBand)
        let writer = min(bytes / 16, MemoryBudget.largestWriter)
        try ledger.claim("bands of the source", MemoryBudget.bands * band)
        try ledger.claim("the writer", writer)
        try ledger.claim("pieces and sums", MemoryBudget.fixedBytes)
        let left = ledger.left
        func lookahead(_ jobs: Int) -> Int { min(2 * jobs + 1, MemoryBudget.mostLookahead) }
        func needed(_ jobs: Int) -> UInt64 {
            UInt64(jobs) * MemoryBudget.workspaceBytes + UInt64(lookahead(jobs)) * MemoryBudget.resultBytes
        }
        let affordable = (1...max(1, min(jobs, MemoryBudget.mostLookahead))).last { needed($0) <= left } ?? 1
        self.jobs = ledger.claim("workspaces", each: MemoryBudget.workspaceBytes, most: affordable)
        self.lookahead = ledger.claim(
            "results that wait", each: MemoryBudget.resultBytes, most: lookahead(affordable))
        bandBytes = Int(band)
        writerBytes = Int(writer)
        self.ledger = ledger
    }

    /// Bytes that all claims come to.
    package var mostBytes: UInt64 { ledger.claimed }

    /// A pipeline within the budget.
    package func pipeline<Workspace>(_ makeWorkspace: @escaping @Sendable () -> Workspace) -> Pipeline<Workspace> {
        Pipeline(jobs: jobs, lookahead: lookahead, makeWorkspace: makeWorkspace)
    }

    /// A reader of the elements of chunks, in order.
    package func bandReader() -> BandReader { BandReader(bandBytes: bandBytes) }
}
