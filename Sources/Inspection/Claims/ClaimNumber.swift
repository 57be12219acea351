import TensorModel

/// Numbers of claims: as text, and rounded.
enum ClaimNumber {
    /// A number with at most five significant digits: `0.0069432`, `4.0313`, `6.94e-05`, `1.2e+30`.
    static func text(_ value: Double) -> String {
        guard value.isFinite, value != 0 else { return value == 0 ? "0" : "\(value)" }
        let exponent = exponent(of: value)
        guard (-4..<9).contains(exponent) else {
            let mantissa = NumberText.trimmed(rounded(value / power(exponent), digits: 4), 4)
            return mantissa + (exponent < 0 ? "e-" : "e+") + NumberText.padded(abs(exponent), digits: 2)
        }
        return NumberText.trimmed(value, max(0, 4 - exponent))
    }

    /// Bytes with at most four digits and a decimal unit: `3.332 MB`.
    static func text(bytes: UInt64) -> String {
        let units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"]
        var (value, unit) = (Double(bytes), 0)
        while value >= 999.95, unit < units.count - 1 { (value, unit) = (value / 1000, unit + 1) }
        guard unit > 0 else { return "\(bytes) bytes" }
        return "\(NumberText.trimmed(value, value < 10 ? 3 : value < 100 ? 2 : 1)) \(units[unit])"
    }

    private static func rounded(_ value: Double, digits: Int) -> Double {
        (value * power(digits)).rounded() / power(digits)
    }

    /// Decimal exponent of a number that is not zero: 0 for 1 up to 10.
    private static func exponent(of value: Double) -> Int {
        var (left, exponent) = (abs(value), 0)
        while left >= 10 { (left, exponent) = (left / 10, exponent + 1) }
        while left < 1 { (left, exponent) = (left * 10, exponent - 1) }
        return exponent
    }

    private static func power(_ exponent: Int) -> Double {
        (0..<abs(exponent)).reduce(1.0) { power, _ in exponent < 0 ? power / 10 : power * 10 }
    }

    /// Rounds to `digits` significant digits so that `value` still satisfies the limit: up for a maximum, down for a minimum.
    static func limit(_ value: Double, digits: Int, isMinimum: Bool) -> Double {
        guard value != 0, value.isFinite else { return value }
        return outward(value, places: digits - 1 - exponent(of: value), isMinimum: isMinimum)
    }

    /// Rounds to `places` decimal places so that `value` still satisfies the limit: up for a maximum, down for a minimum.
    static func outward(_ value: Double, places: Int, isMinimum: Bool) -> Double {
        let rule: FloatingPointRoundingRule = isMinimum ? .down : .up
        // Dividing by a power of ten gives the double nearest to the decimal number; multiplying does not.
        let step = { (whole: Double) in places < 0 ? whole * power(-places) : whole / power(places) }
        let whole = (places < 0 ? value / power(-places) : value * power(places)).rounded(rule)
        guard whole.isFinite, abs(whole) < 1e15 else { return value }
        let rounded = step(whole)
        if isMinimum { return rounded <= value ? rounded : step(whole - 1) }
        return rounded >= value ? rounded : step(whole + 1)
    }
}
