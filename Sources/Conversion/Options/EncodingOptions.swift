import Architectures
package import Checkpoints
package import Container
package import FileAccess
package import Quantization
package import TensorModel

/// The options that decide the bytes. They are recorded in the output, and compared when a conversion is resumed.
package struct EncodingOptions: Sendable, Hashable {
    /// The scheme of floating-point matrices.
    package enum Scheme: String, Sendable, Hashable, CaseIterable {
        case trellis, uniform, lossless
    }

    /// What to do if a tensor that would be quantized has NaN or infinity.
    package enum NonFinitePolicy: String, Sendable, Hashable, CaseIterable {
        /// The conversion fails; the error gives their number and position.
        case fail
        /// The tensor is stored in scheme `lossless`.
        case keep
    }

    /// The scheme of matrices; `DefaultRecipe` names the exceptions.
    package var scheme: Scheme = .trellis
    /// The size or error of scheme `trellis`; other schemes ignore it.
    package var goal = RateGoal.bits(4)
    /// Number of states of scheme `trellis`: 8, 16 or 32.
    package var states = 8
    /// Bits per code, group size, symmetry and scales of scheme `uniform`.
    package var parameters = UniformParameters.standard
    /// The codec of the streams. Schemes other than `trellis` use zstd in place of `rans`.
    package var codec: Codec = .zstd
    /// Rules for tensors by name; they come before `DefaultRecipe`.
    package var recipe = Recipe()
    /// What to do about NaN and infinity.
    package var nonFinite: NonFinitePolicy = .fail
    /// Whether tensors that are quantized already (blocks of codes, as in GGUF) are decoded and quantized again.
    package var requantizes = false
    /// The hash of the file of moments of a calibrated conversion; nil for any other.
    package var calibration: ContentHash?
    /// In the second phase of a conversion: the hashes of the first phase's manifest and of the file of corrections.
    package var through: ContentHash?, correction: ContentHash?
    /// For PyTorch files: the keys, joined by `.`, that lead to the dictionary of weights. nil searches the usual places.
    package var key: String?

    /// The defaults of the command.
    package init() {}

    /// Whether the codes of a quantized source are stored as they are, so that such a source is not refused (`CodeTensors`).
    package var keepsCodes: Bool { scheme == .lossless }

    /// How the source is opened.
    package var sourceForm: QuantizedSources { keepsCodes ? .asStored : .decoded }

    /// Whether the rate of a matrix depends on all others.
    var sharesRate: Bool { scheme == .trellis && (goal.isShared || calibration != nil) }

    /// Whether the size of every matrix follows from its shape, so that a forecast needs no weights.
    var sizeFollowsFromShapes: Bool {
        guard scheme == .trellis, codec.codesEntropy, case .bits = goal else { return false }
        return recipe.rules.allSatisfy { rule in
            if case .encode(let scheme?, _) = rule.action { scheme == .trellis } else { true }
        }
    }

    /// Refuses a rate that a codec without entropy coder cannot give.
    ///
    /// - Throws: `usage`; the error names the nearest rate that it can give.
    func requireReachable() throws {
        guard scheme == .trellis, !codec.codesEntropy else { return }
        let asked: Double
        switch goal {
        case .relativeMSE: return
        case .bits(let bits) where bits >= 2 && bits <= 8 && bits == bits.rounded(): return
        case .bits(let bits), .averageBits(let bits): asked = bits
        case .totalBytes:
            throw IngotError(
                .usage, found: "a target size with codec \(codec.name)",
                expected: "a codec with entropy coding: the size of codes of a fixed width cannot be chosen",
                remedy: .either(.option(.usualCodec), or: .option(.wholeBits(2...8))))
        }
        let nearest = Int(min(max(asked, 2), 8).rounded())
        throw IngotError(
            .usage, found: "a rate of \(asked) bits per weight with codec \(codec.name)",
            expected: "symbols of a fixed width of 2 to 8 bits; the nearest is \(nearest)",
            remedy: .option(.usualCodecForAnyRate))
    }

    /// The members of the manifest and of `config.json` that record these options.
    package var record: [JSONValue.Member] {
        var members: [JSONValue.Member] = [.init("scheme", .string(scheme.rawValue))]
        switch scheme {
        case .trellis:
            members.append(goal.record)
            members.append(.init("states", .unsigned(UInt64(states))))
        case .lossless: break
        case .uniform:
            members.append(.init("bits", .unsigned(UInt64(parameters.bits))))
            members.append(.init("group_size", .unsigned(UInt64(parameters.groupSize))))
            members.append(.init("symmetric", .bool(parameters.symmetric)))
            if parameters.scales != .searched { members.append(.init("scales", .string(parameters.scales.rawValue))) }
        }
        members.append(.init("codec", .string(codec.name)))
        members.append(.init("on_nonfinite", .string(nonFinite.rawValue)))
        if !recipe.rules.isEmpty { members.append(.init("recipe", recipe.json)) }
        if let key { members.append(.init("key", .string(key))) }
        if let calibration { members.append(.init("calibration_xxh3_128", .string(calibration.description))) }
        if let through { members.append(.init("through_xxh3_128", .string(through.description))) }
        if let correction { members.append(.init("correction_xxh3_128", .string(correction.description))) }
        if requantizes { members.append(.init("allow_requantize", .bool(true))) }
        return members
    }
}
