package import SystemPackage
import TensorModel

/// Writes GGUF files in llama.cpp's layout.
package enum GGUFSample {
    /// A tensor of a GGUF file.
    package struct Tensor: Sendable {
        let name: String
        /// ggml's number of the type.
        let type: UInt32
        let shape: [Int]
        let bytes: [UInt8]

        /// Makes a tensor of any type from its blocks.
        package init(_ name: String, type: UInt32, _ shape: [Int], bytes: [UInt8]) {
            (self.name, self.type, self.shape, self.bytes) = (name, type, shape, bytes)
        }

        /// Converts a sample tensor of type F32, F16, BF16, I8, I16, I32, I64 or F64 and rank 1 or more.
        package init(_ tensor: SampleTensor) {
            let numbers: [ElementType: UInt32] = [
                .f32: 0, .f16: 1, .bf16: 30, .i8: 24, .i16: 25, .i32: 26, .i64: 27, .f64: 28,
            ]
            self.init(tensor.name, type: numbers[tensor.type] ?? .max, tensor.shape, bytes: tensor.bytes)
        }

        /// A Q8_0 tensor with random codes and finite scales.
        package static func q8(_ name: String, _ shape: [Int], seed: UInt64 = 1) -> Tensor {
            var generator = SeededGenerator(seed)
            let blocks = shape.reduce(1, *) / 32
            let bytes = (0..<blocks).flatMap { _ -> [UInt8] in
                [UInt8(truncatingIfNeeded: generator.next()), 0x20 | UInt8(truncatingIfNeeded: generator.next()) & 3]
                    + (0..<32).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            }
            return Tensor(name, type: 8, shape, bytes: bytes)
        }
    }

    /// Metadata of part `number` of a split file.
    package static func split(_ number: UInt16, of count: UInt16, tensors: Int32) -> [(String, UInt32, [UInt8])] {
        [
            ("split.no", 2, word(UInt64(number), 2)), ("split.count", 2, word(UInt64(count), 2)),
            ("split.tensors.count", 5, word(UInt64(UInt32(bitPattern: tensors)), 4)),
        ]
    }

    /// Writes a file. Metadata entries are key, number of the type, and bytes of the value; each tensor is padded to 32 bytes.
    package static func write(
        _ tensors: [Tensor], metadata: [(String, UInt32, [UInt8])] = [], to path: FilePath
    ) throws {
        var head = Array("GGUF".utf8) + word(3, 4) + word(UInt64(tensors.count), 8) + word(UInt64(metadata.count), 8)
        for (key, type, value) in metadata { head += text(key) + word(UInt64(type), 4) + value }
        var data: [UInt8] = []
        for tensor in tensors {
            head += text(tensor.name) + word(UInt64(tensor.shape.count), 4)
            head += tensor.shape.reversed().flatMap { word(UInt64($0), 8) }
            head += word(UInt64(tensor.type), 4) + word(UInt64(data.count), 8)
            data += tensor.bytes
            data += [UInt8](repeating: 0, count: (32 - data.count % 32) % 32)
        }
        head += [UInt8](repeating: 0, count: (32 - head.count % 32) % 32)
        try Files.write(head + data, to: path)
    }

    /// Bytes of a text as a metadata value: its length, then the text.
    package static func text(_ text: String) -> [UInt8] { word(UInt64(text.utf8.count), 8) + Array(text.utf8) }

    /// A number in `count` bytes, little-endian.
    package static func word(_ value: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }
}
