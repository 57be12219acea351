import Synchronization

/// Bytes that several workers read at the same time; the buffer goes back to its pool with the last of them.
package final class SharedBytes: Sendable {
    /// The bytes, in the first `count` of them.
    package let bytes: [UInt8]
    /// How many of them count.
    package let count: Int
    private let pool: BufferPool

    fileprivate init(_ bytes: [UInt8], count: Int, pool: BufferPool) {
        self.bytes = bytes
        self.count = count
        self.pool = pool
    }

    /// Adds the bytes to a hash.
    package func hash(into hasher: ContentHasher) {
        let bytes = bytes
        hasher.update(bytes.span.extracting(0..<count))
    }

    deinit { pool.take(back: bytes) }
}

/// Buffers that are used again: a new one of some MiB costs a page fault for each of its pages.
package final class BufferPool: Sendable {
    private let free = Mutex<[[UInt8]]>([])
    private let keptBytes: Int

    /// A pool without buffers.
    ///
    /// - Parameter keptBytes: bytes of the buffers that are kept at most while nobody uses them.
    package init(keptBytes: Int) { self.keptBytes = keptBytes }

    /// Fills a buffer of `count` bytes.
    ///
    /// - Parameter body: gets a buffer of at least `count` bytes, of whatever content.
    package func fill(count: Int, _ body: (inout [UInt8]) throws -> Void) rethrows -> SharedBytes {
        var buffer = free.withLock { free in
            let fitting = free.indices.filter { free[$0].count >= count }.min { free[$0].count < free[$1].count }
            return fitting.map { free.remove(at: $0) } ?? []
        }
        if buffer.count < count { buffer = [UInt8](repeating: 0, count: count) }
        try body(&buffer)
        return SharedBytes(buffer, count: count, pool: self)
    }

    fileprivate func take(back buffer: [UInt8]) {
        free.withLock { free in
            // The largest serve best: smaller ones make room for them.
            free.append(buffer)
            free.sort { $0.count > $1.count }
            var bytes = 0
            free = free.filter { buffer in
                bytes += buffer.count
                return bytes <= keptBytes
            }
        }
    }
}
