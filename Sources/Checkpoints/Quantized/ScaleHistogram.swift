import FileAccess
import SystemPackage
package import TensorModel

/// The distribution of the scales of a tensor. Histograms of parts of a tensor can be added.
package struct ScaleHistogram: Sendable, Hashable {
    /// Number of scales; of those that are zero, negative, NaN or infinite.
    package private(set) var count = 0, zeros = 0, negative = 0, notFinite = 0
    /// The smallest and largest magnitude of a finite scale that is not zero; nil if there is none.
    package private(set) var smallest: Float?, largest: Float?
    /// Row and column of the first weight whose scale is NaN or infinite, and the scale; nil if there is none.
    package private(set) var firstNotFinite: (row: Int, column: Int, value: Float)?
    /// Counts of magnitudes by exponent and three bits of fraction.
    private var bins: [UInt64] = []

    private static let shift: UInt32 = 20

    /// No scales.
    package init() {}

    /// Whether all counts are equal.
    package static func == (a: ScaleHistogram, b: ScaleHistogram) -> Bool {
        (a.count, a.zeros, a.negative, a.notFinite) == (b.count, b.zeros, b.negative, b.notFinite) && a.bins == b.bins
            && a.smallest == b.smallest && a.largest == b.largest
    }

    /// Hashes the counts.
    package func hash(into hasher: inout Hasher) {
        hasher.combine(count)
        hasher.combine(bins)
    }

    /// The median magnitude of the finite scales that are not zero, within 1/16 of it; nil if there is none.
    package var median: Float? {
        let total = bins.reduce(0, +)
        guard total > 0 else { return nil }
        var seen: UInt64 = 0
        for (bin, found) in bins.enumerated() {
            seen += found
            if seen * 2 >= total {
                // The middle of the bin, within the range that occurs.
                let middle = Float(bitPattern: UInt32(bin) << ScaleHistogram.shift | 1 << (ScaleHistogram.shift - 1))
                return min(max(middle, smallest ?? middle), largest ?? middle)
            }
        }
        return nil
    }

    /// Adds the scales of another part of the tensor, which follows this one.
    package mutating func add(_ other: ScaleHistogram) {
        count += other.count
        zeros += other.zeros
        negative += other.negative
        notFinite += other.notFinite
        smallest = [smallest, other.smallest].compactMap(\.self).min()
        largest = [largest, other.largest].compactMap(\.self).max()
        firstNotFinite = firstNotFinite ?? other.firstNotFinite
        bins.grow(to: other.bins.count)
        for index in other.bins.indices { bins[index] &+= other.bins[index] }
    }

    /// Takes the scales of part `index` of `count` equal parts of a tensor. Replaces those before.
    ///
    /// - Throws: errors of reading.
    package mutating func take(_ index: Int, of count: Int, _ form: QuantizedForm) throws {
        self = ScaleHistogram()
        guard let matrix = form.matrix else { return }
        let scales = matrix.scales
        bins = [UInt64](repeating: 0, count: 1 << (31 - Int(ScaleHistogram.shift)))
        let parts = form.parts.map { FilePart($0.file, $0.tensor.range) }
        let rows = matrix.rows / scales.sliceRows * scales.gridRows
        let isWide = rows < scales.gridColumns
        let length = isWide ? scales.gridColumns : rows
        let (start, end) = (length * index / count, length * (index + 1) / count)
        let step = max(1, (1 << 16) / max(1, isWide ? rows : scales.gridColumns))
        for first in stride(from: start, to: end, by: step) {
            let range = first..<min(end, first + step)
            let (lines, columns) = isWide ? (0..<rows, range) : (range, 0..<scales.gridColumns)
            let values = try scales.read(lines, columns, of: parts)
            add(values) { place in
                let (line, column) = (
                    lines.lowerBound + place / columns.count, columns.lowerBound + place % columns.count
                )
                let row = line / scales.gridRows * scales.sliceRows + line % scales.gridRows * scales.blockRows
                return (row, column * scales.blockColumns)
            }
        }
    }

    private mutating func add(_ values: [Float], place: (Int) -> (Int, Int)) {
        count += values.count
        var (none, strange, below) = (0, 0, 0)
        var (low, high) = (smallest?.bitPattern ?? UInt32.max, largest?.bitPattern ?? 0)
        var first: Int?
        let numbers = values.span
        var counts = bins.mutableSpan
        for index in 0..<numbers.count {
            let pattern = numbers[index].bitPattern
            let bits = pattern & 0x7FFF_FFFF
            if bits == 0 {
                none += 1
            } else if bits >= 0x7F80_0000 {
                strange += 1
                first = first ?? index
            } else {
                below += Int(pattern >> 31)
                low = min(low, bits)
                high = max(high, bits)
                counts[Int(bits >> ScaleHistogram.shift)] &+= 1
            }
        }
        (zeros, notFinite, negative) = (zeros + none, notFinite + strange, negative + below)
        if low <= high { (smallest, largest) = (Float(bitPattern: low), Float(bitPattern: high)) }
        if let first, firstNotFinite == nil {
            let (row, column) = place(first)
            firstNotFinite = (row, column, values[first])
        }
    }
}

extension QuantizedForm {
    /// Requires that all scales are finite.
    ///
    /// - Parameter tensor: the decoded tensor.
    /// - Returns: a warning if scales are zero; nil otherwise.
    /// - Throws: `nonFinite`, naming the first scale that is NaN or infinite.
    package func checkScales(of tensor: TensorName, shape: Shape) throws -> IngotWarning? {
        var found = ScaleHistogram()
        try found.take(0, of: 1, self)
        let file = parts[0].file.path.string
        if let first = found.firstNotFinite {
            let place = first.row * (matrix?.columns ?? 0) + first.column
            throw IngotError(
                .nonFinite, file: file, tensor: tensor,
                found:
                    "\(first.value.isNaN ? "NaN" : "infinity") as the scale of row \(place / max(1, shape.columns)), column \(place % max(1, shape.columns))\(found.notFinite > 1 ? ", and \(found.notFinite - 1) more" : "")",
                expected: "finite scales", remedy: "the file is damaged, or its quantizer failed: fetch it again")
        }
        guard found.zeros > 0 else { return nil }
        return IngotWarning(
            file: file, tensor: tensor, "\(found.zeros) of \(found.count) scales are zero: their weights are zero")
    }
}
