import Checkpoints
import TensorModel

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// How the rotary frequencies of a decoder are changed for longer texts.
package enum GGUFRopeScaling: Sendable, Hashable {
    /// All frequencies divided by a factor.
    case linear(factor: Double)
    /// YaRN, with its usual numbers besides these two.
    case yarn(factor: Double, originalContext: UInt64)
    /// The rule of Llama 3: low frequencies divided by `factor`, high ones kept, those between interpolated.
    case llama3(factor: Double, lowFactor: Double, highFactor: Double, originalContext: UInt64)

    /// The scaling that metadata state; nil if they state none.
    ///
    /// - Throws: `unsupportedSource` for a kind that `config.json` cannot state exactly.
    static func stated(_ metadata: GGUFMetadataReader) throws -> GGUFRopeScaling? {
        let prefix = try (metadata.string("general.architecture") ?? "") + ".rope."
        let old = prefix + "scale_linear"
        let type = try metadata.string(prefix + "scaling.type") ?? (metadata.has(old) ? "linear" : "none")
        let factor = try metadata.float(prefix + "scaling.factor") ?? metadata.float(old)
        if type == "none" || factor == 1 && type == "linear" { return nil }
        func refusal(_ found: String) -> IngotError {
            GGUFDecoder.refusal(
                metadata, nil, found + " under `\(prefix)scaling`",
                "no scaling, or kind linear or yarn with its numbers")
        }
        guard let factor, factor > 0, factor.isFinite else { throw refusal("kind \(type) without a factor") }
        switch type {
        case "linear": return .linear(factor: factor)
        case "yarn":
            let original = prefix + "scaling.original_context_length"
            let others = ["attn_factor", "yarn_log_multiplier", "yarn_ext_factor", "yarn_attn_factor"]
            guard let context = try metadata.unsigned(original),
                !others.contains(where: { metadata.has(prefix + "scaling." + $0) })
            else { throw refusal("kind yarn with other numbers than factor and original context") }
            return .yarn(factor: factor, originalContext: context)
        default: throw refusal("kind \(type)")
        }
    }

    /// Numbers of Llama 3.1 and 3.2. GGUF files have the factors that follow from them, and not the numbers.
    private static let (low, high) = (1.0, 4.0)
    /// Original contexts that are tried: first that of Llama 3.1, then the other powers of two.
    private static let contexts = [1 << 13] + (5...20).filter { $0 != 13 }.map { UInt64(1) << $0 }

    /// llama3's scaling, from the factors of the frequencies.
    ///
    /// - Parameter factors: the elements of `rope_freqs.weight`; nil if they are no binary32.
    /// - Throws: `unsupportedSource` if they are not those of Llama 3.1 with any factor and an original context of a power of two: nothing
    ///   else says which numbers they come from.
    static func derived(
        from factors: [Float]?, headSize: Int, base: Double, _ metadata: GGUFMetadataReader
    ) throws -> GGUFRopeScaling {
        let name = GGUFDecoder.frequencyFactors
        let half = headSize / 2
        guard let factors, factors.count == half, let largest = factors.last, largest >= 1, largest.isFinite else {
            throw GGUFDecoder.refusal(
                metadata, name, "factors of the rotary frequencies of another number or type", "\(half) of type F32")
        }
        let tried = contexts.map { context in
            GGUFRopeScaling.llama3(
                factor: Double(largest), lowFactor: low, highFactor: high, originalContext: context)
        }
        if let fitting = tried.first(where: { $0.firstOther(in: factors, base: base) == nil }) { return fitting }
        let index = tried[0].firstOther(in: factors, base: base) ?? 0
        let expected = tried[0].frequencyFactors(count: half, base: base)?[index] ?? 1
        throw GGUFDecoder.refusal(
            metadata, name, "the factor \(factors[index]) of rotary frequency \(index), which config.json cannot state",
            "factors as of Llama 3.1, here \(expected)")
    }

    /// The factors by which llama3's scaling divides the frequencies; nil for other kinds.
    ///
    /// Frequency `i` of `count` has the wavelength `2 pi base^(i / count)`. Short waves have the factor 1, long ones `factor`, those between a
    /// factor between (llama.cpp's converter, transformers' `_compute_llama3_parameters`).
    package func frequencyFactors(count: Int, base: Double) -> [Double]? {
        guard case .llama3(let factor, let low, let high, let context) = self else { return nil }
        let original = Double(context)
        return (0..<count).map { index in
            let wavelength = 2 * Double.pi * pow(base, Double(index) / Double(count))
            if wavelength < original / high { return 1 }
            if wavelength > original / low { return factor }
            let smooth = (original / wavelength - low) / (high - low)
            return 1 / ((1 - smooth) / factor + smooth)
        }
    }

    /// Index of the first of a tensor's factors that llama3's scaling does not give; nil if it gives all, or for other kinds.
    package func firstOther(in factors: [Float], base: Double) -> Int? {
        guard let expected = frequencyFactors(count: factors.count, base: base) else { return nil }
        // llama.cpp's converter computes in binary32.
        return factors.indices.first { !(abs(Double(factors[$0]) - expected[$0]) <= 1e-5 * expected[$0]) }
    }
}
