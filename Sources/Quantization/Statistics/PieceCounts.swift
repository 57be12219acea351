internal import Kernels
package import TensorModel

/// The counts of one piece of a tensor. A value is reused from piece to piece.
package struct PieceCounts: Sendable {
    /// The element type.
    package private(set) var format = CountedFormat(.f32)
    /// Number of elements.
    package private(set) var total = 0
    /// The value that moments are taken about; of elements of 32 and 64 bits only.
    package internal(set) var shift = 0.0
    /// Moments are of weights divided by this power of two (`WeightCounts.unit`).
    var unit = 1.0
    /// Sums of squares of the piece's rows and columns, as the kernel computes them; empty if not requested, and for other formats.
    package private(set) var rowEnergies: [Float] = [], columnEnergies: [Float] = []
    /// The same of formats that are counted in Swift. The square of an F64 may be infinite.
    var rowSquares: [Double] = [], columnSquares: [Double] = []
    /// The patterns that occur, in ascending order, if the piece has at most 65,536 elements or elements of 8 bits; `counts` is then
    /// cleared. Nil for others, whose counts are in `counts`.
    private(set) var patterns: [PatternCount]?
    var counts = [UInt32](repeating: 0, count: Kernels.patternCount)
    var moments = Kernels.Moments()
    private var isClear = true

    /// Up to this number of elements, looking up each element is faster than scanning all patterns.
    private static let few = 1024

    /// Counts of no elements.
    package init() {}

    private mutating func begin(
        _ format: CountedFormat, _ rows: Int, _ columns: Int, _ shift: Double, _ wantsEnergies: Bool
    ) {
        self.format = format
        self.shift = shift
        unit = 1
        total = rows * columns
        patterns = nil
        moments = Kernels.Moments()
        if !isClear { for pattern in 0..<counts.count { counts[pattern] = 0 } }
        isClear = false
        let isKernel = format.kernelFormat != nil
        PieceCounts.clear(&rowEnergies, wantsEnergies && isKernel ? rows : 0)
        PieceCounts.clear(&columnEnergies, wantsEnergies && isKernel ? columns : 0)
        PieceCounts.clear(&rowSquares, wantsEnergies && !isKernel ? rows : 0)
        PieceCounts.clear(&columnSquares, wantsEnergies && !isKernel ? columns : 0)
    }

    /// Adds the sums of squares to those of the rows from `row` on, and of the columns from `column` on.
    func addEnergies(to rows: inout [Double], from row: Int, and columns: inout [Double], from column: Int) {
        PieceCounts.add(rowEnergies, to: &rows, from: row)
        PieceCounts.add(columnEnergies, to: &columns, from: column)
        PieceCounts.add(rowSquares, to: &rows, from: row)
        PieceCounts.add(columnSquares, to: &columns, from: column)
    }

    /// Adds numbers to those from `start` on.
    private static func add<Number: BinaryFloatingPoint>(_ numbers: [Number], to sums: inout [Double], from start: Int)
    {
        guard !numbers.isEmpty else { return }
        let added = numbers.span
        var target = sums.mutableSpan
        for index in 0..<added.count { target[start + index] += Double(added[index]) }
    }

    /// Fills `numbers` with `count` zeros and keeps its memory.
    private static func clear<Number: BinaryFloatingPoint>(_ numbers: inout [Number], _ count: Int) {
        numbers.removeAll(keepingCapacity: true)
        numbers.append(contentsOf: repeatElement(0, count: count))
    }

    /// Number of NaN and infinite elements; of elements of 32 and 64 bits.
    var nonFiniteTotal: UInt64 {
        let infinity = 0x7F80
        if let patterns {
            return patterns.reduce(0) { $1.pattern & 0x7FFF >= infinity ? $0 + $1.count : $0 }
        }
        return (infinity...0x7FFF).reduce(0) { $0 + UInt64(counts[$1]) + UInt64(counts[0x8000 | $1]) }
    }

    /// Counts a piece of rows x columns elements of any format that can be counted. Replaces the counts before.
    ///
    /// - Parameters:
    ///   - bytes: rows * columns elements, row-major, little-endian.
    ///   - wantsEnergies: whether to compute the sums of squares of rows and columns.
    package mutating func count(
        _ bytes: Span<UInt8>, _ format: CountedFormat, rows: Int, columns: Int, wantsEnergies: Bool
    ) {
        if let kernelFormat = format.kernelFormat {
            return count(bytes, kernelFormat, rows: rows, columns: columns, wantsEnergies: wantsEnergies)
        }
        precondition(bytes.count == rows * columns * format.byteWidth, "a piece of another size")
        begin(format, rows, columns, 0, wantsEnergies)
        countElements(bytes, columns: columns)
        guard total <= PieceCounts.few, format.byteWidth > 1 else { return gatherAll() }
        var found: [UInt16] = []
        for index in 0..<total { found.append(pattern(bytes, index)) }
        gather { found[$0] }
    }

    /// Counts a piece of rows x columns floats. Replaces the counts before.
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
        begin(CountedFormat(format), rows, columns, found, wantsEnergies)
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
        begin(CountedFormat(.f32), rows, columns, shift, wantsEnergies)
        PieceCounts.add(weights, rows, columns, shift, &counts, &rowEnergies, &columnEnergies, &moments)
        guard total <= PieceCounts.few else { return gatherAll() }
        gather { UInt16(truncatingIfNeeded: weights[$0].bitPattern >> 16) }
    }

    /// Moves all counts to `patterns` if the piece has at most 65,536 elements, or elements of 8 bits.
    private mutating func gatherAll() {
        guard total <= Kernels.patternCount || format.byteWidth == 1 else { return }
        patterns = PieceCounts.taken(&counts, below: format.patternCount, expecting: min(total, 8192))
        isClear = true
    }

    /// The patterns below `end` that occur. Sets their counts to zero.
    private static func taken(
        _ counts: inout [UInt32], below end: Int, expecting capacity: Int
    ) -> [PatternCount] {
        var found: [PatternCount] = []
        found.reserveCapacity(min(end, capacity))
        var counts = counts.mutableSpan
        // Most blocks of 16 patterns are empty.
        for start in stride(from: 0, to: end, by: 16) {
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
