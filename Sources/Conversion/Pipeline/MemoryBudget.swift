package import Container
import TensorModel

/// What a budget of memory buys: workspaces, and pages of the source that may be resident.
package struct MemoryBudget: Sendable, Hashable {
    /// Bytes at most, the program itself not counted.
    package let bytes: UInt64
    /// Items worked on at the same time.
    package let jobs: Int
    /// Workspaces.
    package let workspaces: Int
    /// Bytes of a band of tiles at most that may be resident as mapped pages.
    package let mappedBand: Int

    /// The smallest budget.
    package static let leastBytes: UInt64 = 64 << 20
    /// A band of binary32 in the format's tiles, unless rows are very wide.
    private static let largestBand: UInt64 = 32 << 20
    /// The writer's buffer, and that of the pieces that are read.
    private static let fixedBytes: UInt64 = 2 << 20

    /// Shares a budget out; fewer jobs where it does not reach for all.
    ///
    /// Chunks under way are neighbours, so that two bands are resident at most.
    ///
    /// - Throws: `usage` below the smallest budget.
    package init(bytes: UInt64, jobs: Int) throws {
        guard bytes >= MemoryBudget.leastBytes else {
            throw IngotError(
                .usage, found: "a memory limit of \(bytes) bytes",
                expected: "at least \(MemoryBudget.leastBytes >> 20)MiB", remedy: .option(.moreMemory))
        }
        self.bytes = bytes
        let band = min(bytes / 4, MemoryBudget.largestBand)
        mappedBand = Int(band)
        let affordable = (bytes - 2 * band - MemoryBudget.fixedBytes) / UInt64(ChunkWorkspace.maximumBytes)
        // A chunk's step follows from those so far behind it.
        workspaces = min(Int(min(affordable, UInt64(2 * jobs + 1))), RateController.lag)
        self.jobs = min(jobs, workspaces)
    }

    /// Bytes that buffers and resident pages come to at most.
    package var mostBytes: UInt64 {
        UInt64(workspaces * ChunkWorkspace.maximumBytes + 2 * mappedBand) + MemoryBudget.fixedBytes
    }

    /// A pipeline over chunks within the budget.
    package func pipeline() -> OrderedPipeline<ChunkWorkspace> {
        OrderedPipeline(
            jobs: jobs, workspaces: (0..<workspaces).map { _ in ChunkWorkspace(mappedBandLimit: mappedBand) })
    }
}
