import Synchronization

/// Works on many items at once and hands the results on in order, in bounded memory.
///
/// So many workers take items in order. An item starts only when a workspace is free; the worker that finishes the next item in
/// order hands it on, and the workspace is free again: memory is the number of workspaces times their size, whatever the
/// number of items, and no more threads run than there are jobs.
package final class OrderedPipeline<Workspace: Sendable>: Sendable {
    private let workspaces: [Workspace]
    private let jobs: Int
    private let spent = Mutex(PipelineUsage())

    /// Makes a pipeline.
    ///
    /// - Parameters:
    ///   - jobs: items worked on at the same time.
    ///   - workspaces: what work is done in; more than `jobs`, so that a slow item does not stop the others.
    package init(jobs: Int, workspaces: [Workspace]) {
        precondition(!workspaces.isEmpty)
        self.jobs = max(1, min(jobs, workspaces.count))
        self.workspaces = workspaces
    }

    /// What all runs so far have used.
    package var usage: PipelineUsage { spent.withLock { $0 } }

    /// Runs `work` on every item, `jobs` at a time, and `consume` on each in the items' order, one at a time.
    ///
    /// The first error ends it: work under way is awaited, its results are dropped.
    package func run<Item: Sendable>(
        _ items: some Sequence<Item>, work: @escaping @Sendable (Item, Workspace) throws -> Void,
        consume: @escaping (Item, Workspace) throws -> Void
    ) async throws {
        let queue = PipelineQueue(items, workspaces: workspaces.count, consume: consume)
        let usage = await withTaskGroup(of: PipelineUsage.self) { group in
            for _ in 0..<jobs {
                group.addTask { [workspaces] in await queue.serve(workspaces, work) }
            }
            return await group.reduce(into: PipelineUsage()) { $0.add($1) }
        }
        spent.withLock { $0.add(usage) }
        if let failure = queue.failure { throw failure }
    }
}

/// What the workers of a pipeline spent their time on, all of them together.
package struct PipelineUsage: Sendable {
    /// In work on items, and in handing them on; the rest of the time they waited.
    package var working = Duration.zero, consuming = Duration.zero

    /// Nothing yet.
    package init() {}

    mutating func add(_ other: PipelineUsage) {
        working += other.working
        consuming += other.consuming
    }
}

/// The items of one run, and how far each of them is.
///
/// Everything behind the lock; `consume` is called outside of it, by one worker at a time, hence the unchecked conformance.
private final class PipelineQueue<Item: Sendable, Workspace: Sendable>: @unchecked Sendable {
    private struct State {
        var next: () -> Item?
        var free: [Int]
        var finished: [Int: (item: Item, workspace: Int)] = [:]
        var started = 0
        var consumed = 0
        var isConsuming = false
        var isExhausted = false
        var failure: (any Error)?
        var waiting: [CheckedContinuation<Void, Never>] = []

        /// Whether a worker can go on: to an item, or to its end.
        var isReady: Bool { !free.isEmpty || isExhausted || failure != nil }
    }

    private let lock = Mutex<Void>(())
    private var state: State
    private let consume: (Item, Workspace) throws -> Void

    init(
        _ items: some Sequence<Item>, workspaces: Int, consume: @escaping (Item, Workspace) throws -> Void
    ) {
        var iterator = items.makeIterator()
        state = State(next: { iterator.next() }, free: Array((0..<workspaces).reversed()))
        self.consume = consume
    }

    var failure: (any Error)? { lock.withLock { _ in state.failure } }

    /// Takes items until there are none left.
    func serve(
        _ workspaces: [Workspace], _ work: @Sendable (Item, Workspace) throws -> Void
    ) async -> PipelineUsage {
        let clock = ContinuousClock()
        var usage = PipelineUsage()
        while true {
            guard let (number, item, workspace) = take() else {
                guard lock.withLock({ _ in !state.isExhausted && state.failure == nil }) else { return usage }
                await wait()
                continue
            }
            let begin = clock.now
            do {
                try work(item, workspaces[workspace])
            } catch {
                fail(error)
                return usage
            }
            let worked = clock.now
            usage.working += worked - begin
            lock.withLock { _ in state.finished[number] = (item, workspace) }
            handOn(workspaces)
            usage.consuming += clock.now - worked
        }
    }

    /// The next item, with a workspace for it.
    private func take() -> (number: Int, item: Item, workspace: Int)? {
        var waiting: [CheckedContinuation<Void, Never>] = []
        defer { for continuation in waiting { continuation.resume() } }
        return lock.withLock { _ in
            guard !state.isExhausted, state.failure == nil, let workspace = state.free.popLast() else { return nil }
            guard let item = state.next() else {
                state.free.append(workspace)
                state.isExhausted = true
                swap(&waiting, &state.waiting)
                return nil
            }
            state.started += 1
            return (state.started - 1, item, workspace)
        }
    }

    private func wait() async {
        await withCheckedContinuation { continuation in
            let isReady = lock.withLock { _ in
                if !state.isReady { state.waiting.append(continuation) }
                return state.isReady
            }
            if isReady { continuation.resume() }
        }
    }

    /// Consumes what is next in order, as long as it is finished and nobody else does.
    private func handOn(_ workspaces: [Workspace]) {
        while true {
            let next = lock.withLock { _ -> (item: Item, workspace: Int)? in
                guard !state.isConsuming, state.failure == nil,
                    let next = state.finished.removeValue(forKey: state.consumed)
                else { return nil }
                state.isConsuming = true
                return next
            }
            guard let next else { return }
            do {
                try consume(next.item, workspaces[next.workspace])
            } catch {
                return fail(error)
            }
            let waiting = lock.withLock { _ in
                state.isConsuming = false
                state.consumed += 1
                state.free.append(next.workspace)
                return state.waiting.popLast()
            }
            waiting?.resume()
        }
    }

    private func fail(_ error: any Error) {
        let waiting = lock.withLock { _ in
            if state.failure == nil { state.failure = error }
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }
}
