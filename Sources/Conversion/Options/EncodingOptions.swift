import Architectures
package import Container
package import Quantization
package import TensorModel

/// The options that decide which bytes are written: recorded in the output, and compared when a conversion is resumed.
package struct EncodingOptions: Sendable, Hashable {
    /// The scheme of matrices of floating-point numbers.
    package enum Scheme: String, Sendable, Hashable, CaseIterable {
        case trellis, uniform, lossless
    }

    /// What to do about NaN and infinity in a tensor that would be quantized.
    package enum NonFinitePolicy: String, Sendable, Hashable, CaseIterable {
        /// The conversion fails and names them.
        case fail
        /// The tensor is stored lossless.
        case keep
    }

    /// The scheme.
    package var scheme: Scheme = .trellis
    /// What scheme `trellis` holds.
    package var goal = RateGoal.bits(4)
    /// States of the trellis: 8, 16 or 32.
    package var states = 8
    /// Bits per code, and the group, symmetry and scales of scheme `uniform`.
    package var parameters = UniformParameters.standard
    /// The codec of all streams.
    package var codec: Codec = .zstd
    /// What to do about NaN and infinity.
    package var nonFinite: NonFinitePolicy = .fail
    /// Whether tensors that another quantizer has stored in blocks of codes are decoded and quantized once more.
    package var requantizes = false
    /// Of PyTorch files, the keys that lead to the dict with the weights, joined by `.`; nil for the usual ones.
    package var key: String?

    /// The defaults of the command.
    package init() {}

    /// Whether the size of every tensor follows from its shape alone.
    var sizeFollowsFromShapes: Bool {
        guard scheme == .trellis, codec.codesEntropy, case .bits = goal else { return false }
        return true
    }

    /// Refuses a rate that the codec cannot give.
    ///
    /// - Throws: `usage` with the nearest that it can.
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
                expected: "symbols of a fixed width, whose size is no matter of choice",
                remedy: .either(.option(.usualCodec), or: .option(.wholeBits(2...8))))
        }
        let nearest = Int(min(max(asked, 2), 8).rounded())
        throw IngotError(
            .usage, found: "a rate of \(asked) bits per weight with codec \(codec.name)",
            expected: "symbols of a fixed width of 2 to 8 bits; the nearest is \(nearest)",
            remedy: .option(.usualCodecForAnyRate))
    }

    /// The options that decide the bytes written, as the manifest and `config.json` record them.
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
        if let key { members.append(.init("key", .string(key))) }
        if requantizes { members.append(.init("allow_requantize", .bool(true))) }
        return members
    }
}
