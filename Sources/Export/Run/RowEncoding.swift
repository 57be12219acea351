import Checkpoints
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
    /// MXFP4 as MLX lays it out: codes, and scales.
    case microscaling(ExportRounding)
    /// Codes and scales of MXFP4 that the source has, in the layout of the output.
    case sameMicroscaling(MicroscalingForm)

    /// Whether it is made from weights; otherwise from what is stored.
    var needsWeights: Bool {
        switch self {
        case .stored, .sameGroups, .sameParts, .sameMicroscaling: false
        case .elements, .blocks, .groups, .microscaling: true
        }
    }

    /// Whether a calibration changes it.
    var usesActivations: Bool {
        switch self {
        case .blocks, .groups, .microscaling: true
        case .stored, .elements, .sameGroups, .sameParts, .sameMicroscaling: false
        }
    }

    /// Bytes that a worker needs for rows of `columns` weights beside its bands.
    func scratchBytes(columns: Int) -> Int {
        guard case .groups(let groups) = self else { return 0 }
        return UniformQuantizer.scratchBytes(groupSize: groups.groupSize ?? columns)
    }

    /// Bytes that a row of `columns` weights takes in each stream. Those of stored bytes are not known here.
    func rowBytes(columns: Int) -> [Int] {
        switch self {
        case .stored, .sameParts: []
        case .elements(let format): [columns * format.byteWidth]
        case .blocks(let type, _): [columns / type.elements * type.bytes]
        case .groups(let groups), .sameGroups(let groups): groups.rowBytes(columns: columns)
        case .microscaling: MicroscalingForm.apart.rowBytes(columns: columns)
        case .sameMicroscaling(let form): form.rowBytes(columns: columns)
        }
    }
}

/// How MXFP4 is stored.
enum MicroscalingForm: Sendable, Hashable {
    /// ggml's blocks.
    case blocks
    /// Codes and scales in tensors of their own.
    case apart

    /// Bytes of a row in each tensor.
    func rowBytes(columns: Int) -> [Int] {
        let groups = columns / MicroscalingLayout.group
        switch self {
        case .blocks: return [groups * BlockType.mxfp4.bytes]
        case .apart: return [groups * MicroscalingLayout.codeBytes, groups]
        }
    }
}

extension StoredWeights {
    /// How it is stored, if it is MXFP4 whose rows are whole groups; nil otherwise.
    var microscaling: MicroscalingForm? {
        let columns = shape.columns
        guard columns > 0, columns % MicroscalingLayout.group == 0 else { return nil }
        if encoding == BlockType.mxfp4.name { return .blocks }
        guard let quantized, quantized.method == .mxfp4, quantized.codeBits == 4,
            quantized.parts.map(\.role) == [.codes, .scales]
        else { return nil }
        let fits = zip(quantized.parts, MicroscalingForm.apart.rowBytes(columns: columns)).allSatisfy {
            $0.tensor.range.count == UInt64($1 * shape.rows)
        }
        return fits ? .apart : nil
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
    /// Bits of a code.
    let bits: Int
    /// Weights of a group; nil for all of a row.
    let groupSize: Int?
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
        let side = groupCount(columns: columns) * scales.byteWidth
        return [columns * bits / 8, side] + (runtime == .mlx ? [side] : [])
    }

    /// Groups of a row of `columns` weights.
    func groupCount(columns: Int) -> Int { groupSize.map { columns / $0 } ?? 1 }

    /// What rows must be, for messages.
    var unit: String { groupSize.map { "whole groups of \($0)" } ?? "whole words of \(32 / bits) codes" }

    /// Whether rows of `columns` weights can be encoded. A row must be whole groups, and its codes must fill whole 32-bit words.
    func fits(columns: Int) -> Bool {
        columns > 0 && groupSize.map { columns % $0 == 0 } != false && columns * bits % 32 == 0
    }
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
