import ArgumentParser
package import Conversion
package import Quantization
import TensorModel

/// What is asked of the quantizer, on the verbs that convert or plan to.
struct RateOptions: ParsableArguments {
    @Option(
        help: """
            Bits per weight of each matrix at most, all counted: any number from 1 to 8.5; 4 where no rate is asked \
            for. With scheme uniform, or codec lz4 or none, the width of a code: 2, 3, 4, 5, 6 or 8 (7 rounds up).
            """)
    var bits: Double?

    @Option(help: "Bits per weight over all quantized matrices together, at one relative MSE.")
    var bpw: Double?

    @Option(name: .customLong("relative-mse"), help: "Relative MSE of each matrix at most, such as 5e-3.")
    var relativeMSE: Double?

    @Option(help: "Size of DEST at most, such as 18GiB; matrices share it out at one relative MSE.")
    var targetSize: ByteCount?

    @Option(help: "Scheme: trellis, uniform, or lossless (bit-exact).")
    var scheme = EncodingOptions.Scheme.trellis

    @Option(help: "Trellis: states, 8 (default), 16 (0.01 bit smaller) or 32 (0.02 bit).")
    var states: Int?

    @Option(help: "Uniform: weights that share a scale, 32, 64 (default) or 128.")
    var groupSize: Int?

    @Flag(help: "Uniform: scales without biases, as compressed-tensors has them.")
    var symmetric = false

    @Option(
        help: """
            Uniform: scales searched for the least error (default), or minmax, plain rounding between the group's \
            extremes as MLX does it, faster and less exact.
            """)
    var scales: UniformScales?

    @Option(
        help: "Codec: zstd, rans (trellis only, mostly 2 to 4 % smaller), lz4 or none (fixed widths, fastest to load).")
    var codec = CodecName.zstd

    @Option(
        name: .customLong("on-nonfinite"), help: "NaN or infinity in the source: fail, or keep the tensor lossless.")
    var onNonFinite = EncodingOptions.NonFinitePolicy.fail

    @Flag(help: "Decode weights that a GGUF file has quantized already, and quantize them once more.")
    var allowRequantize = false

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
        guard scheme == .trellis || codec != .rans else {
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

    /// The options of a conversion.
    func options() throws -> ConversionOptions {
        var options = ConversionOptions()
        options.encoding.scheme = scheme
        options.encoding.states = states ?? 8
        options.encoding.codec = codec.codec
        options.encoding.nonFinite = onNonFinite
        options.encoding.requantizes = allowRequantize
        options.encoding.key = keyed.key
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
}

extension EncodingOptions.Scheme: ExpressibleByArgument {}
extension EncodingOptions.NonFinitePolicy: ExpressibleByArgument {}
extension UniformScales: ExpressibleByArgument {}
