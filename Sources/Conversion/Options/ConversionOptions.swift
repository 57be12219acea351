import Architectures
package import Container
package import Quantization
package import TensorModel

/// What a conversion is asked to do.
package struct ConversionOptions: Sendable, Hashable {
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
    /// Chunks worked on at the same time.
    package var jobs = 2
    /// Bytes of buffers at most.
    package var memory: UInt64 = 256 << 20
    /// What to do about NaN and infinity.
    package var nonFinite: NonFinitePolicy = .fail
    /// Whether tensors that another quantizer has stored in blocks of codes are decoded and quantized once more.
    package var requantizes = false
    /// Of PyTorch files, the keys that lead to the dict with the weights, joined by `.`; nil for the usual ones.
    package var key: String?
    /// Whether an existing checkpoint of ours is replaced.
    package var force = false

    /// Whether the finished shards of an interrupted conversion are thrown away instead of kept.
    package var restarts = false
    /// Whether each shard of the source is deleted once its output is sealed, on the disk, and verified.
    package var consumesSource = false
    /// Whether shards are waited for that are still being downloaded.
    package var follows = false
    /// How long nothing may arrive of a source that is followed; nil for any time.
    package var patience: Duration?
    /// How often a source that is followed is looked at.
    package var lookInterval = Duration.milliseconds(200)
    /// A file that makes no sense may be in the middle of being written, but not for so long without a change.
    package var settledAfter = Duration.seconds(60)
    /// A client fetches the next file within so long, where it fetches one after the other.
    package var pauseBetweenFiles = Duration.seconds(3)

    /// The defaults of the command.
    package init() {}

    /// Refuses options that cannot be had together.
    ///
    /// - Throws: `usage`.
    func requireConsistent() throws {
        guard follows, scheme == .trellis, goal.isShared else { return }
        throw IngotError(
            .usage, found: "a rate over all matrices together with a followed source",
            expected:
                "bits or a relative MSE for each matrix: what is shared out depends on shards that have not arrived",
            remedy: .either("wait for the download", or: .option(.ratePerMatrix)))
    }

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

/// Which scheme each tensor gets.
package enum DefaultRecipe {
    /// Whether a tensor is the weight of an embedding or of an output head. They get two bits more: an error there meets every token.
    static func isEmbeddingOrHead(_ name: TensorName) -> Bool { TensorRole.isEmbeddingOrHead(name) }

    /// The bits of a tensor where so many are asked for: embeddings and heads get two more, at most 8.
    static func bits(_ asked: Double, isEmbeddingOrHead: Bool) -> Double {
        isEmbeddingOrHead ? min(8, asked + 2) : asked
    }

    /// The scheme of a tensor, or nil for one that is kept as it is: rank below 2, or not floating point.
    static func scheme(
        _ name: TensorName, _ elementType: ElementType, _ shape: Shape, _ options: ConversionOptions
    ) -> TensorScheme? {
        guard elementType.quantizable != nil, shape.isMatrix else { return nil }
        if options.scheme == .lossless { return .lossless }
        // A column is a vector: neither groups along rows nor strips of columns suit it.
        guard shape.columns > 1 else { return nil }
        switch options.scheme {
        case .lossless: return .lossless
        case .trellis:
            return TrellisParameters(states: options.states, alphabet: options.codec == .rans ? 256 : 16).map {
                .trellis($0)
            }
        case .uniform:
            guard isEmbeddingOrHead(name) else { return .uniform(options.parameters) }
            return .uniform(options.parameters.with(bits: min(8, options.parameters.bits + 2)))
        }
    }
}
