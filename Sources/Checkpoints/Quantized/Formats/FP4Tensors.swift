import Kernels
import TensorModel

/// Weights in FP4 (E2M1) with a scale for each 16 or 32: MXFP4 and NVFP4.
///
/// Layouts: gpt-oss by transformers 5.23 (`convert_moe_packed_tensors`), compressed-tensors 0.20 (`mxfp4-pack-quantized`,
/// `nvfp4-pack-quantized`), ModelOpt 0.47 (`NVFP4QTensor`). The first code of a byte is in its lower half. All decode to BF16, but ModelOpt's to
/// the type of the model.
enum FP4Tensors {
    /// gpt-oss: blocks [..., rows, groups, 16] and scales [..., rows, groups] of E8M0.
    static func matchBlocks(_ codes: FoundTensor, _ tensors: StoredTensors) throws -> LogicalTensor? {
        let stem = TensorName.dropSuffix(codes.tensor.name.text, "_blocks")
        guard codes.type == .u8, codes.dimensions.count >= 3 || tensors.find(stem + "_scales") != nil else {
            return nil
        }
        let scale = try tensors.require(stem + "_scales", for: codes, .mxfp4)
        let shape = codes.dimensions
        guard shape.count >= 3 else {
            throw StoredTensors.wrongShape(scale, "scales of blocks of three dimensions or more", beside: codes)
        }
        guard shape.last == 16, scale.type == .u8 || scale.type == .f8e8m0 else {
            throw StoredTensors.refusal(
                scale, "scales of type \(scale.type.rawValue) for blocks of \(shape.last ?? 0) bytes",
                "U8 scales for blocks of 16 bytes")
        }
        try StoredTensors.require(scale, shape: Array(shape.dropLast()), beside: codes)
        let dimensions = Array(shape.dropLast(2)) + [shape[shape.count - 2] * 32]
        return try groups(
            TensorName(stem), dimensions, codes, scale, storage: .e8m0, group: 32, tensors, format: .bf16,
            .init(
                method: .mxfp4, shortName: "mxfp4", summary: "MXFP4, groups of 32", codeBits: 4, levels: 16,
                needsConsent: false))
    }

    /// compressed-tensors: `weight_packed` U8 with `weight_scale`, U8 for MXFP4, F8_E4M3 with `weight_global_scale` for NVFP4.
    static func matchPacked(_ codes: FoundTensor, _ tensors: StoredTensors) throws -> LogicalTensor? {
        guard codes.type == .u8, let bytes = codes.dimensions.last, codes.dimensions.count >= 2 else { return nil }
        let stem = TensorName.dropSuffix(codes.tensor.name.text, "_packed")
        let module = TensorName.dropSuffix(stem, ".weight")
        let scale = try tensors.require(stem + "_scale", for: codes, .nvfp4)
        let isMicroscaling = scale.type == .u8 || scale.type == .f8e8m0
        let method: QuantizationMethod = isMicroscaling ? .mxfp4 : .nvfp4
        let group = isMicroscaling ? 32 : 16
        let outer = codes.dimensions.dropLast()
        guard bytes * 2 % group == 0 else {
            throw StoredTensors.refusal(
                codes, "rows of \(bytes * 2) codes", "a multiple of \(group)")
        }
        try StoredTensors.require(scale, shape: outer + [bytes * 2 / group], beside: codes)
        var global: FoundTensor?
        if !isMicroscaling { global = try tensors.require(stem + "_global_scale", for: codes, .nvfp4) }
        return try groups(
            TensorName(stem), outer + [bytes * 2], codes, scale,
            storage: isMicroscaling ? .e8m0 : try scale.scaleStorage(), group: group, tensors, format: .bf16,
            .init(
                method: method, shortName: isMicroscaling ? "mxfp4" : "nvfp4",
                summary: "\(method.rawValue), groups of \(group)\(isMicroscaling ? "" : ", one more scale a tensor")",
                codeBits: 4, levels: 16, needsConsent: false), global: global, divides: true,
            dropping: [module + ".input_global_scale", module + ".input_scale"])
    }

    /// ModelOpt: `weight` U8 with `weight_scale` F8_E4M3 and `weight_scale_2` F32.
    static func matchModelOpt(_ codes: FoundTensor, _ tensors: StoredTensors) throws -> LogicalTensor? {
        let name = codes.tensor.name.text
        guard codes.type == .u8, let bytes = codes.dimensions.last, codes.dimensions.count >= 2,
            let global = tensors.find(name + "_scale_2")
        else { return nil }
        let scale = try tensors.require(name + "_scale", for: codes, .nvfp4)
        let module = TensorName.dropSuffix(name, ".weight")
        let outer = codes.dimensions.dropLast()
        guard bytes % 8 == 0 else {
            throw StoredTensors.refusal(codes, "rows of \(bytes * 2) codes", "a multiple of 16")
        }
        try StoredTensors.require(scale, shape: outer + [bytes / 8], beside: codes)
        return try groups(
            codes.tensor.name, outer + [bytes * 2], codes, scale, storage: try scale.scaleStorage(), group: 16,
            tensors, format: tensors.elementType ?? .bf16,
            .init(
                method: .nvfp4, shortName: "nvfp4", summary: "NVFP4, groups of 16, one more scale a tensor",
                codeBits: 4,
                levels: 16, needsConsent: false), global: global, divides: false,
            dropping: [module + ".input_scale"])
    }

    /// Groups of FP4 codes in rows.
    ///
    /// - Parameters:
    ///   - global: a number for the whole tensor by which each scale is divided, if `divides`, else multiplied.
    ///   - names: tensors about activations, which are dropped.
    private static func groups(
        _ name: TensorName, _ dimensions: [Int], _ codes: FoundTensor, _ scale: FoundTensor,
        storage: SideValues.Storage, group: Int, _ tensors: StoredTensors, format: FloatFormat,
        _ description: LogicalTensor.Description, global: FoundTensor? = nil, divides: Bool = false,
        dropping names: [String] = []
    ) throws -> LogicalTensor {
        guard let matrix = MatrixShape(dimensions) else {
            throw StoredTensors.refusal(
                codes, "codes of shape \(codes.tensor.shape.description)", "a matrix, or slices of matrices")
        }
        var builder = LogicalTensorBuilder(codes: codes)
        let part = builder.add(.scales, scale)
        builder.drop(names, tensors)
        var adjustment = SideValues.Adjustment.none
        if let global {
            guard global.type == .f32, global.count == 1 else {
                throw StoredTensors.refusal(
                    global, "\(global.type.rawValue) of shape \(global.tensor.shape.description)", "one F32 number")
            }
            let index = builder.add(.scales, global)
            adjustment = divides ? .divide(part: index) : .multiply(part: index)
        }
        // Groups follow each other without gaps, so all rows are one.
        let count = matrix.rows * matrix.columns
        let scales = SideValues(
            part: part, storage: storage, blockRows: 1, blockColumns: group, sliceRows: 1, gridRows: 1,
            gridColumns: count / group, adjustment: adjustment)
        var decoder = QuantizedBytes(
            rows: 1, columns: count, format: format, layout: .rows(bits: 4, rowBytes: count / 2), kind: .e2m1,
            scales: scales)
        // ModelOpt's table has +0 where E2M1 has -0; subtracting -0 makes it so.
        if global != nil, !divides { decoder.offsets = .zero(-0.0) }
        return try LogicalTensor(name, dimensions, decoder, builder, description, codes)
    }
}
