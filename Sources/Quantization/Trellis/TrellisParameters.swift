internal import Kernels

/// How a tensor of scheme `trellis` is written: all that a decoder must know but the chunks' steps (Specs/trellis.md).
package struct TrellisParameters: Sendable, Hashable {
    /// States of the trellis: 8, 16 or 32.
    package let states: Int
    /// Number of codes of a symbol: 2 * limit + 1 symbols and an escape. 4, 6, 8, 16, 32, 64 or 256.
    package let alphabet: Int
    /// Bits of each symbol stored apart from its code: 0, or 2 to 6 with an alphabet of 256.
    package let lowBits: Int
    /// Classes of rows with streams of their own: 1 to 4.
    package let rowClasses: Int

    /// The numbers of states there are.
    package static let stateCounts = [8, 16, 32]
    /// The sizes of alphabets there are.
    package static let alphabets = [4, 6, 8, 16, 32, 64, 256]
    /// The numbers of low bits there are.
    package static let lowBitCounts = [0, 2, 3, 4, 5, 6]
    /// Classes a chunk has at most.
    package static let maximumRowClasses = 4

    /// Makes parameters; nil for a combination there is none of.
    package init?(states: Int, alphabet: Int, lowBits: Int = 0, rowClasses: Int = 1) {
        guard TrellisParameters.stateCounts.contains(states), TrellisParameters.alphabets.contains(alphabet),
            TrellisParameters.lowBitCounts.contains(lowBits), lowBits == 0 || alphabet == 256,
            (1...TrellisParameters.maximumRowClasses).contains(rowClasses)
        else { return nil }
        self.states = states
        self.alphabet = alphabet
        self.lowBits = lowBits
        self.rowClasses = rowClasses
    }

    /// Symbols up to this magnitude have a code.
    package var limit: Int { (alphabet - 1) / 2 }
    /// Whether one code stands for all other symbols; where not, no symbol is beyond the limit.
    package var hasEscape: Bool { alphabet < 256 }
    /// No symbol's magnitude is above this: escapes are signed bytes.
    package var greatestSymbol: Int { 127 << lowBits }
    /// Streams of symbols in a chunk: one for each class and parity.
    package var symbolStreams: Int { 2 * rowClasses }

    /// Bits of a code where codes are not entropy coded; nil for an alphabet that is no power of two.
    package var fixedWidth: Int? { alphabet.nonzeroBitCount == 1 ? alphabet.trailingZeroBitCount : nil }

    var ransRule: Kernels.RansRule { Kernels.RansRule(states: states, lowBits: lowBits) }
    var kernelAlphabet: Kernels.TrellisAlphabet { Kernels.TrellisAlphabet(limit: limit, lowBits: lowBits) }
}

/// What the encoder of a chunk decides by: no matter to a decoder but for the step.
package struct TrellisRule: Sendable, Hashable {
    /// Distance of neighbouring levels.
    package var step: Float
    /// Levels taken off each magnitude, for the bits that large levels cost.
    package var deadZone: Float
    /// What is left is multiplied with this, for the same reason.
    package var shrink: Float

    /// A rule; without the last two, every weight goes for the nearest levels.
    package init(step: Float, deadZone: Float = 0, shrink: Float = 1) {
        self.step = step
        self.deadZone = deadZone
        self.shrink = shrink
    }

    /// Steps are powers of two times 1 + i / 4096, so that they do not depend on the last bits of anything, and never below the
    /// smallest normal number, so that 1 / step is finite.
    package static func representable(_ step: Double) -> Float {
        guard step > Double(Float.leastNormalMagnitude) else { return Float.leastNormalMagnitude }
        guard step < 0x1p126 else { return 0x1p126 }
        let bits = Float(step).bitPattern
        return Float(bitPattern: (bits + 0x400) & ~0x7ff)
    }
}
