import Quantization
import TensorModel

/// Derives the dead zone and the shrink of a `TrellisRule` from a histogram of levels.
///
/// The encoder minimises squared error + lambda * bits. The bits of a level n are modelled as a + b|n| + c n^2, with a, b and c fitted to
/// the histogram. The minimum for a weight t, in levels, is at |n| = (|t| - lambda b / 2) / (1 + lambda c).
enum RateFit {
    /// Levels above this magnitude are left out of the fit: they are rare, or the rate is so high that their cost does not matter.
    private static let largestLevel = 40
    /// Levels that are counted less often than this, per sign, are left out of the fit.
    private static let minimumCount = 3.0

    /// The dead zone lambda b / 2, in levels (0 to 0.45), and the shrink 1 / (1 + lambda c).
    ///
    /// - Parameters:
    ///   - histogram: how often each |n| was found; the last entry counts all larger levels.
    ///   - distortion: mean squared error D in levels^2. lambda is 2 ln 2 D: the slope of a rate-distortion curve that falls by a factor of
    ///     4 per bit.
    /// - Returns: (0, 1), which means the nearest levels, if fewer than 4 levels can be fitted or 1 % or more are in the last entry.
    static func fit(_ histogram: [UInt64], distortion: Double) -> (deadZone: Float, shrink: Float) {
        let total = Double(histogram.reduce(0, +))
        guard total > 0, Double(histogram.last ?? 0) < total * 0.01 else { return (0, 1) }
        var points: [(level: Double, bits: Double, weight: Double)] = []
        for (level, count) in histogram.dropLast().prefix(largestLevel).enumerated() {
            // The histogram counts n and -n together; each sign has half of the count. Level 0 has no sign.
            let each = Double(count) / (level == 0 ? 1 : 2)
            guard each >= minimumCount else { continue }
            points.append((Double(level), -ExactMath.log2(each / total), Double(count)))
        }
        guard points.count >= 4 else { return (0, 1) }
        let (linear, square) = leastSquares(points)
        let lambda = 1.3862943611198906 * distortion
        // Rounded to 1/1024, so that the last bits of the fit do not change the plan.
        let deadZone = min(max(lambda * linear / 2, 0), 0.45)
        let shrink = 1 / (1 + max(lambda * square, 0))
        return (Float((deadZone * 1024).rounded() / 1024), Float((shrink * 1024).rounded() / 1024))
    }

    /// b and c of the weighted least-squares fit of a + b x + c x^2, with b not negative.
    private static func leastSquares(_ points: [(level: Double, bits: Double, weight: Double)]) -> (Double, Double) {
        func moment(_ value: ((level: Double, bits: Double, weight: Double)) -> Double) -> Double {
            points.reduce(0) { $0 + $1.weight * value($1) }
        }
        let total = moment { _ in 1 }
        let x = moment(\.level) / total
        let xx = moment { $0.level * $0.level } / total
        let y = moment(\.bits) / total
        // Centring x and x^2 removes the constant a.
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
