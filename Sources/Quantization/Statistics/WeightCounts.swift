internal import Kernels
public import TensorModel

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// What is counted of weights, and can be added up over the pieces of a tensor: how often each pattern of 16 bits occurs, and
/// for binary32 the sums that those do not give.
public struct WeightCounts: Sendable {
    /// What the elements are; of F16 and BF16 the counts tell everything, of F32 they are of the upper halves.
    public let format: FloatFormat
    /// What binary32 moments are taken about: any value near the mean.
    public let shift: Double
    /// Number of elements.
    public private(set) var total: UInt64 = 0
    /// By pattern; empty as long as there are so few elements that `few` has them one by one.
    private var counts: [UInt64] = []
    private var few: [UInt16] = []
    var moments = Kernels.Moments()

    /// Counts of no elements.
    public init(_ format: FloatFormat, shift: Double = 0) {
        self.format = format
        self.shift = shift
    }

    /// Adds what was counted of a piece of the same tensor.
    public mutating func add(_ piece: PieceCounts) {
        precondition(piece.format == format)
        total += UInt64(piece.total)
        addPatterns(piece)
        let more = piece.moments
        moments.first += more.first
        moments.second += more.second
        moments.third += more.third
        moments.fourth += more.fourth
        moments.smallest = min(moments.smallest, more.smallest)
        moments.largest = max(moments.largest, more.largest)
        moments.zeros += more.zeros
        moments.subnormals += more.subnormals
        moments.infinities += more.infinities
    }

    /// Models have many tiny tensors, for which a table of all patterns would be most of the work.
    private mutating func addPatterns(_ piece: PieceCounts) {
        let isSmall = piece.isSmall
        if isSmall, counts.isEmpty, few.count + piece.patterns.count <= PieceCounts.smallest {
            few += piece.patterns
            return
        }
        if counts.isEmpty {
            counts = [UInt64](repeating: 0, count: Kernels.patternCount)
            for pattern in few { counts[Int(pattern)] += 1 }
            few = []
        }
        if isSmall {
            for pattern in piece.patterns { counts[Int(pattern)] += 1 }
        } else {
            let added = piece.counts
            for pattern in 0..<counts.count { counts[pattern] &+= UInt64(added[pattern]) }
        }
    }

    /// How often each pattern occurs of those that do where elements are few, of all otherwise; by rising value, NaN at the ends.
    private func forEachPattern(_ body: (Int, UInt64) -> Void) {
        guard counts.isEmpty else {
            for pattern in stride(from: 0xFFFF, through: 0x8000, by: -1) { body(pattern, counts[pattern]) }
            for pattern in 0...0x7FFF { body(pattern, counts[pattern]) }
            return
        }
        let rising = few.map { $0 & 0x8000 == 0 ? $0 | 0x8000 : ~$0 }.sorted()
        var index = 0
        while index < rising.count {
            let key = rising[index]
            let start = index
            while index < rising.count, rising[index] == key { index += 1 }
            body(Int(key & 0x8000 == 0 ? ~key : key & 0x7FFF), UInt64(index - start))
        }
    }

    /// The value of a pattern, and how many elements have it: of F32 the one of the upper half, which is at most 2^-7 nearer to zero.
    ///
    /// Rising from the least finite value to the greatest; patterns that do not occur are left out.
    public func forEachFinite(_ body: (Float, UInt64) -> Void) {
        let infinity = format == .f16 ? 0x7C00 : 0x7F80
        forEachPattern { pattern, count in
            if count > 0, pattern & 0x7FFF < infinity { body(value(pattern), count) }
        }
    }

    private func value(_ pattern: Int) -> Float {
        format == .f16 ? WeightCounts.halves[pattern] : Float(bitPattern: UInt32(pattern) << 16)
    }

    /// All numbers of binary16.
    private static let halves: [Float] = {
        let bytes = (0..<Kernels.patternCount).flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
        var values = [Float](repeating: 0, count: Kernels.patternCount)
        FloatConversion.expand(bytes.span, .f16, into: &values)
        return values
    }()

    /// How many elements are NaN, and how many infinite.
    public var nonFinite: (nan: UInt64, infinite: UInt64) {
        let infinity = format == .f16 ? 0x7C00 : 0x7F80
        var (either, exact): (UInt64, UInt64) = (0, 0)
        forEachPattern { pattern, count in
            if pattern & 0x7FFF >= infinity { either += count }
            if pattern & 0x7FFF == infinity { exact += count }
        }
        // The upper half of a NaN of F32 may be that of infinity.
        let infinite = format == .f32 ? moments.infinities : exact
        return (either - infinite, infinite)
    }

    /// The zeroth-order entropy of the elements in bits: what a coder that knows nothing but their frequencies would take for each.
    /// Of F32, nil.
    public var valueEntropy: Double? {
        guard format != .f32, total > 0 else { return nil }
        var occurring: [UInt64] = []
        forEachPattern { _, count in if count > 0 { occurring.append(count) } }
        return Entropy.bits(occurring)
    }
}

/// What is counted of one piece of a tensor; reused from piece to piece.
public struct PieceCounts: Sendable {
    /// What the elements are.
    public private(set) var format = FloatFormat.f32
    /// Number of elements.
    public private(set) var total = 0
    /// Sums of squares of the piece's rows and columns; without a meaning where they were not asked for.
    public private(set) var rowEnergies: [Float] = [], columnEnergies: [Float] = []
    var counts = [UInt32](repeating: 0, count: Kernels.patternCount)
    /// Of a small piece, the pattern of each element.
    private(set) var patterns: [UInt16] = []
    var moments = Kernels.Moments()

    /// Elements of a small piece at most.
    static let smallest = 4096

    /// Counts of no elements.
    public init() {}

    /// Whether the piece has so few elements that `patterns` has them.
    var isSmall: Bool { patterns.count == total }

    private mutating func begin(_ format: FloatFormat, _ rows: Int, _ columns: Int, _ wantsEnergies: Bool) {
        clear()
        self.format = format
        total = rows * columns
        moments = Kernels.Moments()
        rowEnergies = [Float](repeating: 0, count: wantsEnergies ? rows : 0)
        columnEnergies = [Float](repeating: 0, count: wantsEnergies ? columns : 0)
    }

    /// Sets the counts to zero; after a small piece, those it touched.
    private mutating func clear() {
        if isSmall {
            for pattern in patterns { counts[Int(pattern)] = 0 }
        } else {
            for pattern in 0..<counts.count { counts[pattern] = 0 }
        }
        patterns.removeAll(keepingCapacity: true)
    }

    /// Counts a piece of rows x columns elements.
    ///
    /// - Parameters:
    ///   - bytes: rows * columns elements, row-major, little-endian.
    ///   - shift: that of the tensor's `WeightCounts`.
    ///   - wantsEnergies: whether sums of squares of rows and columns are taken.
    public mutating func count(
        _ bytes: Span<UInt8>, _ format: FloatFormat, rows: Int, columns: Int, shift: Double, wantsEnergies: Bool
    ) {
        begin(format, rows, columns, wantsEnergies)
        PieceCounts.add(bytes, format, rows, columns, shift, &counts, &rowEnergies, &columnEnergies, &moments)
        guard total <= PieceCounts.smallest else { return }
        let width = format.byteWidth
        for end in stride(from: width, through: total * width, by: width) {
            patterns.append(UInt16(bytes[end - 1]) << 8 | UInt16(bytes[end - 2]))
        }
    }

    /// Counts a piece of rows x columns weights in binary32.
    public mutating func count(
        _ weights: Span<Float>, rows: Int, columns: Int, shift: Double, wantsEnergies: Bool
    ) {
        begin(.f32, rows, columns, wantsEnergies)
        PieceCounts.add(weights, rows, columns, shift, &counts, &rowEnergies, &columnEnergies, &moments)
        guard total <= PieceCounts.smallest else { return }
        for index in 0..<total { patterns.append(UInt16(weights[index].bitPattern >> 16)) }
    }

    /// The buffers as separate arguments, which may be written to at once.
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
public enum Entropy {
    /// The zeroth-order entropy of symbols with these counts, in bits a symbol: -sum p log2 p; 0 for none.
    public static func bits(_ counts: some Sequence<UInt64>) -> Double {
        var total = 0.0
        var sum = 0.0
        for count in counts where count > 0 {
            total += Double(count)
            sum += Double(count) * log2(Double(count))
        }
        return total == 0 ? 0 : max(0, log2(total) - sum / total)
    }
}
