import TensorModel

/// Names of weight files as the Hugging Face hub and llama.cpp give them. One file is `model.safetensors`. Several files are
/// `model-00001-of-00002.safetensors` and so on, with `model.safetensors.index.json` beside them.
package enum ShardName {
    /// Suffix of safetensors files.
    package static let suffix = ".safetensors"
    /// Suffix of their index files.
    package static let indexSuffix = suffix + ".index.json"
    /// The name of a checkpoint's only file.
    package static let single = "model" + suffix
    /// The name of the index of a checkpoint with several files.
    package static let index = "model" + indexSuffix
    /// Digits of each number in a shard's name.
    static let digits = 5

    /// The name of file `number` (from 1) of `count`, also if `count` is 1: `model-00001-of-00001.gguf`.
    static func numbered(_ stem: String, _ number: Int, of count: Int, suffix: String) -> String {
        "\(stem)-\(NumberText.padded(number, digits: digits))-of-\(NumberText.padded(count, digits: digits))\(suffix)"
    }

    /// The name of safetensors file `number` (from 1) of `count`. If `count` is 1, the name has no number.
    package static func shard(_ number: Int, of count: Int, stem: String = "model") -> String {
        count == 1 ? stem + suffix : numbered(stem, number, of: count, suffix: suffix)
    }

    /// The number N of shards in a name such as `model-00001-of-0000N.safetensors`; nil for other names.
    package static func count(statedBy name: String) -> Int? {
        let parts = name.utf8.prefix { $0 != UInt8(ascii: ".") }.split(separator: UInt8(ascii: "-")).suffix(3)
        guard parts.count == 3, let middle = parts.dropFirst().first, middle.elementsEqual("of".utf8),
            let number = parts.first, let count = parts.last,
            (Array(number) + Array(count)).allSatisfy({ (0x30...0x39).contains($0) })
        else { return nil }
        return Int(String(decoding: count, as: UTF8.self))
    }

    /// The fault of a shard name from an index, as the end of a sentence; nil for a valid name.
    ///
    /// The file must be inside the directory on every operating system, so the rules of all systems apply.
    static func problem(_ name: String, suffix: String) -> String? {
        if name.isEmpty { return "is empty" }
        if name.utf8.contains(where: { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") }) { return "is a path" }
        if name.utf8.contains(UInt8(ascii: ":")) { return "names a drive" }
        if name.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) { return "holds a control character" }
        if name.utf8.count > 255 { return "has more than 255 bytes" }
        if !TensorName.hasSuffix(name, suffix) || name.utf8.first == UInt8(ascii: ".") {
            return "is not that of a \(suffix) file"
        }
        return nil
    }
}
