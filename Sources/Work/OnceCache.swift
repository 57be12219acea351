import Synchronization

/// Values that are made once, when they are first asked for. The least recently used ones go when there are too many bytes.
package final class OnceCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private let maximumBytes: Int
    private let byteCount: @Sendable (Value) -> Int
    private let state = Mutex(State())

    /// A value that is made by the first who asks; the others wait.
    private final class Once: Sendable {
        private let made = Mutex(Value??.none)

        /// What was made, or what `make` gives; nil if it gives nothing.
        func value(_ make: () throws -> Value?) throws -> Value? {
            try made.withLock { made in
                if let made { return made }
                let value = try make()
                made = .some(value)
                return value
            }
        }

        /// Bytes of the value; 0 until it is made.
        func bytes(_ count: (Value) -> Int) -> Int { made.withLockIfAvailable { ($0 ?? nil).map(count) ?? 0 } ?? 0 }
    }

    private struct State {
        /// The least recently used first.
        var entries: [(key: Key, once: Once)] = []
    }

    /// An empty cache.
    ///
    /// - Parameters:
    ///   - maximumBytes: bytes of all values together; one value may have more.
    ///   - byteCount: bytes of a value.
    package init(maximumBytes: Int, byteCount: @escaping @Sendable (Value) -> Int) {
        (self.maximumBytes, self.byteCount) = (maximumBytes, byteCount)
    }

    /// The value of a key. Any number of threads may ask at the same time.
    ///
    /// - Parameter make: makes the value; nil if there is none, which is remembered too.
    package func value(of key: Key, make: () throws -> Value?) throws -> Value? {
        let once = state.withLock { state in
            let place = state.entries.firstIndex { $0.key == key }
            let entry = place.map { state.entries.remove(at: $0) } ?? (key: key, once: Once())
            state.entries.append(entry)
            return entry.once
        }
        let made = try once.value(make)
        state.withLock { state in
            var bytes = state.entries.reduce(0) { $0 + $1.once.bytes(byteCount) }
            while bytes > maximumBytes, state.entries.count > 1 {
                bytes -= state.entries.removeFirst().once.bytes(byteCount)
            }
        }
        return made
    }
}
