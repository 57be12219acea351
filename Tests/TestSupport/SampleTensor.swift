package import Checkpoints
import FileAccess
package import SystemPackage
package import TensorModel

/// Pseudorandom numbers that are the same in every run (SplitMix64).
package struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    /// Starts a sequence.
    package init(_ seed: UInt64) { state = seed }

    /// Next number.
    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number like a weight: approximately normal around 0, with a standard deviation of a few hundredths.
    package mutating func weight() -> Float {
        var sum: Float = 0
        for _ in 0..<4 { sum += Float(next() >> 40) / Float(1 << 24) - 0.5 }
        return sum * 0.05
    }
}

/// A tensor for a source.
package struct SampleTensor: Sendable {
    /// Its name.
    package var name: String
    /// Element type.
    package var type: ElementType
    /// Dimensions.
    package var shape: [Int]
    /// Bytes of the elements, as many as type and shape require.
    package var bytes: [UInt8]

    /// Makes a tensor from bytes.
    package init(_ name: String, _ type: ElementType, _ shape: [Int], bytes: [UInt8]) {
        self.name = name
        self.type = type
        self.shape = shape
        self.bytes = bytes
    }

    /// Makes a floating-point tensor from values.
    package init(_ name: String, _ format: FloatFormat, _ shape: [Int], values: [Float]) {
        self.init(name, format.elementType, shape, bytes: values.flatMap { FloatBytes.encode($0, format) })
    }

    /// Makes a tensor of weights that depend on seed and name.
    package init(_ name: String, _ format: FloatFormat, _ shape: [Int], seed: UInt64 = 1) {
        var generator = SeededGenerator(name.utf8.reduce(seed) { $0 &* 31 &+ UInt64($1) })
        let values = (0..<shape.reduce(1, *)).map { _ in generator.weight() }
        self.init(name, format, shape, values: values)
    }

    /// Makes a tensor of any type from random bytes that depend on seed and name.
    package init(_ name: String, raw type: ElementType, _ shape: [Int], seed: UInt64 = 1) {
        var generator = SeededGenerator(seed)
        let count = shape.reduce(1, *) * type.bitWidth / 8
        self.init(name, type, shape, bytes: (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
    }
}

/// Conversion of floating-point numbers to bytes, independent of the kernels under test.
package enum FloatBytes {
    /// Little-endian bytes of a value, rounded to nearest even.
    package static func encode(_ value: Float, _ format: FloatFormat) -> [UInt8] {
        switch format {
        case .f16: littleEndian(UInt32(Float16(value).bitPattern), 2)
        case .bf16: littleEndian(bf16(value), 2)
        case .f32: littleEndian(value.bitPattern, 4)
        }
    }

    /// Value of the element at an index.
    package static func decode(_ bytes: [UInt8], _ index: Int, _ format: FloatFormat) -> Float {
        let start = index * format.byteWidth
        let bits = (0..<format.byteWidth).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32(bytes[start + $1]) }
        switch format {
        case .f16: return Float(Float16(bitPattern: UInt16(bits)))
        case .bf16: return Float(bitPattern: bits << 16)
        case .f32: return Float(bitPattern: bits)
        }
    }

    private static func bf16(_ value: Float) -> UInt32 {
        guard value.isFinite else { return value.bitPattern >> 16 | (value.isNaN ? 0x40 : 0) }
        let bits = value.bitPattern
        return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    }

    private static func littleEndian(_ bits: UInt32, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: bits >> (8 * UInt32($0))) }
    }
}

/// Writes sources.
package enum SampleSource {
    /// Writes one safetensors file.
    package static func writeShard(
        _ tensors: [SampleTensor], to path: FilePath, metadata: [SafetensorsHeader.MetadataEntry] = []
    ) throws {
        let entries = tensors.map { tensor in
            SafetensorsWriter.Entry(
                name: TensorName(tensor.name), elementType: tensor.type, shape: Shape(tensor.shape) ?? scalar,
                byteCount: UInt64(tensor.bytes.count))
        }
        let header = try SafetensorsWriter.header(tensors: entries, metadata: metadata)
        try Files.write(header + tensors.flatMap(\.bytes), to: path)
    }

    /// Writes a directory of shards, an index if there are several shards, `config.json`, and other files; returns its path.
    @discardableResult
    package static func write(
        _ shards: [[SampleTensor]], to path: FilePath, companions: [String: String] = ["config.json": "{}\n"]
    ) throws -> FilePath {
        try Directory.create(path)
        var map: [JSONValue.Member] = []
        for (index, tensors) in shards.enumerated() {
            let name = shardName(index, of: shards.count)
            try writeShard(tensors, to: path.appending(name))
            map += tensors.map { JSONValue.Member($0.name, .string(name)) }
        }
        if shards.count > 1 {
            let text = JSONValue.object([.init("metadata", .object([])), .init("weight_map", .object(map))]).text()
            try Files.write(text, to: path.appending("model.safetensors.index.json"))
        }
        for (name, text) in companions { try Files.write(text, to: path.appending(name)) }
        return path
    }

    /// Name of a shard in the convention of the Hugging Face hub.
    package static func shardName(_ index: Int, of count: Int) -> String {
        count == 1 ? "model.safetensors" : "model-0000\(index + 1)-of-0000\(count).safetensors"
    }

    /// Two small shards with the tensors of a model: matrices, an embedding, norms, a scalar, integers, an empty tensor.
    package static func small(seed: UInt64 = 1) -> [[SampleTensor]] {
        [
            [
                SampleTensor("model.embed_tokens.weight", .f16, [6, 40], seed: seed),
                SampleTensor("model.layers.0.q_proj.weight", .bf16, [5, 33], seed: seed),
                SampleTensor("model.layers.0.norm.weight", .bf16, [9], seed: seed),
            ],
            [
                SampleTensor("model.layers.1.q_proj.weight", .f32, [4, 36], seed: seed),
                SampleTensor("model.layers.1.counts", raw: .i64, [2], seed: seed),
                SampleTensor("model.empty", raw: .f32, [0, 7]),
                SampleTensor("model.mask", raw: .bool, [3], seed: seed),
                SampleTensor("model.scale", .f32, [], seed: seed),
            ],
        ]
    }

    private static let scalar: Shape = {
        guard let shape = Shape([]) else { preconditionFailure("a scalar is a shape") }
        return shape
    }()
}
