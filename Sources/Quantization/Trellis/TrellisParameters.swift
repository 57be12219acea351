internal import Kernels

/// How a tensor of scheme `trellis` is stored: everything a decoder needs except the steps of the chunks
/// and the scale bytes (Specs/trellis.md).
package struct TrellisParameters: Sendable, Hashable {
    /// States of the trellis: 8, 16 or 32.
    package let states: Int
    /// Number of codes: 4, 6, 8, 16, 32, 64 or 256. The first 2 * limit + 1 are symbols; below 256, the last is the escape.
    package let alphabet: Int
    /// Number of low bits of each symbol stored apart from its code: 0, or 2 to 6 with an alphabet of 256.
    package let lowBits: Int
    /// Number of classes of rows, 1 to 4. Each class has its own streams.
    package let rowClasses: Int

    /// Which rows and columns have a scale byte; nil if none has.
    package var scaleBytes: ScaleBytes?

    /// Valid values of `states`.
    package static let stateCounts = [8, 16, 32]
    /// Valid values of `alphabet`.
    package static let alphabets = [4, 6, 8, 16, 32, 64, 256]
    /// Valid values of `lowBits`.
    package static let lowBitCounts = [0, 2, 3, 4, 5, 6]
    /// The largest value of `rowClasses`.
    package static let maximumRowClasses = 4

    /// Returns nil if a value is invalid, or if low bits are combined with an alphabet below 256.
    package init?(states: Int, alphabet: Int, lowBits: Int = 0, rowClasses: Int = 1, scaleBytes: ScaleBytes? = nil) {
        guard TrellisParameters.stateCounts.contains(states), TrellisParameters.alphabets.contains(alphabet),
            TrellisParameters.lowBitCounts.contains(lowBits), lowBits == 0 || alphabet == 256,
            (1...TrellisParameters.maximumRowClasses).contains(rowClasses)
        else { return nil }
        self.states = states
        self.alphabet = alphabet
        self.lowBits = lowBits
        self.rowClasses = rowClasses
        self.scaleBytes = scaleBytes
    }

    /// The largest magnitude of a symbol that has a code.
    package var limit: Int { (alphabet - 1) / 2 }
    /// Whether there is an escape, a code for symbols beyond the limit. Without one, no symbol is beyond the limit.
    package var hasEscape: Bool { alphabet < 256 }
    /// The largest magnitude of a symbol: escapes are signed bytes.
    package var greatestSymbol: Int { 127 << lowBits }
    /// Number of streams of symbols in a chunk: one for each class and parity.
    package var symbolStreams: Int { 2 * rowClasses }

    /// Bits of a code without entropy coding; nil if the alphabet is not a power of two.
    package var fixedWidth: Int? { alphabet.nonzeroBitCount == 1 ? alphabet.trailingZeroBitCount : nil }

    var ransRule: Kernels.RansRule { Kernels.RansRule(states: states, lowBits: lowBits) }
    var kernelAlphabet: Kernels.TrellisAlphabet { Kernels.TrellisAlphabet(limit: limit, lowBits: lowBits) }
}

/// How an encoder searches the levels of a chunk. A decoder needs only the step.
package struct TrellisRule: Sendable, Hashable {
    /// Distance between neighbouring levels.
    package var step: Float
    /// Subtracted from each magnitude, in levels. Trades error for rate, because large levels cost more bits.
    package var deadZone: Float
    /// Factor of the magnitude that remains after the dead zone, for the same reason.
    package var shrink: Float

    /// A rule. With the default `deadZone` and `shrink`, the search minimizes the error alone.
    package init(step: Float, deadZone: Float = 0, shrink: Float = 1) {
        self.step = step
        self.deadZone = deadZone
        self.shrink = shrink
    }

    /// The representable step nearest to `step`.
    ///
    /// A step is a power of two times 1 + i / 4096, so it does not depend on the last bits of a computation. It is a normal number, so
    /// 1 / step is finite, and at most 2^126.
    package static func representable(_ step: Double) -> Float {
        guard step > Double(Float.leastNormalMagnitude) else { return Float.leastNormalMagnitude }
        guard step < 0x1p126 else { return 0x1p126 }
        let bits = Float(step).bitPattern
        return Float(bitPattern: (bits + 0x400) & ~0x7ff)
    }
}
