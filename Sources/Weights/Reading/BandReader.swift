package import Checkpoints
package import Container
package import FileAccess
package import Quantization
package import TensorModel

/// Reads the elements of chunks in order, each byte once. With the first tile of a band it reads the whole band.
///
/// Workers that hold tiles of a band share it. Its buffer returns to the reader's pool when the last of them is done.
package struct BandReader {
    private let pool: BufferPool
    private let bandBytes: Int
    private let hashes: Bool
    private var band: SharedBytes?
    private var hasher = ContentHasher()

    /// Makes a reader.
    ///
    /// - Parameters:
    ///   - bandBytes: the largest band, in bytes, that is read as a whole.
    ///   - hashes: whether to hash the bytes of each tensor.
    package init(bandBytes: Int, hashes: Bool = true) {
        self.bandBytes = bandBytes
        self.hashes = hashes
        pool = BufferPool(keptBytes: 2 * bandBytes)
    }

    /// Reads the elements of the next chunk of a tensor, or takes them from the band that was read before.
    ///
    /// - Parameters:
    ///   - chunk: index of the chunk. The chunks of a tensor must be read in order, from the first on.
    ///   - tensor: the bytes of the tensor.
    ///   - grid: the chunk grid of the tensor.
    ///   - elementType: the element type of the tensor.
    package mutating func read(
        _ chunk: Int, of tensor: TensorBytes, _ grid: ChunkGrid, _ elementType: ElementType
    ) throws -> ReadChunk {
        if chunk == 0 { hasher = ContentHasher() }
        return try read(
            grid.place(of: chunk), of: tensor, columns: grid.columns, elementType, beginsBand: grid.beginsBand(chunk),
            isLast: chunk == grid.count - 1)
    }

    /// Reads the elements of a rectangle, or takes them from the band that was read with the band's first rectangle.
    ///
    /// - Parameters:
    ///   - columns: number of columns of the tensor.
    ///   - beginsBand: whether the rectangle is the first of its band; the others follow it.
    ///   - isLast: whether it is the last rectangle of its tensor.
    package mutating func read(
        _ place: ChunkPlace, of tensor: TensorBytes, columns: Int, _ elementType: ElementType, beginsBand: Bool,
        isLast: Bool
    ) throws -> ReadChunk {
        let width = elementType.byteWidth
        let isContiguous = place.columns == columns || place.rows == 1
        if isContiguous {
            try load(UInt64((place.row * columns + place.column) * width), count: place.count * width, of: tensor)
        } else if beginsBand {
            try load(UInt64(place.row * columns * width), count: place.rows * columns * width, of: tensor)
        }
        return ReadChunk(
            shared: band, start: isContiguous ? 0 : place.column * width,
            stride: (isContiguous ? place.columns : columns) * width,
            hash: isLast && hashes ? hasher.finish() : nil)
    }

    private mutating func load(_ start: UInt64, count: Int, of tensor: TensorBytes) throws {
        band = nil
        tensor.prefetch(behind: start, count: count)
        if count <= bandBytes {
            let read = try pool.fill(count: count) { try tensor.read(start, count: count, into: &$0) }
            if hashes { read.hash(into: hasher) }
            band = read
            return
        }
        guard hashes else { return }
        // The band is too large: hash it now, and read each tile again later.
        var done = 0
        while done < count {
            try Interruption.check()
            let step = min(count - done, MappedFile.pieceBytes)
            let piece = try pool.fill(count: step) { try tensor.read(start + UInt64(done), count: step, into: &$0) }
            piece.hash(into: hasher)
            done += step
        }
    }
}

/// The elements of a chunk, as a `BandReader` has read them.
package struct ReadChunk: Sendable {
    fileprivate let shared: SharedBytes?
    fileprivate let start: Int, stride: Int
    /// The hash of all bytes of the tensor; set with its last chunk only, and nil if the reader does not hash.
    package let hash: ContentHash?

    /// The elements of the chunk. Those of a band too large to be shared are read now.
    ///
    /// - Parameter scratch: grows if needed and may hold the elements. Release the result before using the buffer again.
    package func elements(
        _ place: ChunkPlace, of tensor: TensorBytes, columns: Int, _ elementType: ElementType, scratch: inout [UInt8]
    ) throws -> ElementRectangle {
        if let shared {
            return ElementRectangle(
                shared.bytes, start: start, stride: stride, rows: place.rows, columns: place.columns, elementType)
        }
        return try tensor.elements(place, columns, elementType, scratch: &scratch)
    }
}

extension TensorBytes {
    /// Reads the elements of a rectangle of a matrix with `columns` columns, contiguously.
    ///
    /// - Parameter scratch: grows if needed and holds the elements. Release the result before using the buffer again.
    package func elements(
        _ place: ChunkPlace, _ columns: Int, _ elementType: ElementType, scratch: inout [UInt8]
    ) throws -> ElementRectangle {
        let width = elementType.byteWidth
        scratch.grow(to: place.count * width)
        try read(
            UInt64((place.row * columns + place.column) * width), count: place.columns * width, rows: place.rows,
            stride: columns * width, into: &scratch)
        return ElementRectangle(
            scratch, stride: place.columns * width, rows: place.rows, columns: place.columns, elementType)
    }
}
