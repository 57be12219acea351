#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// Entropy of counts.
package enum Entropy {
    /// The order-0 entropy of symbols with these counts, in bits per symbol: -sum p log2 p. 0 for no symbols.
    package static func bits(_ counts: some Sequence<UInt64>) -> Double {
        var total = 0.0
        var sum = 0.0
        for count in counts where count > 0 {
            total += Double(count)
            sum += Double(count) * log2(Double(count))
        }
        return total == 0 ? 0 : max(0, log2(total) - sum / total)
    }
}
