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

    /// A number with at most three decimals.
    static func text(_ bits: Double) -> String {
        let thousandths = Int((bits * 1000).rounded())
        var digits = String(thousandths % 1000 + 1000).dropFirst()
        while digits.last == "0" { digits.removeLast() }
        return "\(thousandths / 1000)" + (digits.isEmpty ? "" : ".\(digits)")
    }
}

extension SizeAllocation {
    /// Bytes of an output: of the data of all tensors, and of all files of weights.
    typealias OutputSize = (data: UInt64, files: UInt64)

    /// Chooses a type for each matrix, so that the whole output meets a goal.
    ///
    /// - Parameters:
    ///   - weights: number of elements of all tensors.
    ///   - file: the source, for messages.
    ///   - size: the size of the output with a type for each matrix.
    /// - Throws: `usage` if the smallest types are larger than the goal; errors of `size`.
    static func types(
        of matrices: [Matrix], for goal: SizeGoal, weights: Int, file: String, size: ([Int]) throws -> OutputSize
    ) throws -> [Int] {
        let least = [Int](repeating: 0, count: matrices.count)
        let smallest = try size(least)
        let limit: UInt64 =
            switch goal {
            case .bitsPerWeight(let bits): UInt64(bits * Double(weights) / 8)
            case .bytes(let bytes): bytes
            }
        func counted(_ size: OutputSize) -> UInt64 { if case .bytes = goal { size.files } else { size.data } }
        guard counted(smallest) <= limit else { throw goal.tooSmall(smallest, weights: weights, file: file) }
        let matrixBytes = matrices.reduce(UInt64(0)) { $0 + ($1.bytes.first ?? 0) }
        /// Bytes for what may still grow.
        var room = limit - counted(smallest)
        while let types = choose(matrices, within: matrixBytes + room) {
            let now = counted(try size(types))
            if now <= limit { return types }
            // Padding, and one more file: the output can grow by more than its matrices.
            guard now - limit < room else { break }
            room -= now - limit
        }
        return least
    }
}

extension SizeGoal {
    /// The error for a goal below what the smallest types take.
    fileprivate func tooSmall(_ smallest: SizeAllocation.OutputSize, weights: Int, file: String) -> IngotError {
        let (found, least) =
            switch self {
            case .bitsPerWeight(let asked):
                (
                    "\(SizeGoal.text(asked)) bits per weight",
                    SizeGoal.text((8000 * Double(smallest.data) / Double(max(1, weights))).rounded(.up) / 1000)
                )
            case .bytes(let asked): ("\(asked) bytes", "\(smallest.files)")
            }
        return IngotError(
            .usage, file: file, found: found, expected: "at least \(least), which the smallest types take",
            remedy: "ask for more")
    }
}
