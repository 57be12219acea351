import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel
import Weights

/// The bands of rows of a tensor that is not sealed, for an export.
struct PlainTensorExport: Sendable {
    /// The tensor.
    let tensor: StoredWeights
    /// The bytes of its elements.
    let bytes: TensorBytes
    /// The bands of rows; nil for a tensor without elements.
    let grid: ChunkGrid?
    /// Bytes of an element as it is read; of types below a byte, a row is one element.
    let width: Int
    /// The float type that elements are converted from and to; nil if they stay as they are.
    let conversion: (from: FloatFormat, to: FloatFormat)?

    /// Plans a tensor.
    ///
    /// - Parameter format: the element type of all float tensors; nil keeps the type of each.
    init(_ tensor: StoredWeights, as format: FloatFormat?) {
        self.tensor = tensor
        bytes = tensor.bytes
        if tensor.elementType.bitWidth % 8 == 0 {
            width = tensor.elementType.bitWidth / 8
            let shape = tensor.shape
            grid =
                shape.elementCount == 0 ? nil : ChunkGrid(rows: shape.rows, columns: shape.columns, .lossless)
        } else {
            width = 1
            let count = Int(bytes.byteCount)
            grid = count == 0 ? nil : ChunkGrid(rows: 1, columns: count, .lossless)
        }
        if let own = tensor.format, let format, own != format { conversion = (own, format) } else { conversion = nil }
    }

    /// Bytes of an element as it is written.
    var writtenWidth: Int { conversion?.to.byteWidth ?? width }

    /// Number of bands.
    var count: Int { grid?.count ?? 0 }

    /// The element type that is written.
    var elementType: ElementType { conversion?.to.elementType ?? tensor.elementType }
}

/// Reads bands of rows and converts them; the buffers of one worker.
struct PlainBandExporter {
    private var widened: [Float] = []

    /// Reads a band, converted to the element type that is written, into the first bytes of `output`.
    ///
    /// - Throws: `valueOutOfRange` if a finite value would become infinite; errors of reading.
    mutating func export(_ band: Int, of work: PlainTensorExport, into output: inout [UInt8]) throws {
        guard let place = work.grid?.place(of: band), let grid = work.grid else { return }
        let start = UInt64(grid.firstElement(of: place) * work.width)
        let size = place.count * max(work.width, work.writtenWidth)
        output.grow(to: size)
        work.bytes.prefetch(behind: start, count: place.count * work.width)
        try work.bytes.read(start, count: place.count * work.width, into: &output)
        guard let (from, to) = work.conversion else { return }
        widened.grow(to: place.count)
        FloatConversion.expand(output.span.extracting(0..<place.count * work.width), from, into: &widened)
        let overflows = FloatConversion.narrow(widened, count: place.count, to, into: &output)
        guard overflows == 0 else {
            throw FloatRecoding.failure(overflows, to, work.tensor.name, work.tensor.file.path)
        }
    }
}
