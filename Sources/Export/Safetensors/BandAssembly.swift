import Container
import FileAccess
import TensorModel
import Weights

/// Assembles the tiles of a band into rows, so that a tensor is written from front to back. If a band is larger than the limit, each row
/// of a tile is written to its place in the file.
struct BandAssembly {
    private var bytes: [UInt8] = []
    private let limit: Int
    private var start: UInt64 = 0

    /// Makes an assembly.
    ///
    /// - Parameter limit: bytes of the largest band that is assembled in memory.
    init(limit: Int) { self.limit = limit }

    /// Takes the next chunk of a tensor, in order, and appends what is complete: a contiguous chunk at once, a band of tiles with its last
    /// tile.
    ///
    /// - Parameters:
    ///   - width: bytes per element.
    ///   - order: the order of the rows in the file; nil for that of the tensor. With an order, each row is written to its place.
    mutating func take(
        _ elements: [UInt8], _ chunk: Int, of grid: ChunkGrid, width: Int, _ order: RowOrder?,
        into file: inout AtomicFile?
    ) throws {
        let place = grid.place(of: chunk)
        if let order { return try scatter(elements, chunk, of: grid, width: width, order, into: &file) }
        guard !grid.isContiguous(place) else {
            try file?.append(elements.span.extracting(0..<place.count * width))
            return
        }
        let rowBytes = grid.columns * width
        let bandBytes = place.rows * rowBytes
        let tileBytes = place.columns * width
        guard bandBytes <= limit else {
            if grid.beginsBand(chunk) {
                start = file?.byteCount ?? 0
                try file?.appendHole(UInt64(bandBytes))
            }
            for row in 0..<place.rows {
                try file?.overwrite(
                    elements.span.extracting(row * tileBytes..<(row + 1) * tileBytes),
                    at: start + UInt64(row * rowBytes + place.column * width))
            }
            return
        }
        if bytes.count < bandBytes { bytes += [UInt8](repeating: 0, count: bandBytes - bytes.count) }
        for row in 0..<place.rows {
            let start = row * rowBytes + place.column * width
            bytes.replaceSubrange(start..<start + tileBytes, with: elements[row * tileBytes..<(row + 1) * tileBytes])
        }
        if grid.endsBand(chunk) { try file?.append(bytes.span.extracting(0..<bandBytes)) }
    }

    /// Writes each row of a chunk to its place in the file. The first chunk of a tensor makes room for all of it.
    private mutating func scatter(
        _ elements: [UInt8], _ chunk: Int, of grid: ChunkGrid, width: Int, _ order: RowOrder,
        into file: inout AtomicFile?
    ) throws {
        let place = grid.place(of: chunk)
        let (rowBytes, partBytes) = (grid.columns * width, place.columns * width)
        if chunk == 0 {
            start = file?.byteCount ?? 0
            try file?.appendHole(UInt64(grid.rows * rowBytes))
        }
        for row in 0..<place.rows {
            let target = order.place(ofSource: place.row + row) * rowBytes + place.column * width
            try file?.overwrite(
                elements.span.extracting(row * partBytes..<(row + 1) * partBytes), at: start + UInt64(target))
        }
    }
}
