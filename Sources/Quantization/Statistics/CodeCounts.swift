/// The number of occurrences of each code of an encoded tensor. Counts of chunks can be added.
package struct CodeCounts: Sendable {
    /// Counts by code, or by trellis level from `-reach` to `reach`.
    private var counts: [UInt64] = []
    /// The largest level; 0 if codes are counted.
    private var reach = 0

    /// Counts of no codes.
    package init() {}

    /// Counts the first `count` codes of a chunk of scheme `uniform`. Clears earlier counts.
    package mutating func count(_ codes: [UInt8], count: Int) {
        prepare(256, reach: 0)
        for index in 0..<count { counts[Int(codes[index])] &+= 1 }
    }

    /// Counts the levels of a chunk of scheme `trellis`: each weight divided by the step, rounded. Clears earlier counts.
    ///
    /// A patch counts as the nearest level.
    ///
    /// - Parameter steps: the steps of a chunk with scale bytes; `step` is then not used.
    package mutating func count(
        _ weights: [Float], count: Int, step: Float, scaled steps: ChunkSteps? = nil, _ parameters: TrellisParameters
    ) {
        // The largest magnitude of a level that a decoder accepts: symbol k = -128 * 2^lowBits, level 2k.
        let reach = 256 << parameters.lowBits
        prepare(2 * reach + 1, reach: reach)
        guard step > 0 else { return }
        let (inverse, limit) = (1 / Double(step), Double(reach))
        // Adding 1.5 * 2^52 to a number below 2^51 puts the nearest integer into the lowest bits.
        let magic = 0x1.8p52
        let zero = Int(truncatingIfNeeded: magic.bitPattern) - reach
        guard let steps else {
            for index in 0..<count {
                let level = min(max(Double(weights[index]) * inverse, -limit), limit)
                counts[Int(truncatingIfNeeded: (level + magic).bitPattern) &- zero] &+= 1
            }
            return
        }
        let columns = steps.columnScales.count
        for row in 0..<count / columns {
            for column in 0..<columns {
                let own = Double(steps.rowSteps[row] * steps.columnScales[column])
                let quotient = own > 0 ? Double(weights[row * columns + column]) / own : 0
                let level = min(max(quotient, -limit), limit)
                counts[Int(truncatingIfNeeded: (level + magic).bitPattern) &- zero] &+= 1
            }
        }
    }

    private mutating func prepare(_ size: Int, reach: Int) {
        self.reach = reach
        if counts.count != size {
            counts = [UInt64](repeating: 0, count: size)
        } else {
            for index in 0..<size { counts[index] = 0 }
        }
    }

    /// Adds the counts of another chunk of the same tensor.
    package mutating func add(_ other: CodeCounts) {
        if counts.isEmpty {
            self = other
        } else {
            precondition(counts.count == other.counts.count)
            let added = other.counts
            for index in 0..<counts.count { counts[index] &+= added[index] }
        }
    }

    /// The order-0 entropy in bits per weight; nil if nothing was counted.
    ///
    /// For a trellis, the entropy given the parity of the state, which is the parity of the level (Specs/trellis.md, section 2).
    package var entropy: Double? {
        guard counts.contains(where: { $0 > 0 }) else { return nil }
        guard reach > 0 else { return Entropy.bits(counts) }
        var total = 0.0
        var bits = 0.0
        for parity in 0..<2 {
            // The first counted level, -reach, is even.
            let levels = stride(from: parity, to: counts.count, by: 2).lazy.map { counts[$0] }
            let weights = Double(levels.reduce(0, +))
            total += weights
            bits += weights * Entropy.bits(levels)
        }
        return bits / total
    }
}
