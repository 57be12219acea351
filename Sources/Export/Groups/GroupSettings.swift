package import Quantization
package import TensorModel

/// How a checkpoint is exported to a runtime whose codes stand in groups along the rows: MLX or compressed-tensors.
package struct GroupSettings: Sendable {
    /// The runtimes.
    package enum Runtime: String, Sendable, Hashable {
        case mlx
        case compressedTensors = "compressed-tensors"
    }

    /// What codes of MLX stand for.
    package enum Mode: String, Sendable, Hashable, CaseIterable {
        /// Whole numbers, with a scale and a bias for each group.
        case affine
        /// MXFP4: numbers of four bits, with a power of two for each 32.
        case mxfp4
    }

    /// Other bits for matrices by name, or none.
    package struct Override: Sendable, Hashable {
        /// The names of the tensors.
        package let pattern: NamePattern
        /// Bits of a code; nil keeps the matrices as they are.
        package let bits: Int?

        /// An override.
        package init(_ pattern: NamePattern, bits: Int?) { (self.pattern, self.bits) = (pattern, bits) }
    }

    /// The runtime.
    package let runtime: Runtime
    /// What codes stand for; `affine` but with MLX.
    package let mode: Mode
    /// Bits of a code.
    package private(set) var bits: Int
    /// Weights of a group; nil for all of a row, with compressed-tensors.
    package let groupSize: Int?
    /// The size of the output, for which the bits of each matrix are chosen; nil if they are stated.
    package let goal: SizeGoal?
    /// How scales are found.
    package let rounding: ExportRounding
    /// Element type of scales and of tensors without codes; nil keeps the type of each tensor.
    package let format: FloatFormat?
    /// Exceptions by name; the first that matches counts.
    package private(set) var overrides: [Override]
    /// Whether a matrix whose rows do not fit stays as it is; otherwise it is an error.
    package let allowsFallback: Bool
    /// Whether codes of another quantizer may be quantized again.
    package let allowsRequantizing: Bool
    /// Bytes of a shard at most, unless one tensor has more.
    package let shardBytes: UInt64

    /// Settings.
    ///
    /// - Throws: `usage` for bits or a group size that the runtime does not have.
    package init(
        _ runtime: Runtime, mode: Mode = .affine, bits: Int, groupSize: Int?, goal: SizeGoal? = nil,
        _ rounding: ExportRounding, format: FloatFormat?, overrides: [Override], allowsFallback: Bool,
        allowsRequantizing: Bool, shardBytes: UInt64
    ) throws {
        let isMicroscaling = mode == .mxfp4
        precondition(!isMicroscaling || runtime == .mlx, "GroupSettings: a mode of another runtime")
        let widths = isMicroscaling ? [4] : GroupSettings.bits(of: runtime)
        for asked in [bits] + overrides.compactMap(\.bits) where !widths.contains(asked) {
            throw IngotError(
                .usage, found: "\(asked) bits for \(runtime.rawValue)",
                expected: "one of \(widths.map(String.init).joined(separator: ", "))")
        }
        let sizes = isMicroscaling ? [MicroscalingLayout.group] : UniformParameters.supportedGroupSizes
        guard groupSize.map({ sizes.contains($0) }) ?? (runtime == .compressedTensors) else {
            throw IngotError(
                .usage,
                found: groupSize.map { "groups of \($0) weights" } ?? "a scale for each row with \(runtime.rawValue)",
                expected: "one of \(sizes.map(String.init).joined(separator: ", "))")
        }
        (self.runtime, self.mode, self.bits, self.groupSize) = (runtime, mode, bits, groupSize)
        self.rounding = rounding
        (self.format, self.overrides) = (format, overrides)
        (self.allowsFallback, self.shardBytes) = (allowsFallback, shardBytes)
        self.allowsRequantizing = allowsRequantizing
        self.goal = goal
    }

    /// Bits of a code that a runtime has, ascending.
    static func bits(of runtime: Runtime) -> [Int] { runtime == .mlx ? UniformParameters.supportedBits : [4, 8] }

    /// The same settings with bits that were chosen for the goal.
    func allocated(bits: Int, _ matrices: [Override]) -> GroupSettings {
        var settings = self
        settings.bits = bits
        settings.overrides += matrices
        return settings
    }

    /// What the manifest records.
    var options: [JSONValue.Member] {
        let size: JSONValue = groupSize.map { .unsigned(UInt64($0)) } ?? .string("channel")
        var options: [JSONValue.Member] = [
            .init("to", .string(runtime.rawValue)), .init("bits", .unsigned(UInt64(bits))), .init("group_size", size),
            .init("rounding", .string(rounding.rawValue)),
        ]
        if let goal { options.append(goal.option) }
        if mode != .affine { options.append(.init("mode", .string(mode.rawValue))) }
        if let format { options.append(.init("dtype", .string(format.elementType.rawValue))) }
        let own = overrides.map { override -> JSONValue in
            let bits: JSONValue = override.bits.map { .unsigned(UInt64($0)) } ?? .null
            return .object([.init("pattern", .string(override.pattern.text)), .init("bits", bits)])
        }
        if !own.isEmpty { options.append(.init("overrides", .array(own))) }
        return options
    }
}
