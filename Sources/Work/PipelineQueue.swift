import Synchronization

/// A value that one worker at a time uses. `PipelineQueue` ensures that, hence the unchecked conformance.
final class Exclusive<Value>: @unchecked Sendable {
    var value: Value

    init(_ value: Value) { self.value = value }
}

/// The items of one run of a pipeline and their states.
final class PipelineQueue<Item: Sendable, Input: Sendable, Output>: Sendable {
    /// Items are numbered from 0. Those below `consumed` are done, those from `started` up to `read` wait for a worker.
    private struct State {
        var ready: [Int: (item: Item, input: Input)] = [:]
        var finished: [Int: Item] = [:]
        var read = 0, started = 0, consumed = 0
        var isReading = false, isConsuming = false
        /// Whether there are no more items, and whether `consume` has stopped the run.
        var isExhausted = false, isStopped = false
        var failure: (any Error)?
        var waiting: [CheckedContinuation<Void, Never>] = []

        /// Whether the workers must end, even with items under way.
        var isOver: Bool { isStopped || failure != nil }
        /// Whether every item has been given to a worker.
        var isDrained: Bool { isExhausted && started == read }

        func canRead(_ lookahead: Int) -> Bool { !isReading && !isExhausted && read - consumed < lookahead }
        func canGoOn(_ lookahead: Int) -> Bool { isOver || isDrained || started < read || canRead(lookahead) }
    }

    /// What a worker does next.
    private enum Step {
        case read
        case work(number: Int, item: Item, input: Input)
        case wait, end
    }

    private let state = Mutex(State())
    private let jobs: Int, lookahead: Int
    private let read: Exclusive<() throws -> (Item, Input)?>
    private let outputs: [Exclusive<Output>]
    private let consume: Exclusive<(Item, inout Output) throws -> PipelineFlow>

    init(
        jobs: Int, lookahead: Int, read: Exclusive<() throws -> (Item, Input)?>, outputs: [Exclusive<Output>],
        consume: Exclusive<(Item, inout Output) throws -> PipelineFlow>
    ) {
        self.jobs = jobs
        self.lookahead = lookahead
        self.read = read
        self.outputs = outputs
        self.consume = consume
    }

    var failure: (any Error)? { state.withLock { $0.failure } }

    /// Runs one worker until the run is over.
    func serve(_ work: (Item, Input, inout Output) throws -> Void) async -> PipelineUsage {
        let clock = ContinuousClock()
        var usage = PipelineUsage()
        while true {
            switch next() {
            case .end: return usage
            case .wait: await wait()
            case .read:
                let begin = clock.now
                readNext()
                usage.working += clock.now - begin
            case .work(let number, let item, let input):
                let begin = clock.now
                do {
                    try work(item, input, &outputs[number % lookahead].value)
                } catch {
                    fail(error)
                    return usage
                }
                let worked = clock.now
                usage.working += worked - begin
                state.withLock { $0.finished[number] = item }
                handOn()
                usage.consuming += clock.now - worked
            }
        }
    }

    private func next() -> Step {
        state.withLock { state in
            if state.isOver || state.isDrained { return .end }
            // Read first while fewer items are ready than there are workers.
            if state.canRead(lookahead), state.read - state.started < jobs {
                state.isReading = true
                return .read
            }
            guard let (item, input) = state.ready.removeValue(forKey: state.started) else { return .wait }
            state.started += 1
            return .work(number: state.started - 1, item: item, input: input)
        }
    }

    private func wait() async {
        await withCheckedContinuation { continuation in
            let canGoOn = state.withLock { state in
                if !state.canGoOn(lookahead) { state.waiting.append(continuation) }
                return state.canGoOn(lookahead)
            }
            if canGoOn { continuation.resume() }
        }
    }

    private func readNext() {
        do {
            let found = try read.value()
            let waiting = state.withLock { state in
                state.isReading = false
                guard let found else {
                    state.isExhausted = true
                    defer { state.waiting = [] }
                    return state.waiting
                }
                state.ready[state.read] = found
                state.read += 1
                return state.waiting.popLast().map { [$0] } ?? []
            }
            for continuation in waiting { continuation.resume() }
        } catch {
            fail(error)
        }
    }

    /// Consumes the next items in order, as long as they are finished and no other worker consumes.
    private func handOn() {
        while true {
            let next = state.withLock { state -> (number: Int, item: Item)? in
                guard !state.isConsuming, !state.isOver, let item = state.finished.removeValue(forKey: state.consumed)
                else { return nil }
                state.isConsuming = true
                return (state.consumed, item)
            }
            guard let (number, item) = next else { return }
            do {
                let flow = try consume.value(item, &outputs[number % lookahead].value)
                let waiting = state.withLock { state in
                    state.isConsuming = false
                    state.consumed += 1
                    guard flow == .stop else { return state.waiting.popLast().map { [$0] } ?? [] }
                    state.isStopped = true
                    defer { state.waiting = [] }
                    return state.waiting
                }
                for continuation in waiting { continuation.resume() }
            } catch {
                return fail(error)
            }
        }
    }

    private func fail(_ error: any Error) {
        let waiting = state.withLock { state in
            if state.failure == nil { state.failure = error }
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }
}
