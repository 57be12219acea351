import Quantization
import TensorModel
import Weights

/// How the rows of a matrix become bytes of an output.
enum RowEncoding: Sendable, Hashable {
    /// The bytes as they are stored.
    case stored
    /// Elements of a float type.
    case elements(FloatFormat)
    /// Blocks of a ggml type.
    case blocks(BlockType, ExportRounding)
    /// Groups along the rows: codes, and a scale each; MLX's have a bias too.
    case groups(GroupEncoding)
    /// The groups that the source has, of scheme `uniform`: the same codes.
    case sameGroups(GroupEncoding)
    /// The stored tensors that another quantizer made, as they are: a stream for each.
    case sameParts

    /// Whether it is made from weights; otherwise from what is stored.
    var needsWeights: Bool {
        switch self {
        case .stored, .sameGroups, .sameParts: false
        case .elements, .blocks, .groups: true
        }
    }

    /// Bytes that a row of `columns` weights takes in each stream. Those of stored bytes are not known here.
    func rowBytes(columns: Int) -> [Int] {
        switch self {
        case .stored, .sameParts: []
        case .elements(let format): [columns * format.byteWidth]
        case .blocks(let type, _): [columns / type.elements * type.bytes]
        case .groups(let groups), .sameGroups(let groups): groups.rowBytes(columns: columns)
        }
    }
}

/// Groups of a runtime's format.
struct GroupEncoding: Sendable, Hashable {
    /// The runtimes.
    enum Runtime: Sendable, Hashable {
        /// A scale and a bias for each group.
        case mlx
        /// A scale for each group, codes around zero.
        case compressedTensors
    }

    /// The runtime.
    let runtime: Runtime
    /// Bits of a code, and weights of a group.
    let bits: Int, groupSize: Int
    /// Element type of scales and biases.
    let scales: FloatFormat
    /// How scales are found.
    let rounding: ExportRounding

    /// The same groups with codes of other bits.
    func with(bits: Int) -> GroupEncoding {
        GroupEncoding(runtime: runtime, bits: bits, groupSize: groupSize, scales: scales, rounding: rounding)
    }

    /// Bytes of a row: of codes, scales and biases.
    func rowBytes(columns: Int) -> [Int] {
        let side = columns / groupSize * scales.byteWidth
        return [columns * bits / 8, side] + (runtime == .mlx ? [side] : [])
    }

    /// Whether rows of `columns` weights can be encoded. A row must be whole groups, and its codes must fill whole 32-bit words.
    func fits(columns: Int) -> Bool { columns > 0 && columns % groupSize == 0 && columns * bits % 32 == 0 }
}

/// Which row of a source becomes a row of the output.
enum RowMove: Sendable, Hashable {
    /// The same one.
    case none
    /// From the order of Hugging Face to that of llama.cpp.
    case toGGUF(RowOrder)
    /// From the order of llama.cpp to that of Hugging Face.
    case toHuggingFace(RowOrder)

    /// The row of the source that becomes `row`. Both lie in the same head.
    func source(of row: Int) -> Int {
        switch self {
        case .none: row
        case .toGGUF(let order): order.place(ofSource: row)
        case .toHuggingFace(let order): order.source(ofPlace: row)
        }
    }

    /// The number of rows of a run; rows move within their run only.
    var unit: Int {
        switch self {
        case .none: 1
        case .toGGUF(let order), .toHuggingFace(let order): order.headRows
        }
    }
}
