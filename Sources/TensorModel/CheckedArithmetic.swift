/// Arithmetic on numbers that come out of a file: every step says whether it overflowed, none traps.
///
/// All sizes and offsets of the project are `UInt64` while they are untrusted, and go through these functions.
package enum Checked {
    /// The sum, or nil where it does not fit.
    package static func add(_ a: UInt64, _ b: UInt64) -> UInt64? {
        let (sum, overflow) = a.addingReportingOverflow(b)
        return overflow ? nil : sum
    }

    /// The product, or nil where it does not fit.
    package static func multiply(_ a: UInt64, _ b: UInt64) -> UInt64? {
        let (product, overflow) = a.multipliedReportingOverflow(by: b)
        return overflow ? nil : product
    }

    /// `a` rounded up to a multiple of `alignment` (a power of two), or nil where it does not fit.
    package static func roundUp(_ a: UInt64, to alignment: UInt64) -> UInt64? {
        add(a, alignment - 1).map { $0 & ~(alignment - 1) }
    }
}

/// `a / b`, rounded up, for trusted non-negative numbers.
package func ceilingDivide(_ a: Int, _ b: Int) -> Int { a == 0 ? 0 : (a - 1) / b + 1 }

/// A half-open range of bytes of one file.
package struct ByteRange: Sendable, Hashable {
    /// Offset of the first byte from the start of the file.
    package let start: UInt64
    /// Offset one past the last byte; never below `start`.
    package let end: UInt64

    /// The range `start ..< end`; nil where `end` is below `start`.
    package init?(start: UInt64, end: UInt64) {
        guard start <= end else { return nil }
        self.start = start
        self.end = end
    }

    /// The range of `count` bytes from `start` on; nil where it would leave the 64-bit range.
    package init?(start: UInt64, count: UInt64) {
        guard let end = Checked.add(start, count) else { return nil }
        self.start = start
        self.end = end
    }

    /// Number of bytes.
    package var count: UInt64 { end - start }
}
