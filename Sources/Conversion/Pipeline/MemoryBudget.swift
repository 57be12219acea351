public import Container
import TensorModel

/// How many workspaces a budget of memory buys.
public struct MemoryBudget: Sendable, Hashable {
    /// Bytes of buffers at most.
    public let bytes: UInt64
    /// Items worked on at the same time.
    public let jobs: Int
    /// Workspaces.
    public let workspaces: Int

    /// Room for the writer's and the readers' own buffers.
    private static let fixedBytes: UInt64 = 4 << 20

    /// Shares a budget out; fewer jobs where it does not reach for all.
    ///
    /// - Throws: `usage` where it does not reach for one job.
    public init(bytes: UInt64, jobs: Int) throws {
        let each = UInt64(ChunkWorkspace.maximumBytes)
        let affordable = bytes < MemoryBudget.fixedBytes ? 0 : (bytes - MemoryBudget.fixedBytes) / each
        guard affordable >= 1 else {
            throw IngotError(
                .usage, found: "--max-memory of \(bytes) bytes",
                expected: "at least \((MemoryBudget.fixedBytes + each + 0xF_FFFF) >> 20)MiB, for one chunk under way")
        }
        self.bytes = bytes
        // A chunk's step follows from those so far behind it.
        workspaces = min(Int(min(affordable, UInt64(2 * jobs + 1))), RateController.lag)
        self.jobs = min(jobs, workspaces)
    }

    /// A pipeline over chunks within the budget.
    public func pipeline() -> OrderedPipeline<ChunkWorkspace> {
        OrderedPipeline(jobs: jobs, workspaces: (0..<workspaces).map { _ in ChunkWorkspace() })
    }
}
