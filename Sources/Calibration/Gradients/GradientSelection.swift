/// Which sequences gradients are taken on.
enum GradientSelection {
    /// Tokens that gradients are taken on, if nothing else is asked for.
    static let usualTokens = 16_384

    /// The sequences of each text, in order. Each text has its share of all sequences, rounded by the largest remainders; they are spread
    /// evenly over the text.
    ///
    /// - Parameters:
    ///   - counts: number of sequences of each text.
    ///   - context: tokens of a sequence.
    ///   - tokens: tokens at most, 1 or more; one sequence is taken at least.
    static func choose(_ counts: [Int], context: Int, tokens: Int) -> [[Int]] {
        let total = counts.reduce(0, +)
        let wanted = min(total, max(1, tokens / context))
        guard wanted < total else { return counts.map { Array(0..<$0) } }
        // Counts are below 2^40 / 2, so no product overflows: both factors are numbers of sequences in memory.
        var shares = counts.map { $0 * wanted / total }
        let order = counts.indices.sorted {
            let (a, b) = (counts[$0] * wanted % total, counts[$1] * wanted % total)
            return a == b ? $0 < $1 : a > b
        }
        for text in order.prefix(wanted - shares.reduce(0, +)) { shares[text] += 1 }
        return zip(counts, shares).map { count, share in (0..<share).map { (2 * $0 + 1) * count / (2 * share) } }
    }
}
