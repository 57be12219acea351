/// Logarithm and power from basic arithmetic. The results have the same bits on every machine, which a C library does not promise.
///
/// Plans depend on these results, and plans decide the bytes that are written.
package enum ExactMath {
    /// log2 of a positive, finite number; within 2^-48.
    package static func log2(_ number: Double) -> Double {
        precondition(number > 0 && number.isFinite)
        // number = 2^exponent * m, m from sqrt(1/2) to sqrt(2); log(m) = 2 atanh((m - 1) / (m + 1)).
        var exponent = Double(number.exponent)
        var significand = number.significand
        if significand > 1.4142135623730951 {
            significand /= 2
            exponent += 1
        }
        let x = (significand - 1) / (significand + 1)
        let square = x * x
        var series = 0.0
        for power in stride(from: 23, through: 1, by: -2) { series = series * square + 1 / Double(power) }
        return exponent + 2 * x * series * 1.4426950408889634
    }

    /// 2^number, within a relative 2^-48. The exponent is clamped to -1000...1000.
    package static func exp2(_ number: Double) -> Double {
        let exponent = min(max(number, -1000), 1000)
        let whole = exponent.rounded(.toNearestOrEven)
        let x = (exponent - whole) * 0.6931471805599453
        var series = 1.0
        for term in stride(from: 16, through: 1, by: -1) { series = 1 + series * x / Double(term) }
        return Double(sign: .plus, exponent: Int(whole), significand: 1) * series
    }
}
