import FileAccess
import TensorModel

/// The factors of the rotary frequencies in Llama 3's scaling, which GGUF files have as the tensor `rope_freqs.weight`.
///
/// llama.cpp divides each frequency by its factor. The rule is that of `_compute_llama3_parameters` in transformers, and the arithmetic is
/// that of llama.cpp's converter, in binary32. `ExactMath` computes the logarithm and the power, so they are the same on every machine.
struct RotaryFactors: Hashable {
    /// Rows of a head, and the base of the frequencies.
    let headSize: Int, base: Double
    /// The factor of the lowest frequencies.
    let factor: Double
    /// Waves longer than `originalContext / lowFactor` are low frequencies, and those shorter than `originalContext / highFactor` high ones.
    let lowFactor: Double, highFactor: Double
    /// Tokens of the context that the model was trained with at first.
    let originalContext: Int

    /// The factors, one for each pair of rows of a head.
    var values: [Float] {
        let logarithm = ExactMath.log2(base)
        let (low, high, original) = (Float(lowFactor), Float(highFactor), Float(originalContext))
        let longest = Float(Double(originalContext) / lowFactor)
        let shortest = Float(Double(originalContext) / highFactor)
        let turn = Float(2 * Double.pi)
        return (0..<headSize / 2).map { pair in
            let exponent = Float(2 * pair) / Float(headSize)
            let frequency = 1 / Float(ExactMath.exp2(logarithm * Double(exponent)))
            let wavelength = turn / frequency
            if wavelength < shortest { return 1 }
            if wavelength > longest { return Float(factor) }
            let smooth = (original / wavelength - low) / (high - low)
            return 1 / ((1 - smooth) / Float(factor) + smooth)
        }
    }

    /// The factors as the bytes of a tensor of type F32.
    var bytes: [UInt8] { LittleEndian.bytes(values[...]) }
}
