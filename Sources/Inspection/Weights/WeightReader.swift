package import Container
import FileAccess
import Quantization
package import TensorModel

/// A tensor of numbers that can be read as binary32, whatever its form; its chunk table, where it has one, is at hand.
package struct ReadableWeights: Sendable {
    /// The tensor.
    package let tensor: StoredWeights
    /// What its elements are; of an encoded tensor, those of its original.
    package let format: FloatFormat
    /// How an encoded tensor is cut; nil for one that is stored as it is.
    package let grid: ChunkGrid?
    let table: ChunkTable?

    /// Reads the chunk table, where there is one; nil for elements that are no floating-point numbers of 16 or 32 bits.
    ///
    /// - Throws: `payloadInvalid` where the table is damaged.
    package init?(_ tensor: StoredWeights) throws {
        guard let format = tensor.format else { return nil }
        self.tensor = tensor
        self.format = format
        if let (payload, shard) = tensor.payload {
            grid = payload.prologue.grid
            table = try shard.front(of: payload)
        } else {
            grid = nil
            table = nil
        }
    }

    /// The tensor as a matrix.
    package var rows: Int { tensor.shape.rows }
    /// The tensor as a matrix.
    package var columns: Int { tensor.shape.columns }

    /// What is counted of the weights: the elements themselves, or, where they are restored from codes, binary32.
    package var countedFormat: FloatFormat {
        switch tensor.descriptor?.scheme {
        case .uniform, .trellis: .f32
        case .lossless, nil: format
        }
    }

    /// Whether the energies of its rows and columns are kept.
    var hasEnergies: Bool { TensorSums.keepsEnergies(of: tensor.shape) }

    /// The bytes of whole rows of a tensor that is stored as it is; nil for an encoded one.
    func bytes(ofRows first: Int, count: Int) -> ByteRange? {
        guard case .plain(_, let range) = tensor.form else { return nil }
        let rowBytes = UInt64(columns * format.byteWidth)
        return ByteRange(start: range.start + UInt64(first) * rowBytes, count: UInt64(count) * rowBytes)
    }
}

/// Reads rectangles of tensors as binary32, in buffers that are reused.
///
/// One task at a time uses a reader (`OrderedPipeline` sees to that), hence the unchecked conformance.
package final class WeightReader: @unchecked Sendable {
    /// How rows that do not lie next to each other in a file are read.
    package enum Access: Sendable {
        /// From mapped pages, which whoever goes through the tensor gives back.
        case mapped
        /// By read(2), which leaves no pages behind.
        case copied
    }

    private let workspace = ChunkWorkspace()
    private var elements: [UInt8] = []
    private var gathered: [Float] = []
    private var isDirect = false
    /// Number of weights of the rectangle that was read last.
    package private(set) var count = 0
    /// The elements' format where they were read as they are stored; nil where they were restored from codes.
    package private(set) var elementFormat: FloatFormat?
    /// Whether one of the weights is NaN or infinite.
    package private(set) var hasNonFinite = false

    /// Makes a reader; buffers grow when first used.
    package init() {}

    /// The weights of the rectangle that was read last, row by row, in the first `count` elements.
    package var weights: [Float] { isDirect ? workspace.restored : gathered }
    /// Their elements, where `elementFormat` says what they are, in the first `count` times its width bytes.
    package var storedElements: [UInt8] { elements }

    /// Reads a rectangle, which must lie in the tensor.
    ///
    /// - Throws: `checksum` or `chunkInvalid` where an encoded tensor is damaged, naming it.
    package func read(_ place: ChunkPlace, of tensor: ReadableWeights, _ access: Access) throws {
        precondition(
            place.row >= 0 && place.column >= 0 && place.row + place.rows <= tensor.rows
                && place.column + place.columns <= tensor.columns, "a rectangle outside its tensor")
        count = place.count
        isDirect = false
        elementFormat = nil
        hasNonFinite = false
        switch tensor.tensor.form {
        case .plain(let file, let range):
            try read(place, of: tensor, file, range, access)
            widen(tensor.format)
        case .payload(let index, let shared):
            let (payload, shard) = (shared.shard.payloads[index], shared.shard)
            try decode(place, of: tensor, payload, shard.file)
            if case .lossless = payload.descriptor.scheme { widen(tensor.format) }
        }
    }

    private func read(
        _ place: ChunkPlace, of tensor: ReadableWeights, _ file: MappedFile, _ range: ByteRange, _ access: Access
    ) throws {
        let width = tensor.format.byteWidth
        let isContiguous = place.columns == tensor.columns || place.rows == 1
        let start = range.start + UInt64((place.row * tensor.columns + place.column) * width)
        let run = ByteRange(start: start, count: UInt64((isContiguous ? count : place.columns) * width))
        guard let run else { preconditionFailure("a rectangle outside its tensor") }
        grow(&elements, count * width)
        if isContiguous {
            file.prefetch(behind: run)
            try file.copy(run, into: &elements)
            return file.release(run)
        }
        switch access {
        case .mapped: try file.copy(run, rows: place.rows, stride: tensor.columns * width, into: &elements)
        case .copied: try file.read(run, rows: place.rows, stride: tensor.columns * width, into: &elements)
        }
    }

    /// Widens `elements`.
    private func widen(_ format: FloatFormat) {
        elementFormat = format
        let bytes = elements
        let span = bytes.span.extracting(first: count * format.byteWidth)
        var found = NonFiniteCount()
        found.add(span, format, firstElement: 0)
        hasNonFinite = !found.isZero
        grow(&gathered, count)
        FloatConversion.expand(span, format, into: &gathered)
    }

    /// Decodes the chunks that meet a rectangle, and takes from each what is in it.
    private func decode(
        _ place: ChunkPlace, of tensor: ReadableWeights, _ payload: SealedShard.Payload, _ file: MappedFile
    ) throws {
        let grid = payload.prologue.grid
        let isLossless = payload.descriptor.scheme == .lossless
        let width = tensor.format.byteWidth
        guard count > 0 else { return }
        let bands = place.row / grid.chunkRows...(place.row + place.rows - 1) / grid.chunkRows
        let strips = place.column / grid.chunkColumns...(place.column + place.columns - 1) / grid.chunkColumns
        if isLossless { grow(&elements, count * width) } else { grow(&gathered, count) }
        for band in bands {
            for strip in strips {
                let chunk = band * grid.across + strip
                guard let entry = try tensor.table?.entry(chunk) else {
                    preconditionFailure("a payload has a chunk table")
                }
                try workspace.decode(chunk: chunk, entry: entry, of: payload, in: file)
                let own = grid.place(of: chunk)
                if own == place, !isLossless {
                    isDirect = true
                    return
                }
                if isLossless {
                    WeightReader.gather(workspace.source, own, into: &elements, place, width: width)
                } else {
                    WeightReader.gather(workspace.restored, own, into: &gathered, place, width: 1)
                }
            }
        }
    }

    /// Copies what two rectangles have in common, of elements of `width` values each.
    private static func gather<Value>(
        _ from: [Value], _ own: ChunkPlace, into target: inout [Value], _ place: ChunkPlace, width: Int
    ) {
        let rows = max(own.row, place.row)..<min(own.row + own.rows, place.row + place.rows)
        let columns = max(own.column, place.column)..<min(own.column + own.columns, place.column + place.columns)
        let length = columns.count * width
        let source = from.span
        var destination = target.mutableSpan
        for row in rows {
            let start = ((row - own.row) * own.columns + columns.lowerBound - own.column) * width
            let end = ((row - place.row) * place.columns + columns.lowerBound - place.column) * width
            for index in 0..<length { destination[end + index] = source[start + index] }
        }
    }

    /// Makes room for `count` elements; buffers only grow.
    private func grow<Number: Numeric>(_ buffer: inout [Number], _ count: Int) {
        if buffer.count < count { buffer += [Number](repeating: 0, count: count - buffer.count) }
    }
}
