import TensorModel

/// Plain rounding of one group, step by step as in Specs/uniform.md, section 6.
struct ReferenceRounding {
    private let parameters: UniformParameters
    /// The weights times `up`.
    private let values: [Float]
    /// The power of two that brings the largest magnitude to [1, 2), where its exponent allows.
    private let up: Float
    private let codeLow: Float
    private let codeHigh: Float
    /// Scale and bias as stored; the bias of a symmetric group is 0.
    let scale: Float
    let bias: Float

    init(_ weights: [Float], _ parameters: UniformParameters, _ format: FloatFormat) {
        self.parameters = parameters
        let half = Float(1 << (parameters.bits - 1))
        codeLow = parameters.symmetric ? -half : 0
        codeHigh = parameters.symmetric ? half - 1 : 2 * half - 1
        let low = (weights.min() ?? 0) + 0
        let high = (weights.max() ?? 0) + 0
        let exponent = Int32(max(low.magnitude, high.magnitude).bitPattern >> 23)
        let shift = max(127 - max(exponent, 1), -126)
        up = Float(sign: .plus, exponent: Int(shift), significand: 1)
        let down = Float(sign: .plus, exponent: -Int(shift), significand: 1)
        values = weights.map { [up] in $0 * up }

        let largest: Float
        let minimum: Float
        switch format {
        case .f16: (largest, minimum) = (65504, 0x1p-24)
        case .bf16: (largest, minimum) = (0x1.fep127, 0x1p-133)
        case .f32: (largest, minimum) = (.greatestFiniteMagnitude, 0x1p-149)
        }
        func stored(_ step: Float, _ limit: Float) -> Float {
            max(Reference.expanded(Reference.narrowed(min(step, limit), format), format), minimum)
        }
        if parameters.symmetric {
            bias = 0
            guard low != high else {
                scale = low.magnitude
                return
            }
            let step = max(low.magnitude, high.magnitude) * up / (codeHigh + 0.5)
            scale = stored(step * down, largest / half * 0.984375)
        } else {
            let countsUp = low.magnitude > high.magnitude
            bias = countsUp ? low : high
            guard low != high else {
                scale = 0
                return
            }
            let reach = bias.magnitude * up
            var step = (high * up - low * up) / codeHigh
            let zero = reach / step
            if zero < codeHigh + 0.5 { step = reach / zero.rounded(.toNearestOrEven) }
            let limit = min(
                (largest / codeHigh + bias.magnitude / codeHigh) * 0.984375,
                Float.greatestFiniteMagnitude / codeHigh * 0.984375, largest)
            scale = stored(step * down, limit) * (countsUp ? 1 : -1)
        }
    }

    var codes: [UInt8] {
        let unit = scale * up
        let inverse: Float = unit == 0 ? 0 : 1 / unit
        let offset = bias * up
        return values.map { value in
            let position = (parameters.symmetric ? value : value - offset) * inverse
            let code = min(max(position, codeLow), codeHigh).rounded(.toNearestOrEven)
            return UInt8(Int(code) - Int(codeLow))
        }
    }
}
