#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Elementwise functions of a decoder, in binary32 as transformers computes them.
enum Activation {
    /// x / (1 + e^-x).
    static func silu(_ x: Float) -> Float { x / (1 + exp(-x)) }

    /// Replaces gate by silu(gate + bias) * (up + bias).
    ///
    /// - Parameters:
    ///   - gate: tokens x rows, row-major; `up` too.
    ///   - rows: the rows of the layer that the columns stand for, for the biases.
    static func gate(
        _ gate: inout [Float], _ up: [Float], tokens: Int, rows: Range<Int>, _ gateBias: [Float]?, _ upBias: [Float]?
    ) {
        var target = gate.mutableSpan
        let source = up.span
        for token in 0..<tokens {
            let start = token * rows.count
            for place in 0..<rows.count {
                let g = target[start + place] + (gateBias?[rows.lowerBound + place] ?? 0)
                let u = source[start + place] + (upBias?[rows.lowerBound + place] ?? 0)
                target[start + place] = silu(g) * u
            }
        }
    }

    /// e^x in binary32.
    static func exponential(_ x: Float) -> Float { exp(x) }

    /// e^x and ln x in binary64.
    static func exponential(_ x: Double) -> Double { exp(x) }
    static func logarithm(_ x: Double) -> Double { log(x) }

    /// cos and sin in binary32 of an angle in binary32.
    static func turn(_ angle: Float) -> (cosine: Float, sine: Float) { (cos(angle), sin(angle)) }

    /// base^exponent in binary64.
    static func power(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }
}
