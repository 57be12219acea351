import FileAccess
import Synchronization

/// Works on many items at once and hands on the results in order, in bounded memory.
///
/// `jobs` workers share three steps:
/// - `read` takes one item at a time, in order, and runs ahead.
/// - `work` takes up to `jobs` items at a time.
/// - `consume` takes one item at a time, in order.
///
/// At most `lookahead` items are between the start of `read` and the end of `consume`. So memory does not depend on the number of items.
/// And when `read` begins an item, all items `lookahead` or more places before it have been consumed.
package struct Pipeline<Workspace>: Sendable {
    /// Number of workers, and maximum number of items between the start of `read` and the end of `consume`.
    package let jobs: Int, lookahead: Int
    private let makeWorkspace: @Sendable () -> Workspace

    /// Makes a pipeline.
    ///
    /// - Parameters:
    ///   - jobs: maximum number of items in `work` at the same time.
    ///   - lookahead: maximum number of items under way. Give at least `jobs`, better twice as many, so that a slow item stops no other
    ///     worker.
    ///   - makeWorkspace: makes the workspace of one worker. It is called once per worker and run.
    package init(jobs: Int, lookahead: Int, makeWorkspace: @escaping @Sendable () -> Workspace) {
        self.jobs = max(1, min(jobs, lookahead))
        self.lookahead = max(1, lookahead)
        self.makeWorkspace = makeWorkspace
    }

    /// Runs all steps on every item.
    ///
    /// The first error ends the run: the workers finish the items under way, and their results are dropped. A signal that ends the process
    /// has the same effect (`Interruption.check`).
    ///
    /// - Parameters:
    ///   - makeOutput: makes one of `lookahead` results. They are reused: `work` finds in a result what an earlier item left there.
    ///   - read: reads what an item needs. One worker at a time calls it, in the order of the items.
    ///   - work: works on an item in the workspace of its worker, and stores the result in the output.
    ///   - consume: takes the result of an item. `.stop` ends the run without an error and drops the items under way.
    /// - Returns: the time that the workers spent.
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

    /// Runs work that reads its own input. Each item gets a new result, so results should be small.
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

    /// Runs work that reads its own input, with results that are reused.
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

/// Whether a run goes on after an item.
package enum PipelineFlow: Sendable, Hashable {
    case proceed, stop
}

/// The time that the workers of a pipeline spent, added up over all of them.
package struct PipelineUsage: Sendable, Hashable {
    /// Time in `read` and `work`, and time in `consume`. The workers waited for the rest of the time.
    package var working = Duration.zero, consuming = Duration.zero

    /// No time spent yet.
    package init() {}

    /// Adds the time of another run.
    package mutating func add(_ other: PipelineUsage) {
        working += other.working
        consuming += other.consuming
    }
}

extension Duration {
    /// The duration in seconds.
    package var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
