import TensorModel

/// Bytes of safetensors files, built from parts that need not be right.
enum FileBytes {
    /// Eight bytes, little-endian.
    static func word(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }

    /// Length, header text and `count` bytes of data.
    static func file(_ header: String, data count: Int = 0) -> [UInt8] { file(raw: Array(header.utf8), data: count) }

    /// The same for a header that need not be text.
    static func file(raw header: [UInt8], data count: Int = 0) -> [UInt8] {
        word(UInt64(header.count)) + header + (0..<count).map { UInt8(truncatingIfNeeded: $0) }
    }

    /// An entry of a header; the parts are JSON text.
    static func entry(
        _ name: String = "\"a\"", dtype: String = "\"F32\"", shape: String = "[2]", offsets: String = "[0,8]",
        extra: String = ""
    ) -> String {
        "\(name):{\"dtype\":\(dtype),\"shape\":\(shape),\"data_offsets\":\(offsets)\(extra)}"
    }

    /// A file with one tensor of eight bytes that deviates in the parts given.
    static func one(
        name: String = "\"a\"", dtype: String = "\"F32\"", shape: String = "[2]", offsets: String = "[0,8]",
        extra: String = "", data count: Int = 8
    ) -> [UInt8] {
        file("{" + entry(name, dtype: dtype, shape: shape, offsets: offsets, extra: extra) + "}", data: count)
    }

    /// A file of tensors with two float32 each.
    static func shard(_ names: [String]) -> [UInt8] {
        let entries = names.enumerated().map { index, name in
            entry("\"\(name)\"", offsets: "[\(8 * index),\(8 * index + 8)]")
        }
        return file("{" + entries.joined(separator: ",") + "}", data: 8 * names.count)
    }
}

/// A file that breaks one rule, and the rule.
struct Malformed: Sendable, CustomStringConvertible {
    /// The row of the list of bad input that it belongs to, and what is wrong.
    let description: String
    let code: IngotError.Code
    let bytes: [UInt8]

    init(_ description: String, _ code: IngotError.Code, _ bytes: [UInt8]) {
        self.description = description
        self.code = code
        self.bytes = bytes
    }
}
