import Synchronization

/// Buffers of numbers that pipelines use one after the other. A new buffer costs the time to touch its pages first.
final class FloatBuffers: Sendable {
    private let free = Mutex<[[Float]]>([])

    /// A buffer with any numbers and any count.
    func take() -> [Float] { free.withLock { $0.popLast() } ?? [] }

    /// Takes a buffer back; `buffer` is empty then.
    func give(_ buffer: inout [Float]) {
        let returned = buffer
        buffer = []
        free.withLock { $0.append(returned) }
    }
}

/// Arrays of states, which layers use one after the other.
final class StateBuffers: Sendable {
    private let free = Mutex<[Int: [[Float]]]>([:])

    /// States with any numbers.
    func take(tokens: Int, width: Int) -> TokenStates {
        let count = tokens * width
        let values = free.withLock { $0[count]?.popLast() }
        return TokenStates(
            tokens: tokens, width: width, values: values ?? [Float](repeating: 0, count: count))
    }

    /// Frees all buffers: states of other sizes follow.
    func removeAll() { free.withLock { $0.removeAll() } }

    /// Takes states back that nobody reads any more.
    func give(_ states: consuming TokenStates) {
        let values = states.values
        free.withLock { $0[values.count, default: []].append(values) }
    }
}
