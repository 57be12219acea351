import FileAccess
import SystemPackage
package import TensorModel

/// What the files beside the weights say about their quantization.
struct QuantizationConfiguration: Sendable {
    /// The file that says it.
    let path: String
    /// The method, in lower case; `mlx` for MLX, whose configuration names none.
    let method: String
    /// The whole object.
    let value: JSONValue

    private static let maximumBytes: UInt64 = 16 << 20
    private static let keys = ["quantization_config", "compression_config", "quantization"]

    /// Reads `config.json`, or the `quantize_config.json` of older GPTQ checkpoints.
    ///
    /// - Returns: the element type of the model, if the configuration names one; the quantization, nil if none is stated.
    /// - Throws: `headerSyntax` or a similar code if a file is not a JSON object.
    static func read(in directory: FilePath) throws -> (elementType: FloatFormat?, stated: QuantizationConfiguration?) {
        let path = directory.appending("config.json")
        var type: FloatFormat?
        if try Directory.kind(path) == .file {
            let found = try members(of: WholeFile.read(path, limit: maximumBytes), path)
            type = found.elementType
            if let (key, value) = found.quantization {
                // The quantization that Ingot itself states is no other quantizer's.
                let method = QuantizationMethod.name(in: value) ?? (key == "quantization" ? "mlx" : "")
                guard method != "ingot" else { return (type, nil) }
                return (type, .init(path: path.string, method: method, value: value))
            }
        }
        let older = directory.appending("quantize_config.json")
        guard try Directory.kind(older) == .file else { return (type, nil) }
        do {
            let value = try JSONValue.parse(WholeFile.read(older, limit: maximumBytes))
            let method = value["quant_method"]?.string?.lowercased() ?? "gptq"
            return (type, .init(path: older.string, method: method, value: value))
        } catch let error as IngotError {
            throw error.inFile(older.string)
        }
    }

    /// The members of a configuration that matter: the quantization, and the element type.
    private static func members(
        of bytes: [UInt8], _ path: FilePath
    ) throws -> (quantization: (key: String, value: JSONValue)?, elementType: FloatFormat?) {
        var reader = JSONReader(bytes, maximumDepth: Limits.standard.documentDepth)
        reader.acceptsNonFiniteNumbers = true
        var found: [String: JSONValue] = [:]
        var type: FloatFormat?
        func read(_ reader: inout JSONReader) throws {
            try reader.readObject { reader, key in
                let isStart = reader.peek() == UInt8(ascii: "{")
                if isStart, key == "text_config" || key == "llm_config" { return try read(&reader) }
                let start = reader.position
                try reader.skipValue()
                if isStart, keys.contains(key), found[key] == nil {
                    found[key] = try? JSONValue.parse(Array(bytes[start..<reader.position]))
                } else if key == "torch_dtype" || key == "dtype", type == nil {
                    let name = (try? JSONValue.parse(Array(bytes[start..<reader.position])))?.string
                    type = name.flatMap { names[$0] }
                }
            }
        }
        do {
            try read(&reader)
            try reader.requireEnd()
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
        for key in keys { if let value = found[key] { return ((key, value), type) } }
        return (nil, type)
    }

    private static let names: [String: FloatFormat] = [
        "float16": .f16, "torch.float16": .f16, "bfloat16": .bf16, "torch.bfloat16": .bf16, "float32": .f32,
        "torch.float32": .f32,
    ]

    /// A whole number of the object; nil if it is missing or no whole number from 0 on.
    func integer(_ key: String) -> Int? { value[key]?.unsigned.flatMap { Int(exactly: $0) } }

    /// What codes the stated method may have; nil for a method that Ingot does not decode.
    var statedMethods: Set<QuantizationMethod>? { QuantizationMethod.methods(named: method) }
}

extension QuantizationMethod {
    /// The name of the method in a `quantization_config`, in lower case; `mlx` for MLX's, which names none. nil if it is not known.
    package static func name(in configuration: JSONValue) -> String? {
        if let name = configuration["quant_method"]?.string { return name.lowercased() }
        return configuration["bits"] != nil && configuration["group_size"] != nil ? "mlx" : nil
    }

    /// What codes a method may have, by the name of a `quantization_config`; nil for a method that Ingot does not decode.
    package static func methods(named name: String) -> Set<QuantizationMethod>? {
        switch name {
        case "fp8", "fbgemm_fp8", "finegrained_fp8", "deepseek_fp8": [.fp8, .mxfp4]
        case "mxfp4": [.mxfp4]
        case "compressed-tensors", "compressed_tensors": [.compressedTensors, .fp8, .nvfp4, .mxfp4]
        case "modelopt", "modelopt_fp4", "modelopt_fp8", "nvfp4": [.fp8, .nvfp4, .mxfp4]
        case "gptq": [.gptq]
        case "awq": [.awq]
        case "mlx": [.mlx, .mxfp4, .nvfp4, .fp8]
        case "bitsandbytes": [.bitsandbytes]
        case "aqlm": [.aqlm]
        default: nil
        }
    }
}
