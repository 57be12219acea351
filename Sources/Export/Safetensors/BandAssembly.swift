import Container
import FileAccess
import TensorModel

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
    /// - Parameter width: bytes per element.
    mutating func take(
        _ elements: [UInt8], _ chunk: Int, of grid: ChunkGrid, width: Int, into file: inout AtomicFile?
    ) throws {
        let place = grid.place(of: chunk)
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
}
