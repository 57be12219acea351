internal import Kernels
package import TensorModel

/// Counts of weights, which can be added over the pieces of a tensor: the number of occurrences of each pattern of 16 bits at most, and,
/// for elements of 32 and 64 bits, sums that those counts do not give.
package struct WeightCounts: Sendable {
    /// The element type. Patterns are the elements, or the upper halves of their binary32 (`CountedFormat.countsElements`).
    package let format: CountedFormat
    /// The value that moments are taken about; it should be near the mean. By default, that of the first piece.
    package private(set) var shift: Double
    /// Moments are of weights divided by this power of two: 1 for F32, at most the largest magnitude of other types (0 before the first
    /// piece), so that no power overflows.
    private(set) var unit = 0.0
    /// Number of elements.
    package private(set) var total: UInt64 = 0
    /// The patterns that occur, in ascending order; used while `dense` is empty. It saves memory if there are many small tensors.
    private var sparse: [PatternCount] = []
    /// The counts of all patterns, or empty.
    private var dense: [UInt64] = []
    var moments = Kernels.Moments()
    private var hasShift: Bool

    /// Counts of no elements.
    package init(_ format: FloatFormat, shift: Double? = nil) { self.init(CountedFormat(format), shift: shift) }

    /// Counts of no elements.
    package init(_ format: CountedFormat, shift: Double? = nil) {
        self.format = format
        self.shift = shift ?? 0
        hasShift = shift != nil
    }

    /// Adds the counts of a piece of the same tensor.
    package mutating func add(_ piece: PieceCounts) {
        precondition(piece.format == format)
        if !hasShift { (shift, hasShift) = (piece.shift, true) }
        if total == 0, let patterns = piece.patterns {
            sparse = patterns
        } else {
            spread()
            if let patterns = piece.patterns {
                for entry in patterns { dense[Int(entry.pattern)] += entry.count }
            } else {
                let added = piece.counts
                for pattern in 0..<dense.count { dense[pattern] &+= UInt64(added[pattern]) }
            }
        }
        total += UInt64(piece.total)
        if !format.countsElements { addMoments(piece) }
    }

    /// Adds moments about another shift: (w - shift)^k is expanded in powers of d, the difference of the shifts.
    private mutating func addMoments(_ piece: PieceCounts) {
        let common = max(unit, piece.unit)
        moments.scale(by: unit / common)
        unit = common
        var more = piece.moments
        more.scale(by: piece.unit / common)
        let finite = Double(UInt64(piece.total) - piece.nonFiniteTotal)
        let d = piece.shift / common - shift / common
        moments.first += more.first + finite * d
        moments.second += more.second + d * (2 * more.first + finite * d)
        moments.third += more.third + d * (3 * more.second + d * (3 * more.first + finite * d))
        moments.fourth += more.fourth + d * (4 * more.third + d * (6 * more.second + d * (4 * more.first + finite * d)))
        moments.smallest = min(moments.smallest, more.smallest)
        moments.largest = max(moments.largest, more.largest)
        moments.zeros += more.zeros
        moments.subnormals += more.subnormals
        moments.infinities += more.infinities
    }

    /// Moves the counts from `sparse` to `dense`.
    private mutating func spread() {
        guard dense.isEmpty else { return }
        dense = [UInt64](repeating: 0, count: Kernels.patternCount)
        for entry in sparse { dense[Int(entry.pattern)] = entry.count }
        sparse = []
    }

    /// Moves the counts from `dense` to `sparse`, which is faster to iterate.
    mutating func compact() {
        guard !dense.isEmpty else { return }
        for pattern in dense.indices where dense[pattern] > 0 {
            sparse.append(PatternCount(UInt16(pattern), dense[pattern]))
        }
        dense = []
    }

    private func forEachPattern(_ body: (Int, UInt64) -> Void) {
        for entry in sparse { body(Int(entry.pattern), entry.count) }
        for pattern in dense.indices where dense[pattern] > 0 { body(pattern, dense[pattern]) }
    }

    /// Calls `body` with the value of each pattern that occurs and its count, for finite values in ascending order.
    ///
    /// If upper halves are counted, the value is that of the upper half: its magnitude is smaller than that of the weight, by at most
    /// 2^-7 of it.
    package func forEachFinite(_ body: (Double, UInt64) -> Void) {
        func visit(_ pattern: Int, _ count: UInt64) {
            guard count > 0 else { return }
            let value = format.value(pattern)
            if value.isFinite { body(value, count) }
        }
        let order = format.order
        let middle = order == .unsigned ? format.patternCount : format.patternCount / 2
        if dense.isEmpty {
            let negative = sparse.partitioningIndex { Int($0.pattern) >= middle }
            if order == .signMagnitude {
                for entry in sparse[negative...].reversed() { visit(Int(entry.pattern), entry.count) }
            } else {
                for entry in sparse[negative...] { visit(Int(entry.pattern), entry.count) }
            }
            for entry in sparse[..<negative] { visit(Int(entry.pattern), entry.count) }
            return
        }
        if order == .signMagnitude {
            for pattern in (middle..<format.patternCount).reversed() { visit(pattern, dense[pattern]) }
        } else {
            for pattern in middle..<format.patternCount { visit(pattern, dense[pattern]) }
        }
        for pattern in 0..<middle { visit(pattern, dense[pattern]) }
    }

    /// The weight that stands for those of a value of `forEachFinite`: the value itself, or the middle of the weights that share its upper
    /// half. It differs from each of them by 2^-8 of it at most. Whole numbers below 256 stand for themselves.
    package func representative(_ value: Double) -> Double {
        guard !format.countsElements, !(format.isInteger && value.magnitude < 256) else { return value }
        return Double(Float(bitPattern: Float(value).bitPattern | 0x8000))
    }

    /// Numbers of NaN and infinite elements.
    package var nonFinite: (nan: UInt64, infinite: UInt64) {
        var (either, infinite): (UInt64, UInt64) = (0, 0)
        forEachPattern { pattern, count in
            let value = format.value(pattern)
            if !value.isFinite { either += count }
            if value.isInfinite { infinite += count }
        }
        // NaN and infinity of binary32 can have the same upper half, so infinities are counted apart.
        if !format.countsElements { infinite = moments.infinities }
        return (either - infinite, infinite)
    }

    /// The order-0 entropy of the elements, in bits per element: the least that a coder without context can reach. Nil for elements of 32
    /// and 64 bits, and for no elements.
    package var valueEntropy: Double? {
        guard format.countsElements, total > 0 else { return nil }
        return dense.isEmpty ? Entropy.bits(sparse.lazy.map(\.count)) : Entropy.bits(dense)
    }
}

extension Kernels.Moments {
    /// Multiplies the weights that the sums are over by `factor`.
    fileprivate mutating func scale(by factor: Double) {
        first *= factor
        second *= factor * factor
        third *= factor * factor * factor
        fourth *= factor * factor * factor * factor
    }
}

/// A pattern of 16 bits and its number of occurrences.
struct PatternCount: Sendable {
    let pattern: UInt16
    let count: UInt64

    init(_ pattern: UInt16, _ count: UInt64) {
        self.pattern = pattern
        self.count = count
    }
}

extension [PatternCount] {
    /// The first index whose entry satisfies `belongs`. All entries behind it must satisfy it too, and none before it.
    fileprivate func partitioningIndex(_ belongs: (PatternCount) -> Bool) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if belongs(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
