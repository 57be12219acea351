internal import Kernels
package import TensorModel

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// Counts of weights, which can be added over the pieces of a tensor: the number of occurrences of each pattern of 16 bits, and,
/// for binary32, sums that those counts do not give.
package struct WeightCounts: Sendable {
    /// The element type. For F16 and BF16 the patterns are the elements; for F32 they are the upper halves.
    package let format: FloatFormat
    /// The value that binary32 moments are taken about; it should be near the mean. By default, that of the first piece.
    package private(set) var shift: Double
    /// Number of elements.
    package private(set) var total: UInt64 = 0
    /// The patterns that occur, in ascending order; used while `dense` is empty. It saves memory if there are many small tensors.
    private var sparse: [PatternCount] = []
    /// The counts of all patterns, or empty.
    private var dense: [UInt64] = []
    var moments = Kernels.Moments()
    private var hasShift: Bool

    /// Counts of no elements.
    package init(_ format: FloatFormat, shift: Double? = nil) {
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
        if format == .f32 { addMoments(piece) }
    }

    /// Adds moments about another shift: (w - shift)^k is expanded in powers of d, the difference of the shifts.
    private mutating func addMoments(_ piece: PieceCounts) {
        let more = piece.moments
        let finite = Double(UInt64(piece.total) - piece.nonFiniteTotal)
        let d = piece.shift - shift
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
    /// In F32 the value is that of the upper half: its magnitude is smaller than that of the weight, by at most 2^-7 of it.
    package func forEachFinite(_ body: (Float, UInt64) -> Void) {
        let infinity = format == .f16 ? 0x7C00 : 0x7F80
        if dense.isEmpty {
            let positive = sparse.partitioningIndex { $0.pattern >= 0x8000 }
            for entry in sparse[positive...].reversed() where entry.pattern < 0x8000 | infinity {
                body(value(Int(entry.pattern)), entry.count)
            }
            for entry in sparse[..<positive] where entry.pattern < infinity {
                body(value(Int(entry.pattern)), entry.count)
            }
            return
        }
        for pattern in stride(from: infinity - 1, through: 0, by: -1) where dense[0x8000 | pattern] > 0 {
            body(value(0x8000 | pattern), dense[0x8000 | pattern])
        }
        for pattern in 0..<infinity where dense[pattern] > 0 { body(value(pattern), dense[pattern]) }
    }

    private func value(_ pattern: Int) -> Float {
        format == .f16 ? WeightCounts.halves[pattern] : Float(bitPattern: UInt32(pattern) << 16)
    }

    /// All values of binary16, by bit pattern.
    private static let halves: [Float] = {
        let bytes = (0..<Kernels.patternCount).flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
        var values = [Float](repeating: 0, count: Kernels.patternCount)
        FloatConversion.expand(bytes.span, .f16, into: &values)
        return values
    }()

    /// Numbers of NaN and infinite elements.
    package var nonFinite: (nan: UInt64, infinite: UInt64) {
        let infinity = format == .f16 ? 0x7C00 : 0x7F80
        var either: UInt64 = 0
        var infinite: UInt64 = 0
        forEachPattern { pattern, count in
            if pattern & 0x7FFF >= infinity { either += count }
            if pattern & 0x7FFF == infinity { infinite += count }
        }
        // In F32, NaN and infinity can have the same upper half, so the kernel counts infinities.
        if format == .f32 { infinite = moments.infinities }
        return (either - infinite, infinite)
    }

    /// The order-0 entropy of the elements, in bits per element: the least that a coder without context can reach. Nil for F32 and
    /// for no elements.
    package var valueEntropy: Double? {
        guard format != .f32, total > 0 else { return nil }
        return dense.isEmpty ? Entropy.bits(sparse.lazy.map(\.count)) : Entropy.bits(dense)
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

/// The counts of one piece of a tensor. A value is reused from piece to piece.
package struct PieceCounts: Sendable {
    /// The element type.
    package private(set) var format = FloatFormat.f32
    /// Number of elements.
    package private(set) var total = 0
    /// The value that binary32 moments are taken about.
    package private(set) var shift = 0.0
    /// Sums of squares of the piece's rows and columns; empty if not requested.
    package private(set) var rowEnergies: [Float] = [], columnEnergies: [Float] = []
    /// The patterns that occur, in ascending order, if the piece has at most 65,536 elements; `counts` is then cleared. Nil for larger
    /// pieces, whose counts are in `counts`.
    private(set) var patterns: [PatternCount]?
    var counts = [UInt32](repeating: 0, count: Kernels.patternCount)
    var moments = Kernels.Moments()
    private var isClear = true

    /// Up to this number of elements, looking up each element is faster than scanning all patterns.
    private static let few = 1024

    /// Counts of no elements.
    package init() {}

    private mutating func begin(
        _ format: FloatFormat, _ rows: Int, _ columns: Int, _ shift: Double, _ wantsEnergies: Bool
    ) {
        self.format = format
        self.shift = shift
        total = rows * columns
        patterns = nil
        moments = Kernels.Moments()
        if !isClear { for pattern in 0..<counts.count { counts[pattern] = 0 } }
        isClear = false
        PieceCounts.clear(&rowEnergies, wantsEnergies ? rows : 0)
        PieceCounts.clear(&columnEnergies, wantsEnergies ? columns : 0)
    }

    /// Fills `numbers` with `count` zeros and keeps its memory.
    private static func clear(_ numbers: inout [Float], _ count: Int) {
        numbers.removeAll(keepingCapacity: true)
        numbers.append(contentsOf: repeatElement(0, count: count))
    }

    /// Number of NaN and infinite elements.
    var nonFiniteTotal: UInt64 {
        let infinity = format == .f16 ? 0x7C00 : 0x7F80
        if let patterns {
            return patterns.reduce(0) { $1.pattern & 0x7FFF >= infinity ? $0 + $1.count : $0 }
        }
        return (infinity...0x7FFF).reduce(0) { $0 + UInt64(counts[$1]) + UInt64(counts[0x8000 | $1]) }
    }

    /// Counts a piece of rows x columns elements. Replaces the counts before.
    ///
    /// - Parameters:
    ///   - bytes: rows * columns elements, row-major, little-endian.
    ///   - shift: the value that moments are taken about; nil takes the first finite weight of binary32.
    ///   - wantsEnergies: whether to compute the sums of squares of rows and columns.
    package mutating func count(
        _ bytes: Span<UInt8>, _ format: FloatFormat, rows: Int, columns: Int, shift: Double? = nil, wantsEnergies: Bool
    ) {
        // The shift must be exact in binary32: the kernel fills unused lanes with it, so that they add zero.
        var found = Double(Float(shift ?? 0))
        if shift == nil, format == .f32 {
            found = PieceCounts.firstFinite(bytes.count / 4) { PieceCounts.element(bytes, $0, 4) }
        }
        begin(format, rows, columns, found, wantsEnergies)
        PieceCounts.add(bytes, format, rows, columns, found, &counts, &rowEnergies, &columnEnergies, &moments)
        guard total <= PieceCounts.few else { return gatherAll() }
        let width = format.byteWidth
        gather { UInt16(truncatingIfNeeded: PieceCounts.element(bytes, $0, width) >> (width == 4 ? 16 : 0)) }
    }

    /// Counts a piece of rows x columns weights in binary32; parameters are as above.
    package mutating func count(
        _ weights: Span<Float>, rows: Int, columns: Int, shift: Double? = nil, wantsEnergies: Bool
    ) {
        let shift = shift.map { Double(Float($0)) } ?? PieceCounts.firstFinite(weights.count) { weights[$0].bitPattern }
        begin(.f32, rows, columns, shift, wantsEnergies)
        PieceCounts.add(weights, rows, columns, shift, &counts, &rowEnergies, &columnEnergies, &moments)
        guard total <= PieceCounts.few else { return gatherAll() }
        gather { UInt16(truncatingIfNeeded: weights[$0].bitPattern >> 16) }
    }

    /// Moves all counts to `patterns` if the piece has at most 65,536 elements.
    private mutating func gatherAll() {
        guard total <= Kernels.patternCount else { return }
        patterns = PieceCounts.taken(&counts, expecting: min(total, 8192))
        isClear = true
    }

    /// The patterns that occur. Sets their counts to zero.
    private static func taken(_ counts: inout [UInt32], expecting capacity: Int) -> [PatternCount] {
        var found: [PatternCount] = []
        found.reserveCapacity(capacity)
        var counts = counts.mutableSpan
        // Most blocks of 16 patterns are empty.
        for start in stride(from: 0, to: counts.count, by: 16) {
            var any: UInt32 = 0
            for pattern in start..<start + 16 { any |= counts[pattern] }
            guard any != 0 else { continue }
            for pattern in start..<start + 16 where counts[pattern] > 0 {
                found.append(PatternCount(UInt16(pattern), UInt64(counts[pattern])))
                counts[pattern] = 0
            }
        }
        return found
    }

    /// Moves the counts of the elements' patterns to `patterns`, by looking up each element.
    private mutating func gather(_ pattern: (Int) -> UInt16) {
        var found: [PatternCount] = []
        for index in 0..<total {
            let pattern = pattern(index)
            let count = counts[Int(pattern)]
            guard count > 0 else { continue }
            found.append(PatternCount(pattern, UInt64(count)))
            counts[Int(pattern)] = 0
        }
        patterns = found.sorted { $0.pattern < $1.pattern }
        isClear = true
    }

    private static func firstFinite(_ count: Int, _ bits: (Int) -> UInt32) -> Double {
        for index in 0..<count {
            let weight = Float(bitPattern: bits(index))
            if weight.isFinite { return Double(weight) }
        }
        return 0
    }

    private static func element(_ bytes: Span<UInt8>, _ index: Int, _ width: Int) -> UInt32 {
        var bits: UInt32 = 0
        for byte in (0..<width).reversed() { bits = bits << 8 | UInt32(bytes[index * width + byte]) }
        return bits
    }

    /// Takes the buffers as separate arguments, because Swift forbids overlapping access to self.
    private static func add(
        _ bytes: Span<UInt8>, _ format: FloatFormat, _ rows: Int, _ columns: Int, _ shift: Double,
        _ counts: inout [UInt32], _ rowEnergies: inout [Float], _ columnEnergies: inout [Float],
        _ moments: inout Kernels.Moments
    ) {
        var counts = counts.mutableSpan
        var rowEnergies = rowEnergies.mutableSpan
        var columnEnergies = columnEnergies.mutableSpan
        Kernels.weightStatistics(
            bytes, format: format, rows: rows, columns: columns, shift: shift, counts: &counts,
            rowEnergies: &rowEnergies, columnEnergies: &columnEnergies, moments: &moments)
    }

    private static func add(
        _ weights: Span<Float>, _ rows: Int, _ columns: Int, _ shift: Double, _ counts: inout [UInt32],
        _ rowEnergies: inout [Float], _ columnEnergies: inout [Float], _ moments: inout Kernels.Moments
    ) {
        var counts = counts.mutableSpan
        var rowEnergies = rowEnergies.mutableSpan
        var columnEnergies = columnEnergies.mutableSpan
        Kernels.weightStatistics(
            weights, rows: rows, columns: columns, shift: shift, counts: &counts, rowEnergies: &rowEnergies,
            columnEnergies: &columnEnergies, moments: &moments)
    }
}

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
