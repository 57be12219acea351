#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Student's t distribution, for bounds of means whose standard error comes from the same few numbers.
enum StudentDistribution {
    /// Degrees of freedom beyond which the distribution is taken as that of this number: wider by less than 0.1 % than the true one.
    private static let maximumDegrees = 2000

    /// The number that a value of the distribution does not exceed with a probability.
    ///
    /// - Parameters:
    ///   - probability: above 0.5, below 1.
    ///   - degrees: degrees of freedom, 1 or more.
    static func quantile(_ probability: Double, degrees: Int) -> Double {
        let degrees = min(max(1, degrees), maximumDegrees)
        var (low, high) = (0.0, 1.0)
        while cumulative(high, degrees: degrees) < probability, high < 1e15 { high *= 2 }
        for _ in 0..<200 {
            let middle = (low + high) / 2
            guard middle > low, middle < high else { break }
            if cumulative(middle, degrees: degrees) < probability { low = middle } else { high = middle }
        }
        return high
    }

    /// The probability that a value of the distribution does not exceed `t`, 0 or more. Abramowitz and Stegun, 26.7.3 and 26.7.4.
    static func cumulative(_ t: Double, degrees: Int) -> Double {
        let count = Double(degrees)
        let squares = count + t * t
        let (sine, cosine) = (t / squares.squareRoot(), (count / squares).squareRoot())
        // The term of the series with an exponent of cosine of 0 or 1, and the sum from there on.
        let isOdd = degrees % 2 == 1
        var term = isOdd ? cosine : 1
        var sum = degrees == 1 ? 0 : term
        for exponent in stride(from: isOdd ? 3 : 2, through: degrees - 2, by: 2) {
            term *= cosine * cosine * Double(exponent - 1) / Double(exponent)
            sum += term
        }
        let inside = isOdd ? (atan(t / count.squareRoot()) + sine * sum) * 2 / Double.pi : sine * sum
        return 0.5 + inside / 2
    }
}
