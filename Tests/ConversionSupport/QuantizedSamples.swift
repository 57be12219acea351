package import TensorModel
package import TestSupport

/// Small sources as other quantizers write them, with codes that an entropy coder makes smaller.
package enum QuantizedSample: String, Sendable, CaseIterable {
    case fp8, mxfp4, gptq

    /// The tensors of the source, in one shard.
    package var tensors: [SampleTensor] {
        let plain = [
            SampleTensor("model.embed_tokens.weight", .bf16, [40, 64]), SampleTensor("model.norm.weight", .bf16, [64]),
        ]
        switch self {
        case .fp8:
            return plain + [
                QuantizedSample.codes("model.layers.0.up_proj.weight", .f8e4m3, [130, 257]),
                SampleTensor("model.layers.0.up_proj.weight_scale_inv", .f32, [2, 3]),
            ]
        case .mxfp4:
            return plain + [
                QuantizedSample.codes("model.layers.0.experts.gate_up_proj_blocks", .u8, [3, 40, 6, 16]),
                QuantizedSample.codes("model.layers.0.experts.gate_up_proj_scales", .u8, [3, 40, 6]),
                SampleTensor("model.layers.0.experts.gate_up_proj_bias", .bf16, [3, 40]),
            ]
        case .gptq:
            let order = (0..<512).flatMap { column -> [UInt8] in [UInt8(column / 32), 0, 0, 0] }
            return plain + [
                QuantizedSample.codes("model.layers.0.q_proj.qweight", .i32, [64, 96]),
                SampleTensor(
                    "model.layers.0.q_proj.qzeros", .i32, [16, 12], bytes: [UInt8](repeating: 0x77, count: 768)),
                SampleTensor("model.layers.0.q_proj.scales", .f16, [16, 96]),
                SampleTensor("model.layers.0.q_proj.g_idx", .i32, [512], bytes: order),
            ]
        }
    }

    /// The text of a `config.json` for it.
    package var configuration: String {
        "{\n  \"quantization_config\": {\n    \"quant_method\": \"\(rawValue)\"\n  },\n  \"hidden_size\": 64\n}\n"
    }

    /// A tensor of codes with few different bytes, which depend on name and seed.
    package static func codes(_ name: String, _ type: ElementType, _ shape: [Int], seed: UInt64 = 1) -> SampleTensor {
        var generator = SeededGenerator(name.utf8.reduce(seed) { $0 &* 31 &+ UInt64($1) })
        let count = shape.reduce(1, *) * type.byteWidth
        let bytes = (0..<count).map { _ in
            let number = generator.next()
            return UInt8(100 + number % 8 + (number >> 8) % 8)
        }
        return SampleTensor(name, type, shape, bytes: bytes)
    }
}
