import Kernels
import TensorModel

/// Weights in FP8, and packed FP4 in I8, with scales for blocks, rows or whole tensors.
///
/// Layouts: DeepSeek-V3's `weight_dequant`, transformers 5.23 (`Fp8Dequantize`), and compressed-tensors 0.20 (`float-quantized`). A weight is
/// code * scale in binary32, rounded once.
enum FP8Tensors {
    /// Endings of the names of scales, after the name of the codes, and instead of its ending `.weight`.
    private static let scaleEndings = ["_scale_inv", "_scale"]
    private static let moduleEndings = [".scale_weight", ".qscale_weight", ".scale"]

    /// The logical tensor of F8 codes; nil if they have no scale.
    static func match(_ codes: FoundTensor, _ tensors: StoredTensors) throws -> LogicalTensor? {
        let name = codes.tensor.name.text
        let isPacked = codes.type == .i8
        guard codes.type == .f8e4m3 || codes.type == .f8e5m2 || isPacked else { return nil }
        let stem = TensorName.dropSuffix(name, ".weight")
        let isWeight = TensorName.hasSuffix(name, ".weight")
        let found = tensors.first(
            scaleEndings.map { name + $0 } + (isWeight ? moduleEndings.map { stem + $0 } : []))
        guard let scale = found else { return nil }
        // Packed FP4 has powers of two as scales; other I8 codes are of another method.
        guard !isPacked || scale.type == .f8e8m0 else { return nil }
        let storage: SideValues.Storage = scale.type == .u8 ? .e8m0 : try scale.scaleStorage()
        var dimensions = codes.dimensions
        if isPacked, let last = dimensions.last { dimensions[dimensions.count - 1] = last * 2 }
        guard let matrix = MatrixShape(dimensions) else {
            throw StoredTensors.refusal(
                codes, "FP8 codes of shape \(codes.tensor.shape.description)", "a matrix, or slices of matrices")
        }
        var builder = LogicalTensorBuilder(codes: codes)
        let part = builder.add(.scales, scale)
        let grid = try FP8Grid(matrix, scale, codes, tensors.configuration)
        builder.drop(
            [stem + ".input_scale", stem + ".activation_scale", stem + ".scale_input", stem + ".output_scale"], tensors)
        let format = format(scale, tensors)
        let scales = SideValues(
            part: part, storage: storage, blockRows: grid.blockRows, blockColumns: grid.blockColumns,
            sliceRows: grid.sliceRows, gridRows: grid.gridRows, gridColumns: grid.gridColumns)
        let layout: CodeLayout =
            isPacked
            ? .rows(bits: 4, rowBytes: matrix.columns / 2) : .rows(bits: 8, rowBytes: matrix.columns)
        let kind: Kernels.CodeKind = isPacked ? .e2m1 : codes.type == .f8e5m2 ? .e5m2 : .e4m3
        let decoder = QuantizedBytes(
            rows: matrix.rows, columns: matrix.columns, format: format, layout: layout, kind: kind, scales: scales)
        let type = isPacked ? "FP4" : codes.type == .f8e5m2 ? "FP8 E5M2" : "FP8 E4M3"
        return try LogicalTensor(
            codes.tensor.name, dimensions, decoder, builder,
            .init(
                method: isPacked ? .mxfp4 : .fp8, shortName: "\(isPacked ? "fp4" : "fp8") \(grid.shortName)",
                summary: "\(type), \(grid.summary)", codeBits: isPacked ? 4 : 8, levels: isPacked ? 16 : 256,
                needsConsent: false), codes)
    }

    /// transformers decodes to the type of the model, else to that of the scales if they have 16 bits or more, else to BF16.
    /// compressed-tensors decodes to the type of the scales.
    private static func format(_ scale: FoundTensor, _ tensors: StoredTensors) -> FloatFormat {
        let own = scale.type.quantizable
        if tensors.configuration?.method.hasPrefix("compressed") == true, let own { return own }
        return tensors.elementType ?? own ?? .bf16
    }
}

/// The grid of scales of an FP8 tensor.
private struct FP8Grid {
    let blockRows: Int, blockColumns: Int, sliceRows: Int, gridRows: Int, gridColumns: Int
    let shortName: String, summary: String

    /// Finds the blocks from the shapes of codes and scales, and from the configuration if it states a size.
    init(
        _ matrix: MatrixShape, _ scale: FoundTensor, _ codes: FoundTensor, _ configuration: QuantizationConfiguration?
    ) throws {
        let outer = matrix.dimensions.dropLast(2)
        let shape = scale.dimensions
        // One scale for all, or one for each slice.
        if scale.count == 1 || (!outer.isEmpty && scale.count == matrix.slices && matrix.sliceRows > 1) {
            (blockRows, blockColumns) = (matrix.sliceRows, matrix.columns)
            (gridRows, gridColumns) = (1, 1)
            // A single scale serves all slices as one.
            sliceRows = scale.count == 1 ? matrix.rows : matrix.sliceRows
            (shortName, summary) =
                scale.count == 1
                ? ("per tensor", "one scale a tensor") : ("per slice", "one scale for each expert")
            guard scale.count == 1 else { return }
            return
        }
        // One scale for each row: [rows], [rows, 1].
        if shape == Array(outer) + [matrix.sliceRows] || shape == Array(outer) + [matrix.sliceRows, 1] {
            (blockRows, blockColumns, sliceRows) = (1, matrix.columns, matrix.rows)
            (gridRows, gridColumns) = (matrix.rows, 1)
            (shortName, summary) = ("per row", "one scale a row")
            return
        }
        // One scale for each column of slices: [..., 1, columns].
        if shape == Array(outer) + [1, matrix.columns] {
            (blockRows, blockColumns, sliceRows) = (matrix.sliceRows, 1, matrix.sliceRows)
            (gridRows, gridColumns) = (1, matrix.columns)
            (shortName, summary) = ("per column", "one scale a column")
            return
        }
        guard shape.count == matrix.dimensions.count, shape.dropLast(2) == outer, let lines = shape.dropLast().last,
            let fields = shape.last, lines > 0, fields > 0, lines <= matrix.sliceRows, fields <= matrix.columns
        else {
            throw StoredTensors.wrongShape(
                scale, "one scale a tensor, a row, or a block of the last two dimensions", beside: codes)
        }
        let stated = FP8Grid.statedBlock(configuration)
        guard let rows = FP8Grid.block(matrix.sliceRows, lines, stated?.rows),
            let columns = FP8Grid.block(matrix.columns, fields, stated?.columns)
        else {
            let size = stated.map { "blocks of \($0.rows)x\($0.columns), as \(configuration?.path ?? "") states" }
            throw StoredTensors.wrongShape(scale, size ?? "one scale for each block of equal size", beside: codes)
        }
        (blockRows, blockColumns, sliceRows) = (rows, columns, matrix.sliceRows)
        (gridRows, gridColumns) = (lines, fields)
        shortName = "\(rows)x\(columns)"
        summary = rows == 1 ? "groups of \(columns)" : "blocks of \(rows)x\(columns)"
    }

    /// The size of blocks that a configuration states: `weight_block_size`, or a group's `block_structure` or `group_size`.
    private static func statedBlock(_ configuration: QuantizationConfiguration?) -> (rows: Int, columns: Int)? {
        func pair(_ value: JSONValue?) -> (Int, Int)? {
            guard let numbers = value?.array?.compactMap({ $0.unsigned.flatMap { Int(exactly: $0) } }),
                numbers.count == 2, numbers.allSatisfy({ $0 > 0 })
            else { return nil }
            return (numbers[0], numbers[1])
        }
        return pair(configuration?.value["weight_block_size"])
    }

    /// The length of blocks of which `count` cover `length`; nil if none does, or not the stated one.
    private static func block(_ length: Int, _ count: Int, _ stated: Int?) -> Int? {
        func fits(_ block: Int) -> Bool { (length - 1) / block + 1 == count }
        // Packed FP4 experts have groups of 32 beside dense blocks of the stated size.
        if let stated, fits(stated) { return stated }
        let equal = length % count == 0 ? length / count : nil
        if stated != nil { return equal == 1 || equal == 32 ? equal : nil }
        // Blocks have 128 rows and columns unless that does not fit. Any other size must divide equally, as a power of two.
        return fits(128) ? 128 : equal.flatMap { $0.nonzeroBitCount == 1 ? $0 : nil }
    }
}
