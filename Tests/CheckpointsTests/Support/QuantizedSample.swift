import Checkpoints
import TensorModel
import TestSupport

/// A small tensor in the codes of one quantizer, and the weights that they stand for, computed element by element from the layout.
struct QuantizedSample: Sendable, CustomStringConvertible {
    let description: String
    var tensors: [SampleTensor]
    var configuration: String?
    /// The name, shape, format and values of the decoded tensor.
    let name: String, shape: [Int], format: FloatFormat
    let values: [Float]

    /// The bytes of the decoded elements.
    var bytes: [UInt8] { values.flatMap { FloatBytes.encode($0, format) } }

    /// All samples.
    static let all: [QuantizedSample] = [
        fp8(), fp8(perRow: true), mxfp4(), nvfp4(divides: true), nvfp4(divides: false), packed(bits: 4, zeros: false),
        packed(bits: 3, zeros: true), packed(bits: 3, zeros: false, padded: true), bytes8(), gptq(bits: 4),
        gptq(bits: 3),
        gptq(bits: 4, ordered: true), awq(), mlx(bits: 4), mlx(bits: 6), fourBits(nested: false),
        fourBits(nested: true),
        int8(), aqlm(),
    ]

    // MARK: - Values of codes

    static let e2m1: [Float] = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]

    /// FP8 E4M3 by its definition: (-1)^s * 2^(e - 7) * (1 + f / 8), without exponent 0's leading one.
    static func e4m3(_ code: UInt8) -> Float {
        let (exponent, fraction) = (Int(code >> 3 & 15), Float(code & 7))
        let size =
            exponent == 0
            ? fraction * Float(sign: .plus, exponent: -9, significand: 1)
            : Float(sign: .plus, exponent: exponent - 7, significand: 1 + fraction / 8)
        return code & 0x7F == 0x7F ? .nan : code > 127 ? -size : size
    }

    private static func rounded(_ value: Float, _ format: FloatFormat) -> Float {
        FloatBytes.decode(FloatBytes.encode(value, format), 0, format)
    }

    private static func codes(_ count: Int, below limit: Int, seed: UInt64) -> [UInt8] {
        var generator = TestSupport.SeededGenerator(seed)
        return (0..<count).map { _ in UInt8(generator.next() % UInt64(limit)) }
    }

    private static func scales(_ count: Int, seed: UInt64, _ format: FloatFormat) -> [Float] {
        var generator = TestSupport.SeededGenerator(seed)
        return (0..<count).map { _ in rounded(abs(generator.weight()) + 0.01, format) }
    }

    /// Packs codes as one little-endian bit stream, filled up to whole words.
    static func stream(_ codes: [UInt8], bits: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: (codes.count * bits + 31) / 32 * 4)
        for (index, code) in codes.enumerated() {
            for bit in 0..<bits where code >> UInt8(bit) & 1 == 1 {
                bytes[(index * bits + bit) / 8] |= 1 << UInt8((index * bits + bit) % 8)
            }
        }
        return bytes
    }

    private static func bytes(_ values: [Float], _ format: FloatFormat) -> [UInt8] {
        values.flatMap { FloatBytes.encode($0, format) }
    }

    // MARK: - Formats

    static func fp8(perRow: Bool = false) -> QuantizedSample {
        let (rows, columns) = (130, 140)
        let codes = codes(rows * columns, below: 127, seed: 3).enumerated().map { $0 % 3 == 0 ? $1 | 0x80 : $1 }
        let scales = scales(perRow ? rows : 4, seed: 4, .f32)
        let values = codes.indices.map { index in
            let (row, column) = (index / columns, index % columns)
            return e4m3(codes[index]) * scales[perRow ? row : row / 128 * 2 + column / 128]
        }
        let name = "m.weight"
        return QuantizedSample(
            description: perRow ? "FP8 with a scale a row" : "FP8 in blocks",
            tensors: [
                .init(name, .f8e4m3, [rows, columns], bytes: codes),
                .init(name + (perRow ? "_scale" : "_scale_inv"), .f32, perRow ? [rows, 1] : [2, 2], values: scales),
                .init("m.input_scale", .f32, [1], values: [1]),
            ],
            configuration:
                #"{"torch_dtype": "bfloat16", "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}"#,
            name: name, shape: [rows, columns], format: .bf16, values: values)
    }

    static func mxfp4() -> QuantizedSample {
        let (experts, rows, groups) = (2, 3, 2)
        let count = experts * rows * groups * 32
        let codes = codes(count, below: 16, seed: 5)
        let exponents = Self.codes(count / 32, below: 20, seed: 6).map { $0 + 117 }
        return QuantizedSample(
            description: "MXFP4 of gpt-oss",
            tensors: [
                .init("m_blocks", .u8, [experts, rows, groups, 16], bytes: stream(codes, bits: 4)),
                .init("m_scales", .u8, [experts, rows, groups], bytes: exponents),
            ],
            configuration: #"{"quantization_config": {"quant_method": "mxfp4"}}"#, name: "m",
            shape: [experts, rows, groups * 32], format: .bf16,
            values: codes.indices.map {
                e2m1[Int(codes[$0])] * Float(sign: .plus, exponent: Int(exponents[$0 / 32]) - 127, significand: 1)
            })
    }

    static func nvfp4(divides: Bool) -> QuantizedSample {
        let (rows, columns) = (5, 48)
        let codes = codes(rows * columns, below: 16, seed: 7)
        let scales = Self.codes(rows * 3, below: 100, seed: 8).map { $0 + 8 }
        let global: Float = divides ? 321.5 : 0.0031
        let values = codes.indices.map { index in
            let scale = divides ? e4m3(scales[index / 16]) / global : e4m3(scales[index / 16]) * global
            let value = e2m1[Int(codes[index])] * scale
            return divides ? value : value + 0
        }
        let ending = divides ? "_packed" : ""
        return QuantizedSample(
            description: divides ? "NVFP4 of compressed-tensors" : "NVFP4 of ModelOpt",
            tensors: [
                .init("m.weight" + ending, .u8, [rows, columns / 2], bytes: stream(codes, bits: 4)),
                .init("m.weight_scale", .f8e4m3, [rows, 3], bytes: scales),
                .init(
                    divides ? "m.weight_global_scale" : "m.weight_scale_2", .f32, divides ? [1] : [], values: [global]),
            ], name: "m.weight", shape: [rows, columns], format: .bf16, values: values)
    }

    static func packed(bits: Int, zeros: Bool, padded: Bool = false) -> QuantizedSample {
        // 70 codes of 3 bits take as many padded words as dense ones, 200 do not.
        let (rows, columns, groups) = (6, padded ? 200 : 70, 2)
        let codes = codes(rows * columns, below: 1 << bits, seed: 9)
        let scales = scales(rows * groups, seed: 10, .f16)
        let points = Self.codes(rows * groups, below: 1 << bits, seed: 11)
        var packed: [UInt8] = []
        for row in 0..<rows {
            let line = Array(codes[row * columns..<(row + 1) * columns])
            guard padded else {
                packed += stream(line, bits: bits)
                continue
            }
            let each = 32 / bits
            for start in stride(from: 0, to: columns, by: each) {
                packed += stream(Array(line[start..<min(columns, start + each)]), bits: bits)
            }
        }
        var tensors: [SampleTensor] = [
            .init("m.weight_packed", .i32, [rows, packed.count / 4 / rows], bytes: packed),
            .init("m.weight_scale", .f16, [rows, groups], values: scales),
            .init(
                "m.weight_shape", .i64, [2],
                bytes: [UInt8(rows), 0, 0, 0, 0, 0, 0, 0, UInt8(columns), 0, 0, 0, 0, 0, 0, 0]),
        ]
        if zeros {
            // Each column of zero points is a stream of its own; the words of all columns lie side by side.
            let words = (0..<groups).map { group in
                stream((0..<rows).map { points[$0 * groups + group] }, bits: bits)
            }
            let lines = words[0].count / 4
            let bytes = (0..<lines).flatMap { line in words.flatMap { $0[line * 4..<line * 4 + 4] } }
            tensors.append(.init("m.weight_zero_point", .i32, [lines, groups], bytes: bytes))
        }
        let values = codes.indices.map { index in
            let group = index / columns * groups + index % columns / (columns / groups)
            let zero = zeros ? Float(points[group]) : Float(1 << (bits - 1))
            return (Float(codes[index]) - zero) * scales[group]
        }
        return QuantizedSample(
            description:
                "compressed-tensors int\(bits)\(zeros ? " with zero points" : "")\(padded ? " in padded words" : "")",
            tensors: tensors,
            configuration:
                #"{"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": \#(bits)}}}}}"#,
            name: "m.weight", shape: [rows, columns], format: .f16, values: values)
    }

    static func bytes8() -> QuantizedSample {
        let (rows, columns) = (4, 33)
        let codes = codes(rows * columns, below: 256, seed: 12)
        let scales = scales(rows, seed: 13, .bf16)
        return QuantizedSample(
            description: "compressed-tensors int8 in bytes",
            tensors: [
                .init("m.weight", .i8, [rows, columns], bytes: codes),
                .init("m.weight_scale", .bf16, [rows, 1], values: scales),
            ], name: "m.weight", shape: [rows, columns], format: .bf16,
            values: codes.indices.map { Float(Int8(bitPattern: codes[$0])) * scales[$0 / columns] })
    }

    static func gptq(bits: Int, ordered: Bool = false) -> QuantizedSample {
        let (inputs, outputs, group) = (64, 32, 32)
        let codes = codes(inputs * outputs, below: 1 << bits, seed: 14)
        let points = Self.codes(2 * outputs, below: (1 << bits) - 1, seed: 15)
        let scales = scales(2 * outputs, seed: 16, .f16)
        let order = (0..<inputs).map { ordered ? $0 * 7 % 64 / group : $0 / group }
        // Columns of codes are streams of one output each.
        let columns = (0..<outputs).map { output in
            stream((0..<inputs).map { codes[$0 * outputs + output] }, bits: bits)
        }
        let lines = columns[0].count / 4
        let packed = (0..<lines).flatMap { line in columns.flatMap { $0[line * 4..<line * 4 + 4] } }
        let zeros = (0..<2).flatMap { stream(Array(points[$0 * outputs..<($0 + 1) * outputs]), bits: bits) }
        let values = (0..<outputs * inputs).map { index -> Float in
            let (output, input) = (index / inputs, index % inputs)
            let place = order[input] * outputs + output
            return (Float(codes[input * outputs + output]) - Float(points[place] + 1)) * scales[place]
        }
        return QuantizedSample(
            description: "GPTQ with \(bits) bits\(ordered ? ", groups in an order of their own" : "")",
            tensors: [
                .init("m.qweight", .i32, [lines, outputs], bytes: packed),
                .init("m.qzeros", .i32, [2, outputs * bits / 32], bytes: zeros),
                .init("m.scales", .f16, [2, outputs], values: scales),
                .init("m.g_idx", .i32, [inputs], bytes: order.flatMap { [UInt8($0), 0, 0, 0] }),
            ],
            configuration: #"{"quantization_config": {"quant_method": "gptq", "bits": \#(bits), "group_size": 32}}"#,
            name: "m.weight", shape: [outputs, inputs], format: .f16, values: values)
    }

    static func awq() -> QuantizedSample {
        let (inputs, outputs, group) = (64, 24, 32)
        let codes = codes(inputs * outputs, below: 16, seed: 17)
        let points = Self.codes(2 * outputs, below: 16, seed: 18)
        let scales = scales(2 * outputs, seed: 19, .f16)
        func interleaved(_ row: [UInt8]) -> [UInt8] {
            stream(
                stride(from: 0, to: row.count, by: 8).flatMap { start in
                    [0, 2, 4, 6, 1, 3, 5, 7].map { row[start + $0] }
                }, bits: 4)
        }
        func rows(_ codes: [UInt8]) -> [UInt8] {
            stride(from: 0, to: codes.count, by: outputs).flatMap { interleaved(Array(codes[$0..<$0 + outputs])) }
        }
        let values = (0..<outputs * inputs).map { index -> Float in
            let (output, input) = (index / inputs, index % inputs)
            let place = input / group * outputs + output
            return (Float(codes[input * outputs + output]) - Float(points[place])) * scales[place]
        }
        return QuantizedSample(
            description: "AWQ",
            tensors: [
                .init("m.qweight", .i32, [inputs, outputs / 8], bytes: rows(codes)),
                .init("m.qzeros", .i32, [2, outputs / 8], bytes: rows(points)),
                .init("m.scales", .f16, [2, outputs], values: scales),
            ], configuration: #"{"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32}}"#,
            name: "m.weight", shape: [outputs, inputs], format: .f16, values: values)
    }

    static func mlx(bits: Int) -> QuantizedSample {
        let (rows, columns, group) = (3, 128, 64)
        let codes = codes(rows * columns, below: 1 << bits, seed: 20)
        let scales = scales(rows * 2, seed: 21, .bf16)
        let biases = Self.scales(rows * 2, seed: 22, .bf16).map { -$0 }
        return QuantizedSample(
            description: "MLX with \(bits) bits",
            tensors: [
                .init("m.weight", .u32, [rows, columns * bits / 32], bytes: stream(codes, bits: bits)),
                .init("m.scales", .bf16, [rows, 2], values: scales),
                .init("m.biases", .bf16, [rows, 2], values: biases),
            ], configuration: #"{"quantization": {"bits": \#(bits), "group_size": 64}}"#, name: "m.weight",
            shape: [rows, columns], format: .bf16,
            values: codes.indices.map {
                rounded(Float(codes[$0]) * scales[$0 / group], .bf16) + biases[$0 / group]
            })
    }

    static func fourBits(nested: Bool) -> QuantizedSample {
        let (rows, columns, block) = (5, 39, 64)
        let count = rows * columns
        let codes = codes(count, below: 16, seed: 23)
        let table = (0..<16).map { Float($0) / 8 - 0.93 }
        let blocks = (count - 1) / block + 1
        let outer: Float = 0.37
        let levels = (0..<256).map { Float($0) / 255 }
        let places = Self.codes(blocks, below: 256, seed: 24)
        let absmax = nested ? places.map { levels[Int($0)] * outer + 0.125 } : scales(blocks, seed: 25, .f32)
        var bytes = stride(from: 0, to: count - 1, by: 2).map { codes[$0] << 4 | codes[$0 + 1] }
        bytes.append(codes[count - 1] << 4)
        let state =
            #"{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [5, 39]"#
            + (nested ? #", "nested_blocksize": 256, "nested_offset": 0.125}"# : "}")
        var tensors: [SampleTensor] = [
            .init("m.weight", .u8, [bytes.count, 1], bytes: bytes),
            .init("m.weight.quant_map", .f32, [16], values: table),
            .init("m.weight.quant_state.bitsandbytes__nf4", .u8, [state.utf8.count], bytes: Array(state.utf8)),
        ]
        if nested {
            tensors += [
                .init("m.weight.absmax", .u8, [blocks], bytes: places),
                .init("m.weight.nested_absmax", .f32, [1], values: [outer]),
                .init("m.weight.nested_quant_map", .f32, [256], values: levels),
            ]
        } else {
            tensors.append(.init("m.weight.absmax", .f32, [blocks], values: absmax))
        }
        return QuantizedSample(
            description: "bitsandbytes with 4 bits\(nested ? ", scales of 8 bits" : "")", tensors: tensors,
            name: "m.weight",
            shape: [rows, columns], format: .bf16,
            values: codes.indices.map { table[Int(codes[$0])] * absmax[$0 / block] })
    }

    static func int8() -> QuantizedSample {
        let (rows, columns) = (3, 21)
        let codes = codes(rows * columns, below: 256, seed: 26)
        let scales = scales(rows, seed: 27, .f32)
        return QuantizedSample(
            description: "bitsandbytes int8",
            tensors: [
                .init("m.weight", .i8, [rows, columns], bytes: codes), .init("m.SCB", .f32, [rows], values: scales),
                .init("m.weight_format", .u8, [], bytes: [0]),
            ], name: "m.weight", shape: [rows, columns], format: .f32,
            values: codes.indices.map { Float(Int8(bitPattern: codes[$0])) * scales[$0 / columns] * 0x1.020408p-7 })
    }

    static func aqlm() -> QuantizedSample {
        let (lines, groups, books, vectors) = (4, 3, 2, 256)
        let codes = codes(lines * groups * books, below: 256, seed: 28)
        let entries = scales(books * vectors * 8, seed: 29, .f16)
        let scales = scales(lines, seed: 30, .f16)
        let values = (0..<lines * groups * 8).map { index -> Float in
            let (line, column) = (index / (groups * 8), index % (groups * 8))
            let sum = (0..<books).reduce(Float(0)) { sum, book in
                let code = Int(codes[(line * groups + column / 8) * books + book])
                return sum + entries[(book * vectors + code) * 8 + column % 8]
            }
            return rounded(sum, .f16) * scales[line]
        }
        return QuantizedSample(
            description: "AQLM",
            tensors: [
                .init("m.codes", .i8, [lines, groups, books], bytes: codes),
                .init("m.codebooks", .f16, [books, vectors, 1, 8], values: entries),
                .init("m.scales", .f16, [lines, 1, 1, 1], values: scales),
            ], configuration: #"{"quantization_config": {"quant_method": "aqlm"}}"#, name: "m.weight",
            shape: [lines, groups * 8], format: .f16, values: values)
    }
}
