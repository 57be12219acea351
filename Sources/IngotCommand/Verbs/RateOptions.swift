import ArgumentParser
package import Conversion
package import Quantization
import TensorModel

/// Options for the quantizer, of the verbs `convert` and `plan`.
struct RateOptions: ParsableArguments {
    @Option(
        help: """
            Bits per weight of each matrix at most, everything counted: a number from 1 to 8.5. With --scheme uniform, \
            --codec lz4 or --codec none: the width of a code, 2, 3, 4, 5, 6 or 8; 7 becomes 8. Default: 4.
            """)
    var bits: Double?

    @Option(
        help: ArgumentHelp(
            "Bits per weight of all quantized matrices together at most, from 1 to 8.5. All get the same relative MSE.",
            valueName: "bits"))
    var bpw: Double?

    @Option(
        name: .customLong("relative-mse"),
        help: ArgumentHelp("Relative MSE of each matrix at most, from 1e-6 to 0.5, such as 5e-3.", valueName: "mse"))
    var relativeMSE: Double?

    @Option(
        help: ArgumentHelp(
            "Size of DEST at most, such as 18GiB. All matrices get the same relative MSE.", valueName: "size"))
    var targetSize: ByteCount?

    @Option(
        help: ArgumentHelp(
            """
            trellis: fewest bits. uniform: group scales, as in MLX and compressed-tensors. lossless: bit-exact, also the \
            codes of quantized checkpoints.
            """))
    var scheme = EncodingOptions.Scheme.trellis

    @Option(
        help: ArgumentHelp(
            "With trellis: number of states, 8, 16 (0.01 bits per weight less) or 32 (0.02 less). Default: 8.",
            valueName: "n"))
    var states: Int?

    @Option(help: ArgumentHelp("With uniform: weights per scale, 32, 64 or 128. Default: 64.", valueName: "n"))
    var groupSize: Int?

    @Flag(help: "With uniform: scales without biases, as in compressed-tensors.")
    var symmetric = false

    @Option(
        help: """
            With uniform. searched: the scale with the least error. minmax: from the smallest to the largest weight of \
            the group, as in MLX; faster, with more error. Default: searched.
            """)
    var scales: UniformScales?

    @Option(
        help: """
            Compression of the codes. rans: with trellis only, mostly 2 to 4 % smaller than zstd. lz4 and none: codes of \
            fixed width, fastest to load. Default: zstd; rans for a calibrated conversion.
            """)
    var codec: CodecName?

    @Option(
        name: .customLong("on-nonfinite"),
        help: ArgumentHelp(
            "NaN or infinity in the source. fail: stop. keep: store the tensor lossless.", valueName: "action"))
    var onNonFinite = EncodingOptions.NonFinitePolicy.fail

    @Flag(help: "Quantize again what another program quantized to integers or codebooks. Default: refuse it.")
    var allowRequantize = false

    @OptionGroup var recipes: RecipeOptions
    @OptionGroup var keyed: KeyOption

    func validate() throws {
        let goals = [bits != nil, bpw != nil, relativeMSE != nil, targetSize != nil].count { $0 }
        guard goals <= 1 else {
            throw ValidationError("--bits, --bpw, --relative-mse and --target-size exclude each other.")
        }
        guard scheme == .trellis || bpw == nil && relativeMSE == nil && targetSize == nil else {
            throw ValidationError("--bpw, --relative-mse and --target-size need --scheme trellis.")
        }
        guard scheme != .lossless || bits == nil else {
            throw ValidationError("--bits is for quantizing: not with --scheme lossless.")
        }
        let range = RateGoal.bitsRange
        if let asked = bpw ?? bits, !(range.lowerBound...range.upperBound).contains(asked) {
            throw ValidationError("--bits and --bpw must be between 1 and 8.5.")
        }
        if scheme == .uniform, let bits, !(2...8).contains(bits) || bits != bits.rounded() {
            throw ValidationError("--bits must be 2 to 8, a whole number, with --scheme uniform.")
        }
        if let error = relativeMSE, !RateGoal.errorRange.contains(error) {
            throw ValidationError("--relative-mse must be between 1e-6 and 0.5.")
        }
        guard TrellisParameters.stateCounts.contains(states ?? 8) else {
            throw ValidationError("--states must be 8, 16 or 32.")
        }
        guard scheme == .trellis || codec != .some(.rans) else {
            throw ValidationError("--codec rans needs --scheme trellis.")
        }
        guard scheme == .trellis || states == nil else { throw ValidationError("--states needs --scheme trellis.") }
        guard scheme == .uniform || groupSize == nil && !symmetric && scales == nil else {
            throw ValidationError("--group-size, --symmetric and --scales need --scheme uniform.")
        }
        guard UniformParameters(bits: 4, groupSize: groupSize ?? 64, symmetric: false) != nil else {
            throw ValidationError("--group-size must be 32, 64 or 128.")
        }
    }

    /// Options of a conversion.
    func options() throws -> ConversionOptions {
        var options = ConversionOptions()
        options.encoding.scheme = scheme
        options.encoding.states = states ?? 8
        options.encoding.codec = (codec ?? .zstd).codec
        options.encoding.nonFinite = onNonFinite
        options.encoding.requantizes = allowRequantize
        options.encoding.key = keyed.key
        options.encoding.recipe = try recipes.recipe(scheme: scheme)
        if let bpw {
            options.encoding.goal = .averageBits(bpw)
        } else if let relativeMSE {
            options.encoding.goal = .relativeMSE(relativeMSE)
        } else if let targetSize {
            options.encoding.goal = .totalBytes(targetSize.bytes)
        } else {
            options.encoding.goal = .bits(bits ?? 4)
        }
        let width = UniformParameters.roundingUp(bits: Int(min(max(bits ?? 4, 2), 8)))
        guard
            let parameters = UniformParameters(
                bits: width, groupSize: groupSize ?? 64, symmetric: symmetric, scales: scales ?? .searched)
        else {
            throw ValidationError("--bits \(width) --group-size \(groupSize ?? 64) is no combination there is.")
        }
        options.encoding.parameters = parameters
        return options
    }

    /// Refuses schemes, goals and codecs that a calibrated conversion does not have.
    func requireCalibrable() throws {
        guard scheme == .trellis && relativeMSE == nil else {
            throw ValidationError(
                "A calibrated conversion needs --scheme trellis and a rate: --bits, --bpw or --target-size.")
        }
        guard codec != .lz4 && codec != CodecName.none else {
            throw ValidationError("A calibrated conversion needs --codec rans or zstd.")
        }
    }

    /// The options of a calibrated conversion, whose defaults differ: 32 states, rANS, and 2 GiB of memory.
    func calibrated(_ options: ConversionOptions, _ isMemoryStated: Bool) -> ConversionOptions {
        var options = options
        options.encoding.states = states ?? 32
        options.encoding.codec = (codec ?? .rans).codec
        if !isMemoryStated { options.run.memory = 2 << 30 }
        return options
    }
}

extension EncodingOptions.Scheme: ExpressibleByArgument {}
extension EncodingOptions.NonFinitePolicy: ExpressibleByArgument {}
extension UniformScales: ExpressibleByArgument {}
