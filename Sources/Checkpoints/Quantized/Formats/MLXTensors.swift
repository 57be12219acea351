import Kernels
import TensorModel

/// Weights of MLX: codes in words of 32 bits, with scales, and biases in mode `affine`.
///
/// Layout: mlx 0.32 (`mx.quantize`). In mode `affine` a weight is code * scale, rounded to the type of the scales, plus the bias, rounded again.
/// In the modes with scales of one byte it is code * scale, in BF16.
enum MLXTensors {
    private static let groupSizes = [32, 64, 128]
    private static let widths = [2, 3, 4, 5, 6, 8]

    static func match(_ codes: FoundTensor, _ tensors: StoredTensors) throws -> LogicalTensor? {
        let module = TensorName.dropSuffix(codes.tensor.name.text, ".weight")
        guard codes.type == .u32, codes.dimensions.count >= 2, let words = codes.dimensions.last,
            let scale = tensors.find(module + ".scales")
        else { return nil }
        if let global = tensors.find(module + ".global_scale") {
            throw StoredTensors.refusal(
                global, "one more scale for the whole tensor", "codes of MLX without `global_scale`",
                remedy: "this variant is not known to ingot")
        }
        let outer = Array(codes.dimensions.dropLast())
        guard scale.dimensions.count == codes.dimensions.count, Array(scale.dimensions.dropLast()) == outer,
            let groups = scale.dimensions.last, groups > 0
        else { throw StoredTensors.wrongShape(scale, "one row of scales for each row of codes", beside: codes) }
        if scale.type == .u8 { return try micro(codes, scale, words: words, groups: groups, outer) }
        let format = try scale.floatFormat()
        let bias = try tensors.require(module + ".biases", for: codes, .mlx)
        try StoredTensors.require(bias, shape: scale.dimensions, beside: codes)
        guard bias.type == scale.type else {
            throw StoredTensors.refusal(
                bias, "biases of type \(bias.type.rawValue)", "\(scale.type.rawValue), as the scales")
        }
        let (bits, group) = try parameters(codes, module, words: words, groups: groups, tensors)
        var builder = LogicalTensorBuilder(codes: codes)
        let part = builder.add(.scales, scale)
        let biases = builder.add(.zeroPoints, bias)
        return try logical(
            codes, outer + [groups * group], builder, bits: bits, group: group, kind: .unsigned, format, part,
            try scale.scaleStorage(), biases: biases,
            .init(
                method: .mlx, shortName: "mlx\(bits) g\(group)", summary: "\(bits)-bit affine, groups of \(group)",
                codeBits: bits, levels: 1 << bits, needsConsent: true))
    }

    /// Modes `mxfp4`, `mxfp8` and `nvfp4`, told by codes and groups.
    private static func micro(
        _ codes: FoundTensor, _ scale: FoundTensor, words: Int, groups: Int, _ outer: [Int]
    ) throws -> LogicalTensor {
        let (bits, group, method, name): (Int, Int, QuantizationMethod, String)
        switch words * 32 {
        case groups * 32 * 4: (bits, group, method, name) = (4, 32, .mxfp4, "mxfp4")
        case groups * 16 * 4: (bits, group, method, name) = (4, 16, .nvfp4, "nvfp4")
        case groups * 32 * 8: (bits, group, method, name) = (8, 32, .fp8, "mxfp8")
        default:
            throw StoredTensors.wrongShape(
                scale, "a scale of one byte for 32 codes of 4 or 8 bits, or 16 of 4 bits", beside: codes)
        }
        var builder = LogicalTensorBuilder(codes: codes)
        let part = builder.add(.scales, scale)
        return try logical(
            codes, outer + [groups * group], builder, bits: bits, group: group, kind: bits == 8 ? .e4m3 : .e2m1, .bf16,
            part, group == 16 ? .e4m3 : .e8m0, biases: nil,
            .init(
                method: method, shortName: name, summary: "\(name.uppercased()) of MLX, groups of \(group)",
                codeBits: bits, levels: 1 << bits, needsConsent: false))
    }

    private static func logical(
        _ codes: FoundTensor, _ dimensions: [Int], _ builder: LogicalTensorBuilder, bits: Int, group: Int,
        kind: Kernels.CodeKind, _ format: FloatFormat, _ part: Int, _ storage: SideValues.Storage, biases: Int?,
        _ description: LogicalTensor.Description
    ) throws -> LogicalTensor {
        guard let matrix = MatrixShape(dimensions) else {
            throw StoredTensors.refusal(
                codes, "codes of shape \(codes.tensor.shape.description)", "a matrix, or slices of matrices")
        }
        // Rows fill whole words and whole groups, so all rows are one.
        let count = matrix.rows * matrix.columns
        func values(_ part: Int, _ storage: SideValues.Storage) -> SideValues {
            SideValues(
                part: part, storage: storage, blockRows: 1, blockColumns: group, sliceRows: 1, gridRows: 1,
                gridColumns: count / group)
        }
        var decoder = QuantizedBytes(
            rows: 1, columns: count, format: format, layout: .rows(bits: bits, rowBytes: count / 8 * bits), kind: kind,
            scales: values(part, storage))
        decoder.offsets = biases.map { .biases(values($0, storage)) }
        return try LogicalTensor(codes.tensor.name, dimensions, decoder, builder, description, codes)
    }

    /// Bits and group size: those stated for the module, else those of the whole model, else the only ones that fit the shapes.
    ///
    /// - Throws: `unsupportedSource` if what is stated does not fit, or if nothing is stated and several fit.
    private static func parameters(
        _ codes: FoundTensor, _ module: String, words: Int, groups: Int, _ tensors: StoredTensors
    ) throws -> (bits: Int, group: Int) {
        func fits(_ bits: Int, _ group: Int) -> Bool {
            let (product, overflow) = groups.multipliedReportingOverflow(by: group * bits)
            return !overflow && product == words * 32
        }
        let candidates = widths.flatMap { bits in groupSizes.filter { fits(bits, $0) }.map { (bits, $0) } }
        let stated = [tensors.configuration?.value[module], tensors.configuration?.value].compactMap { $0 }
        for value in stated {
            guard let bits = value["bits"]?.unsigned, let group = value["group_size"]?.unsigned else { continue }
            if let found = candidates.first(where: { $0.0 == Int(exactly: bits) && $0.1 == Int(exactly: group) }) {
                return found
            }
            // A module of its own kind that the configuration forgot: its shapes may still tell.
            guard candidates.count == 1 else {
                throw StoredTensors.refusal(
                    codes, "\(words) words and \(groups) scales a row",
                    "codes of \(bits) bits in groups of \(group), as \(tensors.configuration?.path ?? "") states")
            }
        }
        guard candidates.count == 1 else {
            let texts = candidates.map { "\($0.0) bits in groups of \($0.1)" }.joined(separator: ", or ")
            throw StoredTensors.refusal(
                codes, candidates.isEmpty ? "\(words) words and \(groups) scales a row" : "codes that may be \(texts)",
                candidates.isEmpty ? "a width and a group size that MLX has" : "a configuration that says which",
                remedy: "name the directory of the checkpoint, with its config.json")
        }
        return candidates[0]
    }
}
