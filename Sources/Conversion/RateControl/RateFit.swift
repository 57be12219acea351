import Quantization
import TensorModel

/// What large levels cost, from a histogram: the encoder weighs it against their error.
enum RateFit {
    /// Levels beyond this are too rare to matter, or so many that the cost of one is nothing.
    private static let largestLevel = 40
    private static let leastCount = 3.0

    /// The dead zone and the shrink that minimise error + lambda * bits, for bits = a + b|n| + c n^2 fitted to the histogram.
    ///
    /// - Parameters:
    ///   - histogram: how often each |n| was found.
    ///   - distortion: mean squared error in levels^2; lambda = 2 ln 2 of it, the slope of a rate-distortion curve that
    ///     falls by a factor of 4 a bit.
    static func fit(_ histogram: [UInt64], distortion: Double) -> (deadZone: Float, shrink: Float) {
        let total = Double(histogram.reduce(0, +))
        guard total > 0, Double(histogram.last ?? 0) < total * 0.01 else { return (0, 1) }
        var points: [(level: Double, bits: Double, weight: Double)] = []
        for (level, count) in histogram.dropLast().prefix(largestLevel).enumerated() {
            // Levels of both signs fall together, but for 0.
            let each = Double(count) / (level == 0 ? 1 : 2)
            guard each >= leastCount else { continue }
            points.append((Double(level), -ExactMath.log2(each / total), Double(count)))
        }
        guard points.count >= 4 else { return (0, 1) }
        let (linear, square) = leastSquares(points)
        let lambda = 1.3862943611198906 * distortion
        // Rounded, so that a plan does not hang on the last bits of the fit.
        let deadZone = min(max(lambda * linear / 2, 0), 0.45)
        let shrink = 1 / (1 + max(lambda * square, 0))
        return (Float((deadZone * 1024).rounded() / 1024), Float((shrink * 1024).rounded() / 1024))
    }

    /// b and c of the weighted fit of a + b x + c x^2; b is not negative.
    private static func leastSquares(_ points: [(level: Double, bits: Double, weight: Double)]) -> (Double, Double) {
        func moment(_ value: ((level: Double, bits: Double, weight: Double)) -> Double) -> Double {
            points.reduce(0) { $0 + $1.weight * value($1) }
        }
        let total = moment { _ in 1 }
        let x = moment(\.level) / total
        let xx = moment { $0.level * $0.level } / total
        let y = moment(\.bits) / total
        // Centred, the constant drops out.
        let a = moment { ($0.level - x) * ($0.level - x) }
        let b = moment { ($0.level - x) * ($0.level * $0.level - xx) }
        let c = moment { ($0.level * $0.level - xx) * ($0.level * $0.level - xx) }
        let p = moment { ($0.level - x) * ($0.bits - y) }
        let q = moment { ($0.level * $0.level - xx) * ($0.bits - y) }
        let determinant = a * c - b * b
        guard determinant > a * c * 1e-9 else { return (0, 0) }
        let linear = (p * c - q * b) / determinant
        if linear < 0 { return (0, c > 0 ? q / c : 0) }
        return (linear, (q * a - p * b) / determinant)
    }
}
