import FileAccess
import Kernels
import TensorModel

/// Weights in whole numbers of compressed-tensors: `pack-quantized` (1 to 8 bits in words) and `int-quantized` (I8).
///
/// Layout: compressed-tensors 0.20, and its versions before June 2026 for padded words. A weight is (code - zero point) * scale, rounded once
/// to the type of the scales.
enum CompressedTensors {
    /// `weight_packed` I32 with `weight_scale`, `weight_shape` and perhaps `weight_zero_point`.
    static func matchPacked(_ codes: FoundTensor, _ tensors: StoredTensors) throws -> LogicalTensor? {
        guard codes.type == .i32, let words = codes.dimensions.last, codes.dimensions.count >= 2 else { return nil }
        let stem = TensorName.dropSuffix(codes.tensor.name.text, "_packed")
        let scale = try tensors.require(stem + "_scale", for: codes, .compressedTensors)
        var builder = LogicalTensorBuilder(codes: codes)
        let part = builder.add(.scales, scale)
        var dimensions = codes.dimensions
        let stated = tensors.find(stem + "_shape")
        let columns: Int?
        if let stated {
            columns = try statedColumns(stated, beside: codes)
            _ = builder.add(.other, stated)
        } else {
            columns = nil
        }
        guard let bits = try bits(codes, words, columns, Scheme(tensors.configuration), tensors) else {
            throw StoredTensors.refusal(
                codes, "words of 32 bits, and nothing that tells the bits of a code",
                "`\(stem.prefix(160))_shape`, or a configuration",
                remedy: "name the directory of the checkpoint, with its config.json")
        }
        // Without a stated shape a row is as long as its words allow.
        let length = columns ?? words * 32 / bits
        dimensions[dimensions.count - 1] = length
        let layout: CodeLayout
        switch words {
        case (length * bits + 31) / 32: layout = .rows(bits: bits, rowBytes: words * 4)
        case ceilingDivide(length, 32 / bits): layout = .paddedWords(bits: bits, rowBytes: words * 4)
        default:
            throw StoredTensors.refusal(
                codes, "\(words) words a row for \(length) codes of \(bits) bits",
                "\((length * bits + 31) / 32), or \(ceilingDivide(length, 32 / bits)) of versions before June 2026")
        }
        return try logical(
            TensorName(stem), dimensions, codes, scale, part, layout, bits: bits, packs: true, stem, &builder, tensors)
    }

    /// `weight` I8 with `weight_scale` and perhaps `weight_zero_point`.
    static func matchBytes(_ codes: FoundTensor, _ tensors: StoredTensors) throws -> LogicalTensor? {
        let name = codes.tensor.name.text
        guard codes.type == .i8, codes.dimensions.count >= 2, let scale = tensors.find(name + "_scale"),
            scale.type.quantizable != nil, let columns = codes.dimensions.last
        else { return nil }
        var builder = LogicalTensorBuilder(codes: codes)
        let part = builder.add(.scales, scale)
        return try logical(
            codes.tensor.name, codes.dimensions, codes, scale, part, .rows(bits: 8, rowBytes: columns), bits: 8,
            packs: false, name, &builder, tensors)
    }

    private static func logical(
        _ name: TensorName, _ dimensions: [Int], _ codes: FoundTensor, _ scale: FoundTensor, _ part: Int,
        _ layout: CodeLayout, bits: Int, packs: Bool, _ stem: String, _ builder: inout LogicalTensorBuilder,
        _ tensors: StoredTensors
    ) throws -> LogicalTensor {
        let format = try scale.floatFormat()
        guard let matrix = MatrixShape(dimensions) else {
            throw StoredTensors.refusal(
                codes, "codes of shape \(codes.tensor.shape.description)", "a matrix, or slices of matrices")
        }
        let grid = try Groups(matrix, scale, codes)
        let scales = grid.values(part, try scale.scaleStorage())
        var decoder = QuantizedBytes(
            rows: matrix.rows, columns: matrix.columns, format: format, layout: layout,
            kind: packs ? .unsigned : .signed,
            scales: scales)
        let offset = packs ? Float(1 << (bits - 1)) : 0
        let zero = tensors.find(stem + "_zero_point")
        let isAsymmetric = zero != nil
        try check(
            Scheme(tensors.configuration), codes, zero: zero, groupSize: scales.blockColumns, groups: grid.gridColumns,
            tensors)
        if let zero {
            let isPadded = if case .paddedWords = layout { true } else { false }
            decoder.offsets = .zeros(
                try zeros(zero, matrix, grid, codes, bits: bits, isPadded: isPadded, offset: offset, &builder))
        } else if packs {
            decoder.offsets = .zero(offset)
        }
        let module = TensorName.dropSuffix(stem, ".weight")
        builder.drop([module + ".input_scale", module + ".input_zero_point", module + ".input_global_scale"], tensors)
        if let order = tensors.find(stem + "_g_idx") {
            try StoredTensors.require(order, shape: [matrix.columns], beside: codes)
            guard order.type == .i32, matrix.slices == 1, scales.blockColumns < matrix.columns else {
                throw StoredTensors.refusal(
                    order, "an order of groups where it cannot be", "I32, for groups of a matrix")
            }
            decoder.groupIndexPart = builder.add(.other, order)
        }
        return try LogicalTensor(
            name, dimensions, decoder, builder,
            .init(
                method: .compressedTensors, shortName: "int\(bits) \(grid.shortName)",
                summary: "int\(bits) \(isAsymmetric ? "with zero points" : "symmetric"), \(grid.summary)",
                codeBits: bits,
                levels: 1 << bits, needsConsent: true), codes)
    }

    /// Zero points: packed down the columns, or I8 numbers as the scales are.
    private static func zeros(
        _ zero: FoundTensor, _ matrix: MatrixShape, _ grid: Groups, _ codes: FoundTensor, bits: Int, isPadded: Bool,
        offset: Float, _ builder: inout LogicalTensorBuilder
    ) throws -> SideValues {
        let part = builder.add(.zeroPoints, zero)
        guard zero.type == .i32, grid.gridRows > 1 || grid.gridColumns > 1 else {
            guard zero.type == .i8,
                zero.count == grid.gridRows * grid.gridColumns * (grid.gridRows == 1 ? 1 : matrix.slices)
            else {
                throw StoredTensors.wrongShape(zero, "I8, one zero point for each scale", beside: codes)
            }
            var values = grid.values(part, .i8)
            values.adjustment = .add(offset)
            return values
        }
        // Zero points are packed as the codes are, in a stream or in padded words.
        let perWord = isPadded ? 32 / bits : 0
        let words = isPadded ? ceilingDivide(matrix.sliceRows, perWord) : (matrix.sliceRows * bits + 31) / 32
        try StoredTensors.require(
            zero, shape: Array(matrix.dimensions.dropLast(2)) + [words, grid.gridColumns], beside: codes)
        return grid.values(part, .packedRows(bits: bits, perWord: perWord))
    }

    /// The columns that `weight_shape` states.
    private static func statedColumns(_ stated: FoundTensor, beside codes: FoundTensor) throws -> Int {
        let rank = codes.dimensions.count
        guard stated.type == .i64 || stated.type == .i32, stated.dimensions.count == 1,
            stated.count == rank || stated.count == 2
        else {
            throw StoredTensors.wrongShape(stated, "the \(rank) dimensions of the weights as I64", beside: codes)
        }
        let width = stated.type == .i64 ? 8 : 4
        let bytes = try stated.file.bytes(stated.tensor.range)
        func number(_ index: Int) -> Int {
            let low = bytes.span.word(index * width)
            return width == 8 ? Int(low) | Int(bytes.span.word(index * 8 + 4)) << 32 : Int(low)
        }
        let (rows, columns) = (number(stated.count - 2), number(stated.count - 1))
        guard rows == codes.dimensions[rank - 2], columns > 0, columns <= 1 << 31 else {
            throw StoredTensors.refusal(
                stated, "\(rows) rows and \(columns) columns", "\(codes.dimensions[rank - 2]) rows, as the codes have")
        }
        return columns
    }

    /// The bits of a code: those that the configuration states, or that follow from the words of a row.
    private static func bits(
        _ codes: FoundTensor, _ words: Int, _ columns: Int?, _ scheme: Scheme, _ tensors: StoredTensors
    ) throws -> Int? {
        if let bits = scheme.bits {
            guard (1...8).contains(bits) else {
                throw StoredTensors.refusal(
                    codes, "\(bits) bits by \(tensors.configuration?.path ?? "")", "1 to 8 bits",
                    remedy: "this variant is not known to ingot")
            }
            return bits
        }
        guard let columns else { return nil }
        let dense = (1...8).filter { (columns * $0 + 31) / 32 == words }
        return dense.count == 1 ? dense[0] : nil
    }

    /// What a configuration states about the weights of all its groups; nil for what they differ in, or do not state.
    struct Scheme {
        let bits: Int?, groupSize: Int?, isSymmetric: Bool?

        init(_ configuration: QuantizationConfiguration?) {
            let groups = configuration?.value["config_groups"]?.object?.compactMap { $0.value["weights"] } ?? []
            func common<Value: Equatable>(_ value: (JSONValue) -> Value?) -> Value? {
                let found = groups.map(value)
                guard let first = found.first, found.allSatisfy({ $0 == first }) else { return nil }
                return first
            }
            func integer(_ key: String) -> Int? { common { $0[key]?.unsigned.flatMap { Int(exactly: $0) } } }
            bits = integer("num_bits")
            groupSize = common { $0["strategy"]?.string } == "group" ? integer("group_size") : nil
            isSymmetric = common { $0["symmetric"]?.bool }
        }
    }

    /// Requires that codes are as the configuration states.
    ///
    /// - Throws: `unsupportedSource`.
    private static func check(
        _ scheme: Scheme, _ codes: FoundTensor, zero: FoundTensor?, groupSize: Int, groups: Int,
        _ tensors: StoredTensors
    ) throws {
        let path = tensors.configuration?.path ?? ""
        if scheme.isSymmetric == false, zero == nil {
            throw StoredTensors.refusal(
                codes, "codes without zero points", "`weight_zero_point`, since \(path) states asymmetric codes",
                remedy: "fetch the checkpoint again, with all its shards")
        }
        if scheme.isSymmetric == true, let zero {
            throw StoredTensors.refusal(zero, "zero points", "none, since \(path) states symmetric codes")
        }
        if let stated = scheme.groupSize, groups > 1, stated != groupSize {
            throw StoredTensors.refusal(codes, "groups of \(groupSize)", "groups of \(stated), as \(path) states")
        }
    }
}

/// The groups of weights that share a scale, from the shape of the scales.
struct Groups {
    let gridRows: Int, gridColumns: Int
    private let blockRows: Int, blockColumns: Int, sliceRows: Int
    let shortName: String, summary: String

    /// Scales [..., rows, groups], [..., rows, 1], [rows], or a single one.
    ///
    /// - Throws: `unsupportedSource` for another shape, or if groups are not of equal size.
    init(_ matrix: MatrixShape, _ scale: FoundTensor, _ codes: FoundTensor) throws {
        let outer = Array(matrix.dimensions.dropLast())
        if scale.count == 1 {
            (gridRows, gridColumns, sliceRows) = (1, 1, matrix.rows)
            (blockRows, blockColumns) = (matrix.rows, matrix.columns)
            (shortName, summary) = ("per tensor", "one scale a tensor")
            return
        }
        let shape = scale.dimensions == outer ? outer + [1] : scale.dimensions
        guard shape.count == outer.count + 1, Array(shape.dropLast()) == outer, let groups = shape.last, groups > 0,
            matrix.columns % groups == 0
        else {
            throw StoredTensors.wrongShape(scale, "one scale a tensor, a row, or a group of a row", beside: codes)
        }
        (gridRows, gridColumns, sliceRows) = (matrix.sliceRows, groups, matrix.sliceRows)
        (blockRows, blockColumns) = (1, matrix.columns / groups)
        (shortName, summary) =
            groups == 1 ? ("per row", "one scale a row") : ("g\(blockColumns)", "groups of \(blockColumns)")
    }

    /// Numbers, one for each group.
    func values(_ part: Int, _ storage: SideValues.Storage) -> SideValues {
        SideValues(
            part: part, storage: storage, blockRows: blockRows, blockColumns: blockColumns, sliceRows: sliceRows,
            gridRows: gridRows, gridColumns: gridColumns)
    }
}
