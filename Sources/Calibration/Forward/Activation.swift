#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Functions of single numbers.
enum Activation {
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
