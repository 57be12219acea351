import Synchronization

/// Bytes that several workers read at the same time. When the last of them is done, the buffer returns to its pool.
package final class SharedBytes: Sendable {
    /// The buffer. Only its first `count` bytes are valid.
    package let bytes: [UInt8]
    /// Number of valid bytes.
    package let count: Int
    private let pool: BufferPool

    fileprivate init(_ bytes: [UInt8], count: Int, pool: BufferPool) {
        self.bytes = bytes
        self.count = count
        self.pool = pool
    }

    /// Adds the valid bytes to a hash.
    package func hash(into hasher: ContentHasher) {
        let bytes = bytes
        hasher.update(bytes.span.extracting(0..<count))
    }

    deinit { pool.take(back: bytes) }
}

/// Buffers for reuse: a new buffer of several MiB costs a page fault per page.
package final class BufferPool: Sendable {
    private let free = Mutex<[[UInt8]]>([])
    private let keptBytes: Int

    /// Makes a pool without buffers.
    ///
    /// - Parameter keptBytes: maximum size in bytes of all unused buffers together.
    package init(keptBytes: Int) { self.keptBytes = keptBytes }

    /// Fills a buffer of `count` bytes.
    ///
    /// - Parameter body: gets a buffer of at least `count` bytes with arbitrary content.
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
            // Keep the largest buffers, which fit most requests.
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
