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
