import Checkpoints
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Quantized checkpoints that cannot be what they say (Specs/threat-model.md, rows Q).
@Suite struct QuantizedRejectionTests {
    /// A sample with a fault, and what the error must name.
    struct Fault: Sendable, CustomStringConvertible {
        let description: String
        let sample: QuantizedSample
        let found: String

        init(
            _ description: String, _ sample: QuantizedSample, _ found: String, _ change: (inout QuantizedSample) -> Void
        ) {
            var changed = sample
            change(&changed)
            (self.description, self.sample, self.found) = (description, changed, found)
        }
    }

    private static func remove(_ ending: String) -> (inout QuantizedSample) -> Void {
        { sample in sample.tensors.removeAll { $0.name.hasSuffix(ending) } }
    }

    /// Gives a tensor another shape; its bytes are cut, or filled up with zeros.
    private static func reshape(_ ending: String, _ shape: [Int]) -> (inout QuantizedSample) -> Void {
        { sample in
            for index in sample.tensors.indices where sample.tensors[index].name.hasSuffix(ending) {
                let count = shape.reduce(1, *) * sample.tensors[index].type.bitWidth / 8
                let bytes = sample.tensors[index].bytes + [UInt8](repeating: 0, count: count)
                sample.tensors[index].shape = shape
                sample.tensors[index].bytes = Array(bytes.prefix(count))
            }
        }
    }

    private static func state(_ text: String) -> (inout QuantizedSample) -> Void {
        { sample in sample.configuration = text }
    }

    private static func config(_ members: String) -> (inout QuantizedSample) -> Void {
        state("{\"quantization_config\": {\(members)}}")
    }

    /// A configuration of compressed-tensors with one group.
    private static func scheme(_ weights: String) -> (inout QuantizedSample) -> Void {
        config(
            #""quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {\#(weights)}}}"#)
    }

    static let faults: [Fault] = [
        // Q01: a part is missing.
        Fault("Q01 MXFP4 blocks without scales", .mxfp4(), "m_scales", remove("_scales")),
        Fault(
            "Q01 NVFP4 without its global scale", .nvfp4(divides: true), "weight_global_scale", remove("_global_scale")),
        Fault("Q01 NVFP4 without scales", .nvfp4(divides: false), "m.weight_scale", remove("weight_scale")),
        Fault("Q01 packed codes without scales", .packed(bits: 4, zeros: false), "weight_scale", remove("_scale")),
        Fault("Q01 GPTQ without zero points", .gptq(bits: 4), "m.qzeros", remove("qzeros")),
        Fault("Q01 GPTQ without scales", .gptq(bits: 4), "m.scales", remove("scales")),
        Fault("Q01 MLX without biases", .mlx(bits: 4), "m.biases", remove("biases")),
        Fault("Q01 bitsandbytes without absmax", .fourBits(nested: false), "absmax", remove("absmax")),
        Fault(
            "Q01 bitsandbytes without the scales of its scales", .fourBits(nested: true), "nested_absmax",
            remove("nested_absmax")),
        Fault("Q01 AQLM without scales", .aqlm(), "m.scales", remove("scales")),
        Fault("Q01 scales without codes", .fp8(), "without the codes", remove("m.weight")),
        Fault("Q01 GPTQ's zero points without codes", .gptq(bits: 4), "without the codes", remove("qweight")),
        Fault("Q01 FP8 without scales beside FP8 with scales", .fp8(), "other.weight_scale_inv") { sample in
            sample.tensors.append(SampleTensor("other.weight", raw: .f8e4m3, [4, 8]))
        },
        // Q02: shapes and types that do not fit.
        Fault("Q02 too few blocks of FP8", .fp8(), "1x2", reshape("_scale_inv", [1, 2])),
        Fault("Q02 FP8 scales of another rank", .fp8(), "2x1x2", reshape("_scale_inv", [2, 1, 2])),
        Fault("Q02 MXFP4 scales of fewer groups", .mxfp4(), "2x3x1", reshape("_scales", [2, 3, 1])),
        Fault("Q02 groups of unequal size", .packed(bits: 4, zeros: false), "6x3", reshape("weight_scale", [6, 3])),
        Fault(
            "Q02 words that no width explains", .packed(bits: 4, zeros: false), "11 words", reshape("_packed", [6, 11])),
        Fault("Q02 zero points of another shape", .packed(bits: 3, zeros: true), "2x2", reshape("zero_point", [2, 2])),
        Fault("Q02 stated rows that are not there", .packed(bits: 4, zeros: false), "7 rows") { sample in
            sample.tensors[2].bytes[0] = 7
        },
        Fault("Q02 stated columns that overflow", .packed(bits: 4, zeros: false), "columns") { sample in
            sample.tensors[2].bytes.replaceSubrange(8..<16, with: [UInt8](repeating: 0xFF, count: 8))
        },
        Fault("Q02 GPTQ scales of other outputs", .gptq(bits: 4), "2x31", reshape("scales", [2, 31])),
        Fault("Q02 an order of other inputs", .gptq(bits: 4), "63", reshape("g_idx", [63])),
        Fault("Q02 MLX scales of other rows", .mlx(bits: 4), "2x3", reshape("scales", [2, 3])),
        Fault("Q02 a block too many", .fourBits(nested: false), "5", reshape("absmax", [5])),
        Fault("Q02 a scale too many", .int8(), "4", reshape("SCB", [4])),
        Fault("Q02 codebooks of another number", .aqlm(), "3x256x1x8", reshape("codebooks", [3, 256, 1, 8])),
        Fault(
            "Q02 codebooks whose vectors codes cannot name", .aqlm(), "512 vectors",
            reshape("codebooks", [2, 512, 1, 8])),
        Fault("Q02 scales that are whole numbers", .fp8(), "I32") { $0.tensors[1].type = .i32 },
        // Q03: a configuration that contradicts the tensors.
        Fault("Q03 another method", .awq(), "AWQ", config(#""quant_method": "gptq", "bits": 4, "group_size": 32"#)),
        Fault(
            "Q03 other bits", .gptq(bits: 4), "4 bits", config(#""quant_method": "gptq", "bits": 8, "group_size": 32"#)),
        Fault(
            "Q03 another group size", .gptq(bits: 4), "2x32",
            config(#""quant_method": "gptq", "bits": 4, "group_size": 16"#)),
        Fault("Q03 other blocks", .fp8(), "2x2", config(#""quant_method": "fp8", "weight_block_size": [64, 64]"#)),
        Fault(
            "Q03 other widths of MLX", .mlx(bits: 4), "words",
            state(#"{"quantization": {"bits": 3, "group_size": 64}}"#)),
        Fault(
            "Q03 asymmetric codes without zero points", .packed(bits: 4, zeros: false), "weight_zero_point",
            scheme(#""num_bits": 4, "symmetric": false"#)),
        Fault(
            "Q03 symmetric codes with zero points", .packed(bits: 3, zeros: true), "zero points",
            scheme(#""num_bits": 3, "symmetric": true"#)),
        Fault(
            "Q03 another group size of compressed-tensors", .packed(bits: 4, zeros: false), "groups of 35",
            scheme(#""num_bits": 4, "strategy": "group", "group_size": 32"#)),
        Fault(
            "Q03 another type of bitsandbytes", .fourBits(nested: false), "nf4",
            config(#""quant_method": "bitsandbytes", "bnb_4bit_quant_type": "fp4""#)),
        Fault("Q03 AWQ with zero points that are not there", .awq(), "m.qzeros", remove("qzeros")),
        Fault("Q03 codes that no tensor has", .fp8(), "no tensor has codes") { sample in
            sample.tensors = [SampleTensor("m.weight", .bf16, [4, 8])]
        },
        // Q04: variants that are not known.
        Fault(
            "Q04 a variant of GPTQ", .gptq(bits: 4), "gptq_p",
            config(#""quant_method": "gptq", "checkpoint_format": "gptq_p""#)),
        Fault("Q04 a variant of AWQ", .awq(), "gemv", config(#""quant_method": "awq", "version": "gemv""#)),
        Fault(
            "Q04 more bits than a byte has", .packed(bits: 4, zeros: false), "9 bits",
            config(#""quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 9}}}"#)),
        Fault("Q04 HQQ", .int8(), "HQQ") { sample in
            sample.tensors = [
                SampleTensor("m.W_q", raw: .u8, [4, 8]), SampleTensor("m.scale", .f16, [4, 1]),
                SampleTensor("m.zero", .f16, [4, 1]),
            ]
        },
        Fault("Q04 EXL3", .int8(), "EXL3") { sample in
            sample.tensors = [SampleTensor("m.trellis", raw: .i16, [4, 8, 32]), SampleTensor("m.suh", .f16, [64])]
        },
        Fault("Q04 MLX with one more scale", .mlx(bits: 4), "one more scale") { sample in
            sample.tensors.append(SampleTensor("m.global_scale", .f32, [1]))
        },
        // Q05: what nothing tells.
        Fault("Q05 blocks of FP8 that are no power of two, without a configuration", .fp8(), "3x2") { sample in
            sample.configuration = nil
            sample.tensors[0] = SampleTensor("m.weight", raw: .f8e4m3, [150, 140])
            reshape("_scale_inv", [3, 2])(&sample)
        },
        Fault("Q05 MLX without a configuration", .mlx(bits: 4), "may be") { $0.configuration = nil },
        Fault("Q05 packed codes without shape and configuration", .packed(bits: 4, zeros: false), "tells") { sample in
            sample.configuration = nil
            sample.tensors.remove(at: 2)
        },
        // Q08: two tensors of one name.
        Fault("Q08 codes and weights", .gptq(bits: 4), "is there too") { sample in
            sample.tensors.append(SampleTensor("m.weight", .f16, [32, 64]))
        },
        // Q09: a state of bitsandbytes that is none.
        Fault("Q09 a state that is no JSON", .fourBits(nested: false), "JSON") { $0.tensors[2].bytes[0] = 0x5B },
        Fault("Q09 a state of another size", .fourBits(nested: false), "bytes") { sample in
            let text = #"{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [6, 39]}"#
            sample.tensors[2] = SampleTensor(sample.tensors[2].name, .u8, [text.utf8.count], bytes: Array(text.utf8))
        },
        Fault("Q09 a block size of zero", .fourBits(nested: false), "blocksize") { sample in
            let text = #"{"quant_type": "nf4", "blocksize": 0, "dtype": "bfloat16", "shape": [5, 39]}"#
            sample.tensors[2] = SampleTensor(sample.tensors[2].name, .u8, [text.utf8.count], bytes: Array(text.utf8))
        },
    ]

    @Test("Refused, with file, tensor and what was found", arguments: faults)
    func refused(fault: Fault) throws {
        let directory = try QuantizedSourceTests.write(fault.sample)
        let path = directory.path.appending("c")
        let error = try #require(throws: IngotError.self) { try Checkpoint.open(path) }
        #expect(error.code == .unsupportedSource && error.file != nil && error.expected != nil)
        let text = IngotErrorRenderer.text(error)
        #expect(text.contains(fault.found), "\(text)")
        #expect(error.tensor != nil || fault.found == "no tensor has codes")
        // To look at it, it opens as it is stored, with a warning.
        let listed = try Checkpoint.open(path, undecodable: .listed)
        #expect(!listed.warnings.isEmpty && listed.tensorCount > 0)
    }

    @Test("Q06 scales that are NaN or infinite are named with their place, zeros are warned of")
    func scales() throws {
        var sample = QuantizedSample.mxfp4()
        sample.tensors[1].bytes[7] = 255
        func form(_ sample: QuantizedSample) throws -> (TensorName, Shape, QuantizedForm, TemporaryDirectory) {
            let directory = try QuantizedSourceTests.write(sample)
            let checkpoint = try Checkpoint.open(directory.path.appending("c"))
            let (_, tensor) = try #require(checkpoint.tensor(named: TensorName(sample.name)))
            return (tensor.name, tensor.shape, try #require(tensor.form), directory)
        }
        let broken = try form(sample)
        let error = try #require(throws: IngotError.self) { try broken.2.checkScales(of: broken.0, shape: broken.1) }
        #expect(
            error.code == .nonFinite && error.tensor == broken.0
                && error.found.contains("NaN as the scale of row 3, column 32"))
        var infinite = QuantizedSample.fp8(perRow: true)
        infinite.tensors[1].bytes.replaceSubrange(8..<12, with: [0, 0, 0x80, 0x7F])
        infinite.tensors[1].bytes.replaceSubrange(16..<20, with: [0, 0, 0x80, 0x7F])
        let far = try form(infinite)
        let second = try #require(throws: IngotError.self) { try far.2.checkScales(of: far.0, shape: far.1) }
        #expect(second.found.contains("infinity as the scale of row 2, column 0, and 1 more"))
        var zero = QuantizedSample.fp8(perRow: true)
        zero.tensors[1].bytes.replaceSubrange(8..<12, with: [0, 0, 0, 0x80])
        let empty = try form(zero)
        #expect(
            try empty.2.checkScales(of: empty.0, shape: empty.1)?.message.contains("1 of 130 scales are zero") == true)
        let good = try form(.fp8())
        #expect(try good.2.checkScales(of: good.0, shape: good.1) == nil)
    }

    @Test("Q07 a group beyond the last in g_idx is refused when the weights are read", arguments: [2, 255])
    func order(group: UInt8) throws {
        var sample = QuantizedSample.gptq(bits: 4)
        sample.tensors[3].bytes[20] = group
        if group == 255 { sample.tensors[3].bytes.replaceSubrange(20..<24, with: [255, 255, 255, 255]) }
        let directory = try QuantizedSourceTests.write(sample)
        let checkpoint = try Checkpoint.open(directory.path.appending("c"))
        let (shard, tensor) = try #require(checkpoint.tensor(named: TensorName(sample.name)))
        let error = try #require(throws: IngotError.self) { try shard.bytes(of: tensor).all() }
        #expect(error.code == .unsupportedSource && error.found.contains("for input 5 in g_idx"))
    }
}
