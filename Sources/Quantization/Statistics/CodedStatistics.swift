/// How the codes and scales of another quantizer are spread.
package struct CodedStatistics: Sendable, Hashable {
    /// The order-0 entropy of the codes, in bits a code, and the bits that a code takes.
    package let entropy: Double, bits: Int
    /// Number of values of a code that occur, and that are possible.
    package let used: Int, levels: Int
    /// Number of scales; of those that are zero, negative, NaN or infinite.
    package let scales: Int, zeros: Int, negative: Int, notFinite: Int
    /// The smallest, median and largest magnitude of the finite scales that are not zero; nil if there is none. The median is within 1/16 of
    /// the exact one.
    package let smallest: Double?, median: Double?, largest: Double?

    /// Makes statistics of counts.
    ///
    /// - Parameter counts: counts by code.
    package init(
        _ counts: [UInt64], bits: Int, scales: Int, zeros: Int, negative: Int, notFinite: Int, smallest: Double?,
        median: Double?, largest: Double?
    ) {
        entropy = counts.contains { $0 > 0 } ? Entropy.bits(counts) : 0
        self.bits = bits
        used = counts.reduce(0) { $1 > 0 ? $0 + 1 : $0 }
        levels = counts.count
        (self.scales, self.zeros, self.negative, self.notFinite) = (scales, zeros, negative, notFinite)
        (self.smallest, self.median, self.largest) = (smallest, median, largest)
    }
}
