package import Checkpoints
import FileAccess
package import SystemPackage
package import TensorModel

/// Numbers that look random and are the same in every run (SplitMix64).
package struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    /// Starts a sequence.
    package init(_ seed: UInt64) { state = seed }

    /// The next number.
    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number like a weight: a bell around zero, a few hundredths wide.
    package mutating func weight() -> Float {
        var sum: Float = 0
        for _ in 0..<4 { sum += Float(next() >> 40) / Float(1 << 24) - 0.5 }
        return sum * 0.05
    }
}

/// A tensor a test writes into a source.
package struct SampleTensor: Sendable {
    /// The name.
    package var name: String
    /// The type of the elements.
    package var type: ElementType
    /// The dimensions.
    package var shape: [Int]
    /// The bytes; as many as type and shape demand.
    package var bytes: [UInt8]

    /// Makes a tensor of bytes.
    package init(_ name: String, _ type: ElementType, _ shape: [Int], bytes: [UInt8]) {
        self.name = name
        self.type = type
        self.shape = shape
        self.bytes = bytes
    }

    /// Makes a tensor of values in one of the formats that are quantized.
    package init(_ name: String, _ format: FloatFormat, _ shape: [Int], values: [Float]) {
        self.init(name, format.elementType, shape, bytes: values.flatMap { FloatBytes.encode($0, format) })
    }

    /// Makes a tensor of weights that depend on the seed and the name.
    package init(_ name: String, _ format: FloatFormat, _ shape: [Int], seed: UInt64 = 1) {
        var generator = SeededGenerator(name.utf8.reduce(seed) { $0 &* 31 &+ UInt64($1) })
        let values = (0..<shape.reduce(1, *)).map { _ in generator.weight() }
        self.init(name, format, shape, values: values)
    }

    /// Makes a tensor of any type, filled with bytes that depend on the seed.
    package init(_ name: String, raw type: ElementType, _ shape: [Int], seed: UInt64 = 1) {
        var generator = SeededGenerator(seed)
        let count = shape.reduce(1, *) * type.bitWidth / 8
        self.init(name, type, shape, bytes: (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
    }
}

/// The bytes of floating-point numbers, written here a second time so that the tests do not lean on the kernels.
package enum FloatBytes {
    /// The little-endian bytes of a value, rounded to nearest even.
    package static func encode(_ value: Float, _ format: FloatFormat) -> [UInt8] {
        switch format {
        case .f16: littleEndian(UInt32(Float16(value).bitPattern), 2)
        case .bf16: littleEndian(bf16(value), 2)
        case .f32: littleEndian(value.bitPattern, 4)
        }
    }

    /// The value of an element at an index of its tensor.
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

    /// Writes a directory of shards with an index where there are several, `config.json`, and other files.
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

    /// The name of a shard, as the hub names them.
    package static func shardName(_ index: Int, of count: Int) -> String {
        count == 1 ? "model.safetensors" : "model-0000\(index + 1)-of-0000\(count).safetensors"
    }

    /// Two small shards that hold what a model holds: matrices, an embedding, norms, a scalar, integers, nothing.
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
