import FileAccess
import Kernels
import TensorModel

/// Weights of GPTQ and AWQ: `qweight` in words of 32 bits, whose rows are the inputs of the layer.
///
/// Layouts: AutoGPTQ and GPTQModel (`gptq`, `gptq_v2`), AutoAWQ (`gemm`). A weight is (code - zero point) * scale, rounded once to the type of
/// the scales. The decoded matrix has a row for each output, as the weights of a linear layer.
enum GPTQTensors {
    static func match(_ codes: FoundTensor, _ tensors: StoredTensors) throws -> LogicalTensor? {
        guard codes.type == .i32, codes.dimensions.count == 2 else { return nil }
        let module = TensorName.dropSuffix(codes.tensor.name.text, ".qweight")
        let scale = try tensors.require(module + ".scales", for: codes, .gptq)
        guard scale.dimensions.count == 2, scale.count > 0, codes.count > 0 else {
            throw StoredTensors.wrongShape(scale, "a row of scales for each group", beside: codes)
        }
        let (lines, words) = (codes.dimensions[0], codes.dimensions[1])
        let (groups, outputs) = (scale.dimensions[0], scale.dimensions[1])
        if words == outputs { return try gptq(codes, scale, module, lines, groups: groups, outputs: outputs, tensors) }
        let (eights, overflow) = words.multipliedReportingOverflow(by: 8)
        guard !overflow, eights == outputs else {
            throw StoredTensors.wrongShape(
                scale, "as many columns as the codes (GPTQ), or eight times as many (AWQ)", beside: codes)
        }
        return try awq(codes, scale, module, inputs: lines, groups: groups, outputs: outputs, tensors)
    }

    private static func gptq(
        _ codes: FoundTensor, _ scale: FoundTensor, _ module: String, _ lines: Int, groups: Int, outputs: Int,
        _ tensors: StoredTensors
    ) throws -> LogicalTensor {
        let zero = try tensors.require(module + ".qzeros", for: codes, .gptq)
        guard zero.type == .i32, zero.dimensions.count == 2, zero.dimensions[0] == groups, outputs % 32 == 0,
            case let bits = zero.dimensions[1] * 32 / outputs, [2, 3, 4, 8].contains(bits),
            zero.dimensions[1] == outputs / 32 * bits, lines % bits == 0, case let inputs = lines / bits * 32,
            inputs <= 1 << 31
        else {
            throw StoredTensors.wrongShape(
                zero, "I32 words with zero points of 2, 3, 4 or 8 bits for \(groups) groups of \(outputs) outputs",
                beside: codes)
        }
        if let stated = tensors.configuration?.integer("bits"), stated != bits, tensors.configuration?.method == "gptq"
        {
            throw StoredTensors.refusal(
                codes, "codes of \(bits) bits", "\(stated) bits, as \(tensors.configuration?.path ?? "") states")
        }
        let version = tensors.configuration?.value["checkpoint_format"]?.string ?? "gptq"
        guard ["gptq", "gptq_v2"].contains(version) else {
            throw StoredTensors.refusal(
                codes, "the variant \(version.prefix(80)) of GPTQ", "gptq or gptq_v2",
                remedy: "this variant is not known to ingot")
        }
        var builder = LogicalTensorBuilder(codes: codes)
        let order = tensors.find(module + ".g_idx")
        let size = try groupSize(inputs, groups, codes, scale, tensors.configuration, isOrdered: order != nil)
        var decoder = try decoder(
            codes, scale, zero, &builder, inputs: inputs, outputs: outputs, groups: groups, size: size,
            layout: .columns(bits: bits), zeros: .packedWords(bits: bits),
            adjustment: version == "gptq" ? .plusOne : .none)
        if let order {
            try StoredTensors.require(order, shape: [inputs], beside: codes)
            guard order.type == .i32 else {
                throw StoredTensors.refusal(order, "an order of type \(order.type.rawValue)", "I32")
            }
            let part = builder.add(.other, order)
            if try !isUsual(order, size) { decoder.groupIndexPart = part }
        }
        let isOrdered = decoder.groupIndexPart != nil
        if tensors.configuration == nil {
            builder.warning =
                "no configuration states the version of GPTQ: read as version 1, whose zero points are stored less 1"
        }
        return try LogicalTensor(
            TensorName(module + ".weight"), [outputs, inputs], decoder, builder,
            .init(
                method: .gptq, shortName: "gptq\(bits) g\(size)",
                summary: "int\(bits), groups of \(size)\(isOrdered ? " in an order of their own" : "")", codeBits: bits,
                levels: 1 << bits, needsConsent: true), codes)
    }

    private static func awq(
        _ codes: FoundTensor, _ scale: FoundTensor, _ module: String, inputs: Int, groups: Int, outputs: Int,
        _ tensors: StoredTensors
    ) throws -> LogicalTensor {
        let version = tensors.configuration?.value["version"]?.string?.lowercased() ?? "gemm"
        guard version == "gemm", tensors.configuration?.integer("bits") ?? 4 == 4 else {
            throw StoredTensors.refusal(
                codes, "the variant \(version.prefix(80)) of AWQ", "gemm, with 4 bits",
                remedy: "this variant is not known to ingot")
        }
        var builder = LogicalTensorBuilder(codes: codes)
        let size = try groupSize(inputs, groups, codes, scale, tensors.configuration, isOrdered: false)
        // Without zero points codes are symmetric around 8, which only a configuration can tell.
        let isSymmetric = tensors.configuration?.value["zero_point"]?.bool == false
        let zero =
            isSymmetric ? tensors.find(module + ".qzeros") : try tensors.require(module + ".qzeros", for: codes, .awq)
        if let zero {
            try StoredTensors.require(zero, shape: [groups, outputs / 8], beside: codes)
            guard zero.type == .i32 else {
                throw StoredTensors.refusal(zero, "zero points of type \(zero.type.rawValue)", "I32")
            }
        }
        let decoder = try decoder(
            codes, scale, zero, &builder, inputs: inputs, outputs: outputs, groups: groups, size: size,
            layout: .interleaved, zeros: .interleaved, adjustment: .none)
        return try LogicalTensor(
            TensorName(module + ".weight"), [outputs, inputs], decoder, builder,
            .init(
                method: .awq, shortName: "awq4 g\(size)", summary: "int4, groups of \(size)", codeBits: 4, levels: 16,
                needsConsent: true), codes)
    }

    /// The inputs of a group. The last group may have fewer.
    ///
    /// - Throws: `unsupportedSource` if no size has that many groups, or not the size that is stated.
    private static func groupSize(
        _ inputs: Int, _ groups: Int, _ codes: FoundTensor, _ scale: FoundTensor,
        _ configuration: QuantizationConfiguration?, isOrdered: Bool
    ) throws -> Int {
        let stated = configuration?.integer("group_size")
        if let stated, stated > 0, (inputs - 1) / stated + 1 == groups { return stated }
        guard stated == nil, inputs % groups == 0 || isOrdered else {
            if groups == 1 { return inputs }
            throw StoredTensors.wrongShape(
                scale,
                "a row for each group\(stated.map { " of \($0), as \(configuration?.path ?? "") states" } ?? "")",
                beside: codes)
        }
        return (inputs + groups - 1) / groups
    }

    private static func decoder(
        _ codes: FoundTensor, _ scale: FoundTensor, _ zero: FoundTensor?, _ builder: inout LogicalTensorBuilder,
        inputs: Int, outputs: Int, groups: Int, size: Int, layout: CodeLayout, zeros: SideValues.Storage,
        adjustment: SideValues.Adjustment
    ) throws -> QuantizedBytes {
        func values(_ part: Int, _ storage: SideValues.Storage, _ adjustment: SideValues.Adjustment) -> SideValues {
            SideValues(
                part: part, storage: storage, blockRows: 1, blockColumns: size, sliceRows: outputs, gridRows: outputs,
                gridColumns: groups, isTransposed: true, adjustment: adjustment)
        }
        let part = builder.add(.scales, scale)
        guard inputs % 8 == 0, outputs % 8 == 0 else {
            throw StoredTensors.refusal(codes, "\(inputs) inputs and \(outputs) outputs", "multiples of 8")
        }
        var decoder = QuantizedBytes(
            rows: outputs, columns: inputs, format: try scale.floatFormat(), layout: layout, kind: .unsigned,
            scales: values(part, try scale.scaleStorage(), .none))
        // Without zero points the codes are symmetric around the middle.
        decoder.offsets =
            zero.map { .zeros(values(builder.add(.zeroPoints, $0), zeros, adjustment)) } ?? .zero(8)
        return decoder
    }

    /// Whether an order is the usual one, by which neighbouring inputs form groups. A group that does not exist is found when it is used.
    private static func isUsual(_ order: FoundTensor, _ size: Int) throws -> Bool {
        var bytes = [UInt8](repeating: 0, count: order.count * 4)
        try order.file.read(order.tensor.range, into: &bytes)
        let words = bytes.span
        return (0..<order.count).allSatisfy { Int(words.word($0 * 4)) == $0 / size }
    }
}
