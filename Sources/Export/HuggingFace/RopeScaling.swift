import Checkpoints
import TensorModel

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// `rope_scaling` of `config.json`: how the rotary frequencies are changed for longer texts.
enum RopeScaling {
    /// The scaling that the metadata state; nil if they state none.
    ///
    /// - Throws: `unsupportedSource` for a kind that `config.json` cannot state exactly.
    static func stated(_ metadata: GGUFMetadataReader) throws -> JSONValue? {
        let prefix = try (metadata.string("general.architecture") ?? "") + ".rope."
        let old = prefix + "scale_linear"
        let type = try metadata.string(prefix + "scaling.type") ?? (metadata.has(old) ? "linear" : "none")
        let factor = try metadata.float(prefix + "scaling.factor") ?? metadata.float(old)
        if type == "none" || factor == 1 && type == "linear" { return nil }
        func refusal(_ found: String) -> IngotError {
            GGUFToHuggingFace.refusal(
                metadata, nil, found + " under `\(prefix)scaling`",
                "no scaling, or kind linear or yarn with its numbers")
        }
        guard let factor, factor > 0, factor.isFinite else { throw refusal("kind \(type) without a factor") }
        switch type {
        case "linear": return .object([.init("rope_type", .string("linear")), .init("factor", .number(factor))])
        case "yarn":
            let original = prefix + "scaling.original_context_length"
            let others = ["attn_factor", "yarn_log_multiplier", "yarn_ext_factor", "yarn_attn_factor"]
            guard let context = try metadata.unsigned(original),
                !others.contains(where: { metadata.has(prefix + "scaling." + $0) })
            else { throw refusal("kind yarn with other numbers than factor and original context") }
            return .object([
                .init("rope_type", .string("yarn")), .init("factor", .number(factor)),
                .init("original_max_position_embeddings", .unsigned(context)),
            ])
        default: throw refusal("kind \(type)")
        }
    }

    /// Numbers of Llama 3.1 and 3.2. GGUF files have the factors that follow from them, and not the numbers.
    private static let (low, high, original) = (1.0, 4.0, 8192.0)

    /// llama3's scaling, from the factors of the frequencies.
    ///
    /// - Parameter factors: the elements of `rope_freqs.weight`; nil if they are no binary32.
    /// - Throws: `unsupportedSource` if they are not those of Llama 3.1 with any factor: nothing else says which numbers they come from.
    static func derived(from factors: [Float]?, _ sizes: DecoderSizes, _ metadata: GGUFMetadataReader) throws
        -> JSONValue
    {
        let name = HuggingFaceNames.frequencyFactors
        let half = sizes.headSize / 2
        guard let factors, factors.count == half, let largest = factors.last, largest >= 1, largest.isFinite else {
            throw GGUFToHuggingFace.refusal(
                metadata, name, "factors of the rotary frequencies of another number or type", "\(half) of type F32")
        }
        let factor = Double(largest)
        for (index, found) in factors.enumerated() {
            let expected = RopeScaling.factor(of: index, factor, sizes)
            // llama.cpp's converter computes in binary32.
            guard abs(Double(found) - expected) <= 1e-5 * expected else {
                throw GGUFToHuggingFace.refusal(
                    metadata, name,
                    "the factor \(found) of rotary frequency \(index), which config.json cannot state",
                    "factors as of Llama 3.1, here \(expected)")
            }
        }
        return .object([
            .init("rope_type", .string("llama3")), .init("factor", .number(factor)),
            .init("low_freq_factor", .number(low)), .init("high_freq_factor", .number(high)),
            .init("original_max_position_embeddings", .unsigned(UInt64(original))),
        ])
    }

    /// The factor of a frequency in llama3's scaling: 1 for short waves, `factor` for long ones, in between smooth.
    private static func factor(of index: Int, _ factor: Double, _ sizes: DecoderSizes) -> Double {
        let wavelength = 2 * Double.pi * pow(sizes.ropeBase, Double(2 * index) / Double(sizes.headSize))
        if wavelength < original / high { return 1 }
        if wavelength > original / low { return factor }
        let smooth = (original / wavelength - low) / (high - low)
        return 1 / ((1 - smooth) / factor + smooth)
    }
}
