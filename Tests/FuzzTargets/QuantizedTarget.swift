import Checkpoints
import FileAccess
import SystemPackage
import TensorModel
import TestSupport

/// Quantized checkpoints: a byte with the length of a configuration in 8 bytes each, the configuration, and a safetensors file.
enum QuantizedTarget {
    /// Opens the checkpoint decoded and as it is stored, reads every decoded tensor whole and in pieces, and counts codes and scales.
    static func run(_ bytes: [UInt8]) throws {
        let length = Int(bytes.first ?? 0) * 8
        let configuration = Array(bytes.dropFirst().prefix(length))
        try FuzzFiles.withDirectory { directory in
            try Files.write(Array(bytes.dropFirst(1 + length)), to: directory.appending("model.safetensors"))
            if !configuration.isEmpty { try Files.write(configuration, to: directory.appending("config.json")) }
            let stored = try Checkpoint.open(directory, quantized: .asStored)
            let listed = try Checkpoint.open(directory, undecodable: .listed)
            require(listed.shards.count == stored.shards.count, "other shards")
            let checkpoint = try Checkpoint.open(directory)
            var names: Set<TensorName> = []
            for shard in checkpoint.shards {
                require(shard.header.storedTensors == stored.shards[0].header.tensors, "other stored tensors")
                for tensor in shard.header.tensors {
                    require(names.insert(tensor.name).inserted, "\(tensor.name) twice")
                    guard let form = tensor.form else { continue }
                    try check(tensor, form, in: shard)
                }
            }
        }
    }

    private static func check(_ tensor: StoredTensor, _ form: QuantizedForm, in shard: Shard) throws {
        require(
            tensor.elementType.byteCount(of: tensor.shape) == tensor.byteCount,
            "\(tensor.name): \(tensor.byteCount) bytes")
        guard tensor.byteCount <= 1 << 20 else { return }
        let bytes = shard.bytes(of: tensor)
        let whole = try bytes.all()
        var pieces: [UInt8] = []
        try bytes.forEachPiece(pieceBytes: whole.count < 4096 ? 97 : 4099) { bytes, _ in
            for index in bytes.indices { pieces.append(bytes[index]) }
        }
        require(pieces == whole, "\(tensor.name): other bytes in pieces")
        var (codes, scales) = (CodeHistogram(), ScaleHistogram())
        try codes.count(0, of: 1, form)
        try scales.take(0, of: 1, form)
        require(codes.counts.reduce(0, +) > 0, "no codes")
        _ = try form.checkScales(of: tensor.name, shape: tensor.shape)
    }

    /// A seed of a configuration and tensors.
    static func seed(_ configuration: String, _ tensors: [SampleTensor]) throws -> [UInt8] {
        let length = (configuration.utf8.count + 7) / 8
        let text = Array(configuration.utf8) + [UInt8](repeating: 0x20, count: length * 8 - configuration.utf8.count)
        let entries = try tensors.map { tensor in
            guard let shape = Shape(tensor.shape) else {
                throw IngotError(.invalidShape, found: "a seed of shape \(tensor.shape)")
            }
            return SafetensorsWriter.Entry(
                name: TensorName(tensor.name), elementType: tensor.type, shape: shape,
                byteCount: UInt64(tensor.bytes.count))
        }
        return try [UInt8(length)] + text + SafetensorsWriter.header(tensors: entries, metadata: [])
            + tensors.flatMap(\.bytes)
    }

    /// A seed for each layout.
    static func seeds() throws -> [[UInt8]] {
        func words(_ name: String, _ shape: [Int]) -> SampleTensor { SampleTensor(name, raw: .i32, shape) }
        let state = #"{"blocksize":64,"dtype":"float16","shape":[4,33],"nested_blocksize":256,"nested_offset":0.5}"#
        let packed =
            #"{"quantization_config":{"quant_method":"compressed-tensors","config_groups":{"a":{"weights":{"num_bits":3}}}}}"#
        return try [
            seed(
                #"{"dtype":"bfloat16","quantization_config":{"quant_method":"fp8","weight_block_size":[4,8]}}"#,
                [
                    SampleTensor("m.weight", .f8e4m3, [5, 12], bytes: (0..<60).map { UInt8($0) }),
                    SampleTensor("m.weight_scale_inv", .f32, [2, 2]),
                ]),
            seed(
                "",
                [
                    SampleTensor("m_blocks", raw: .u8, [2, 2, 1, 16]),
                    SampleTensor("m_scales", .u8, [2, 2, 1], bytes: [120, 121, 122, 123]),
                ]),
            seed(
                "",
                [
                    SampleTensor("m.weight_packed", raw: .u8, [2, 16]),
                    SampleTensor("m.weight_scale", .f8e4m3, [2, 2], bytes: [56, 57, 58, 59]),
                    SampleTensor("m.weight_global_scale", .f32, [1]),
                ]),
            seed(
                packed,
                [
                    words("m.weight_packed", [4, 4]), SampleTensor("m.weight_scale", .f16, [4, 2]),
                    words("m.weight_zero_point", [1, 2]),
                    SampleTensor(
                        "m.weight_shape", .i64, [2], bytes: [4, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0]),
                ]),
            seed(
                "",
                [
                    words("m.qweight", [4, 32]), words("m.qzeros", [2, 4]), SampleTensor("m.scales", .f16, [2, 32]),
                    SampleTensor("m.g_idx", .i32, [32], bytes: (0..<32).flatMap { [UInt8($0 % 2), 0, 0, 0] }),
                ]),
            seed(
                "",
                [words("m.qweight", [16, 2]), words("m.qzeros", [2, 2]), SampleTensor("m.scales", .f16, [2, 16])]),
            seed(
                #"{"quantization":{"bits":4,"group_size":32}}"#,
                [
                    SampleTensor("m.weight", raw: .u32, [2, 4]), SampleTensor("m.scales", .bf16, [2, 1]),
                    SampleTensor("m.biases", .bf16, [2, 1]),
                ]),
            seed(
                "",
                [
                    SampleTensor("m.weight", raw: .u8, [66, 1]), SampleTensor("m.weight.absmax", raw: .u8, [3]),
                    SampleTensor("m.weight.quant_map", .f32, [16]), SampleTensor("m.weight.nested_absmax", .f32, [1]),
                    SampleTensor("m.weight.nested_quant_map", .f32, [256]),
                    SampleTensor(
                        "m.weight.quant_state.bitsandbytes__nf4", .u8, [state.utf8.count], bytes: Array(state.utf8)),
                ]),
            seed("", [SampleTensor("m.weight", raw: .i8, [2, 5]), SampleTensor("m.SCB", .f32, [2])]),
            seed(
                "",
                [
                    SampleTensor("m.codes", raw: .i8, [2, 2, 1]), SampleTensor("m.codebooks", .f16, [1, 16, 1, 8]),
                    SampleTensor("m.scales", .f16, [2, 1, 1, 1]),
                ]),
        ]
    }
}
