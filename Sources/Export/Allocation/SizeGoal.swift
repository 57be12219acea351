package import TensorModel

/// The size that an export is to have: its types are chosen so that it fits and loses little.
package enum SizeGoal: Sendable, Hashable {
    /// Bits per weight over the data of all tensors at most, those that are not quantized included.
    case bitsPerWeight(Double)
    /// Bytes of all files of weights at most.
    case bytes(UInt64)

    /// A label for names of files: `3.5bpw`, `2.5GB`.
    var label: String {
        switch self {
        case .bitsPerWeight(let bits): SizeGoal.text(bits) + "bpw"
        case .bytes(let bytes): SizeGoal.text(Double(bytes) / 1e9) + "GB"
        }
    }

    /// What the manifest records.
    var option: JSONValue.Member {
        switch self {
        case .bitsPerWeight(let bits): .init("bits_per_weight", .number(bits))
        case .bytes(let bytes): .init("target_size", .unsigned(bytes))
        }
    }

    /// The error for a goal that the smallest types do not reach.
    ///
    /// - Parameters:
    ///   - bits: bits per weight with the smallest types.
    ///   - bytes: bytes with the smallest types.
    func tooSmall(bits: Double, bytes: UInt64, file: String) -> IngotError {
        switch self {
        case .bitsPerWeight(let asked):
            IngotError(
                .usage, file: file, found: "\(asked) bits per weight",
                expected: "at least \(SizeGoal.text((bits * 1000).rounded(.up) / 1000)), what the smallest types take")
        case .bytes(let asked):
            IngotError(
                .usage, file: file, found: "a size of \(asked) bytes",
                expected: "at least \(bytes) bytes, what the smallest types take")
        }
    }

    /// A number with at most three decimals.
    static func text(_ bits: Double) -> String {
        let thousandths = Int((bits * 1000).rounded())
        var digits = String(thousandths % 1000 + 1000).dropFirst()
        while digits.last == "0" { digits.removeLast() }
        return "\(thousandths / 1000)" + (digits.isEmpty ? "" : ".\(digits)")
    }
}
