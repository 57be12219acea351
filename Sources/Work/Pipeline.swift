import FileAccess
import Synchronization

/// Runs work on many items at once and hands the results on in order, in bounded memory.
///
/// `jobs` workers share three steps. `read` runs in the order of the items, one at a time, some items ahead. `work` runs on `jobs` items
/// at a time. `consume` runs in the order of the items, one at a time. At most `lookahead` items are between `read` and the end of
/// `consume`, so memory does not depend on the number of items, and what an item needs to know of earlier ones is known: all items
/// `lookahead` or more before it have been consumed.
package struct Pipeline<Workspace>: Sendable {
    /// Workers, and items between `read` and `consume`.
    package let jobs: Int, lookahead: Int
    private let makeWorkspace: @Sendable () -> Workspace

    /// Makes a pipeline.
    ///
    /// - Parameters:
    ///   - jobs: items worked on at the same time.
    ///   - lookahead: items that may be under way; at least `jobs`, better twice as many, so that a slow item stops nobody.
    ///   - makeWorkspace: makes what one worker works in; called once a worker and run.
    package init(jobs: Int, lookahead: Int, makeWorkspace: @escaping @Sendable () -> Workspace) {
        self.jobs = max(1, min(jobs, lookahead))
        self.lookahead = max(1, lookahead)
        self.makeWorkspace = makeWorkspace
    }

    /// Runs all steps on every item.
    ///
    /// The first error ends the run: work under way is awaited, its results are dropped. A signal that ends the process ends it, too.
    ///
    /// - Parameters:
    ///   - makeOutput: makes one of `lookahead` results, which are reused: `work` finds in it what an earlier item left there.
    ///   - read: reads what an item needs and is read in order; one worker at a time.
    ///   - work: works on an item, in the workspace of a worker, and leaves the result in the output.
    ///   - consume: takes the result of an item; `.stop` ends the run without an error, and drops what is under way.
    /// - Returns: what the workers spent their time on.
    @discardableResult
    package func run<Item: Sendable, Input: Sendable, Output>(
        _ items: some Sequence<Item>, makeOutput: @escaping @Sendable () -> Output,
        read: @escaping (Item) throws -> Input,
        work: @escaping @Sendable (Item, Input, inout Workspace, inout Output) throws -> Void,
        consume: @escaping (Item, inout Output) throws -> PipelineFlow
    ) async throws -> PipelineUsage {
        var iterator = items.makeIterator()
        let readNext = { () throws -> (Item, Input)? in
            try Interruption.check()
            guard let item = iterator.next() else { return nil }
            return (item, try read(item))
        }
        let queue = PipelineQueue<Item, Input, Output>(
            jobs: jobs, lookahead: lookahead, read: Exclusive(readNext),
            outputs: (0..<lookahead).map { _ in Exclusive(makeOutput()) }, consume: Exclusive(consume))
        let usage = await withTaskGroup(of: PipelineUsage.self) { group in
            for _ in 0..<jobs {
                group.addTask { [makeWorkspace] in
                    var workspace = makeWorkspace()
                    return await queue.serve { item, input, output in try work(item, input, &workspace, &output) }
                }
            }
            return await group.reduce(into: PipelineUsage()) { $0.add($1) }
        }
        if let failure = queue.failure { throw failure }
        return usage
    }

    /// Runs work that reads for itself, and whose results are small enough to be made anew for each item.
    @discardableResult
    package func run<Item: Sendable, Output>(
        _ items: some Sequence<Item>, work: @escaping @Sendable (Item, inout Workspace) throws -> Output,
        consume: @escaping (Item, Output) throws -> Void
    ) async throws -> PipelineUsage {
        try await run(items, makeOutput: { Output?.none }, read: { _ in }) { item, _, workspace, output in
            output = try work(item, &workspace)
        } consume: { item, output in
            guard let found = output.take() else { preconditionFailure("work leaves a result") }
            try consume(item, found)
            return .proceed
        }
    }

    /// Runs work that reads for itself, with results that are reused.
    @discardableResult
    package func run<Item: Sendable, Output>(
        _ items: some Sequence<Item>, makeOutput: @escaping @Sendable () -> Output,
        work: @escaping @Sendable (Item, inout Workspace, inout Output) throws -> Void,
        consume: @escaping (Item, inout Output) throws -> Void
    ) async throws -> PipelineUsage {
        try await run(items, makeOutput: makeOutput, read: { _ in }) { item, _, workspace, output in
            try work(item, &workspace, &output)
        } consume: { item, output in
            try consume(item, &output)
            return .proceed
        }
    }
}

/// Whether a run goes on behind an item.
package enum PipelineFlow: Sendable, Hashable {
    case proceed, stop
}

/// What the workers of a pipeline spent their time on, all of them together.
package struct PipelineUsage: Sendable, Hashable {
    /// In `read` and `work`, and in `consume`; the rest of the time they waited.
    package var working = Duration.zero, consuming = Duration.zero

    /// Nothing yet.
    package init() {}

    /// Adds what another run used.
    package mutating func add(_ other: PipelineUsage) {
        working += other.working
        consuming += other.consuming
    }
}

extension Duration {
    /// The duration in seconds.
    package var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
