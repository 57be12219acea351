/// Works on many items at once and hands the results on in order, in bounded memory.
///
/// An item starts only when a workspace is free, and its workspace is free again when its result was consumed: memory
/// is the number of workspaces times their size, whatever the number of items.
public struct OrderedPipeline<Workspace: Sendable>: Sendable {
    private let workspaces: [Workspace]
    private let jobs: Int

    /// Makes a pipeline.
    ///
    /// - Parameters:
    ///   - jobs: items worked on at the same time.
    ///   - workspaces: what work is done in; more than `jobs`, so that a slow item does not stop the others.
    public init(jobs: Int, workspaces: [Workspace]) {
        precondition(!workspaces.isEmpty)
        self.jobs = max(1, min(jobs, workspaces.count))
        self.workspaces = workspaces
    }

    /// Runs `work` on every item, `jobs` at a time, and `consume` on each in the items' order, one at a time.
    ///
    /// The first error ends it: work under way is awaited, its results are dropped.
    public func run<Item: Sendable>(
        _ items: some Sequence<Item>, work: @escaping @Sendable (Item, Workspace) throws -> Void,
        consume: (Item, Workspace) throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Int.self) { group in
            var free = Array(workspaces.indices)
            var waiting: [Int: (Item, Int)] = [:]
            var finished: Set<Int> = []
            var iterator = items.makeIterator()
            var started = 0
            var consumed = 0
            var active = 0
            var exhausted = false
            while true {
                while !exhausted, active < jobs, let slot = free.popLast() {
                    guard let item = iterator.next() else {
                        exhausted = true
                        free.append(slot)
                        break
                    }
                    let workspace = workspaces[slot]
                    let number = started
                    waiting[number] = (item, slot)
                    started += 1
                    active += 1
                    group.addTask {
                        try work(item, workspace)
                        return number
                    }
                }
                guard let number = try await group.next() else { return }
                active -= 1
                finished.insert(number)
                while finished.remove(consumed) != nil, let (item, slot) = waiting.removeValue(forKey: consumed) {
                    try consume(item, workspaces[slot])
                    free.append(slot)
                    consumed += 1
                }
            }
        }
    }
}

/// One chunk of one payload of a shard: what the pipeline's workers take.
package struct ChunkJob: Sendable, Hashable {
    /// Index of the payload in its shard, and of the chunk in the payload.
    package let payload: Int, chunk: Int

    /// All chunks of payloads with so many chunks each, in order.
    package static func all(_ chunkCounts: [Int]) -> some Sequence<ChunkJob> {
        chunkCounts.indices.lazy.flatMap { payload in
            (0..<chunkCounts[payload]).lazy.map { ChunkJob(payload: payload, chunk: $0) }
        }
    }
}
