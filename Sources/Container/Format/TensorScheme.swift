public import Quantization
internal import TensorModel

/// How a tensor that is not kept as it is becomes a payload.
public enum TensorScheme: Sendable, Hashable {
    /// Codes with a scale, and a bias unless symmetric, per group of a row.
    case uniform(UniformParameters)
    /// Byte planes, bit-exact.
    case lossless

    /// The number in the payload's prologue. 3 is reserved for `trellis`.
    var number: UInt16 {
        switch self {
        case .uniform: 1
        case .lossless: 2
        }
    }

    /// The name in descriptions and reports.
    public var name: String {
        switch self {
        case .uniform: "uniform"
        case .lossless: "lossless"
        }
    }

    /// A name with its parameters, for tables: `uniform 4 g64`.
    public var summary: String {
        switch self {
        case .uniform(let parameters):
            "uniform \(parameters.bits) g\(parameters.groupSize)\(parameters.symmetric ? " sym" : "")"
        case .lossless: "lossless"
        }
    }

    /// Streams in each chunk: the codes and the byte planes of scales and biases, or the byte planes of the weights.
    func streamCount(_ format: FloatFormat) -> Int {
        switch self {
        case .uniform(let parameters): 1 + format.byteWidth * (parameters.symmetric ? 1 : 2)
        case .lossless: format.byteWidth
        }
    }
}

/// How a matrix is cut into chunks: bands of whole rows, or pieces of one row where rows are very wide.
///
/// A chunk is contiguous in the source. The cut depends on the shape alone.
public struct ChunkGrid: Sendable, Hashable {
    /// The matrix.
    public let rows: Int, columns: Int
    /// A chunk, except at the lower and right edges.
    public let chunkRows: Int, chunkColumns: Int

    /// The grid of schemes `uniform` and `lossless`.
    public init(rows: Int, columns: Int) {
        self.rows = rows
        self.columns = columns
        chunkColumns = min(columns, ContainerFormat.chunkWeights)
        chunkRows =
            columns > ContainerFormat.chunkWeights ? 1 : min(rows, max(1, ContainerFormat.chunkWeights / columns))
    }

    /// Chunks beside each other.
    private var across: Int { ceilingDivide(columns, chunkColumns) }

    /// Number of chunks.
    public var count: Int { ceilingDivide(rows, chunkRows) * across }

    /// The place of a chunk: its first row and column, and how many of each it has.
    public func place(of chunk: Int) -> ChunkPlace {
        let row = chunk / across * chunkRows
        let column = chunk % across * chunkColumns
        return ChunkPlace(
            row: row, column: column, rows: min(chunkRows, rows - row), columns: min(chunkColumns, columns - column))
    }

    /// Index in the tensor of a chunk's first element; the chunk's elements follow it without gaps.
    public func firstElement(of place: ChunkPlace) -> Int { place.row * columns + place.column }
}

/// A rectangle of a matrix.
public struct ChunkPlace: Sendable, Hashable {
    /// First row and column.
    public let row: Int, column: Int
    /// Number of rows and columns.
    public let rows: Int, columns: Int

    /// Number of weights.
    public var count: Int { rows * columns }
}
