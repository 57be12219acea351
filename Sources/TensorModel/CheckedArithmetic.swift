/// Arithmetic on untrusted numbers, such as the sizes in a file. An overflow gives nil and never traps.
///
/// Sizes and offsets are `UInt64` until they are checked.
package enum Checked {
    /// The sum, or nil if it overflows.
    package static func add(_ a: UInt64, _ b: UInt64) -> UInt64? {
        let (sum, overflow) = a.addingReportingOverflow(b)
        return overflow ? nil : sum
    }

    /// The product, or nil if it overflows.
    package static func multiply(_ a: UInt64, _ b: UInt64) -> UInt64? {
        let (product, overflow) = a.multipliedReportingOverflow(by: b)
        return overflow ? nil : product
    }

    /// `a` rounded up to a multiple of `alignment` (a power of two), or nil if that overflows.
    package static func roundUp(_ a: UInt64, to alignment: UInt64) -> UInt64? {
        add(a, alignment - 1).map { $0 & ~(alignment - 1) }
    }
}

/// `a / b` rounded up, for trusted numbers: `a` is at least 0, `b` is positive.
package func ceilingDivide(_ a: Int, _ b: Int) -> Int { a == 0 ? 0 : (a - 1) / b + 1 }

/// A half-open range of bytes of one file.
package struct ByteRange: Sendable, Hashable {
    /// Offset of the first byte from the start of the file.
    package let start: UInt64
    /// Offset one past the last byte, at least `start`.
    package let end: UInt64

    /// The range `start ..< end`; nil if `end` is below `start`.
    package init?(start: UInt64, end: UInt64) {
        guard start <= end else { return nil }
        self.start = start
        self.end = end
    }

    /// The range of `count` bytes from `start` on; nil if its end overflows.
    package init?(start: UInt64, count: UInt64) {
        guard let end = Checked.add(start, count) else { return nil }
        self.start = start
        self.end = end
    }

    /// Number of bytes.
    package var count: UInt64 { end - start }
}
