internal import Kernels
import TensorModel

/// Counts of the formats that no kernel counts: floats of 8 and 64 bits, whole numbers, and BOOL.
extension PieceCounts {
    /// Counts the elements of `bytes`, whose format was set; `columns` in a row.
    mutating func countElements(_ bytes: Span<UInt8>, columns: Int) {
        switch format.elementType {
        case .f64: countWide(bytes, columns) { bytes, index in Double(bitPattern: element64(bytes, index)) }
        case .i64: countWide(bytes, columns) { bytes, index in Double(Int64(bitPattern: element64(bytes, index))) }
        case .u64: countWide(bytes, columns) { bytes, index in Double(element64(bytes, index)) }
        case .i32: countWide(bytes, columns) { bytes, index in Double(Int32(bitPattern: element32(bytes, index))) }
        case .u32: countWide(bytes, columns) { bytes, index in Double(element32(bytes, index)) }
        case .i16: countPairs(bytes, columns) { Double(Int16(bitPattern: $0)) }
        case .u16: countPairs(bytes, columns) { Double($0) }
        default: countBytes(bytes, columns)
        }
    }

    /// The pattern of an element; for looking up a few.
    func pattern(_ bytes: Span<UInt8>, _ index: Int) -> UInt16 {
        switch format.elementType {
        case .f64: upperHalf(Double(bitPattern: element64(bytes, index)))
        case .i64: upperHalf(Double(Int64(bitPattern: element64(bytes, index))))
        case .u64: upperHalf(Double(element64(bytes, index)))
        case .i32: upperHalf(Double(Int32(bitPattern: element32(bytes, index))))
        case .u32: upperHalf(Double(element32(bytes, index)))
        case .i16, .u16: element16(bytes, index)
        default: UInt16(bytes[index])
        }
    }

    /// Counts elements of 8 bits.
    private mutating func countBytes(_ bytes: Span<UInt8>, _ columns: Int) {
        let squares = CountedFormat.byteSquares[format.elementType] ?? []
        PieceCounts.countNarrow(
            total, columns, &counts, &rowSquares, &columnSquares, pattern: { Int(bytes[$0]) }, square: { squares[$0] })
    }

    /// Counts elements of 16 bits.
    @inline(__always)
    private mutating func countPairs(_ bytes: Span<UInt8>, _ columns: Int, value: (UInt16) -> Double) {
        PieceCounts.countNarrow(
            total, columns, &counts, &rowSquares, &columnSquares, pattern: { Int(element16(bytes, $0)) }
        ) { pattern in
            let value = value(UInt16(truncatingIfNeeded: pattern))
            return value * value
        }
    }

    /// Counts patterns, and sums their squares per row and column if the arrays are not empty.
    @inline(__always)
    private static func countNarrow(
        _ total: Int, _ columns: Int, _ counts: inout [UInt32], _ rowSquares: inout [Double],
        _ columnSquares: inout [Double], pattern: (Int) -> Int, square: (Int) -> Double
    ) {
        var counts = counts.mutableSpan
        guard !rowSquares.isEmpty else {
            for index in 0..<total { counts[pattern(index)] &+= 1 }
            return
        }
        var columnSquares = columnSquares.mutableSpan
        for row in 0..<rowSquares.count {
            var sum = 0.0
            for column in 0..<columns {
                let pattern = pattern(row * columns + column)
                counts[pattern] &+= 1
                let square = square(pattern)
                sum += square
                columnSquares[column] += square
            }
            rowSquares[row] = sum
        }
    }

    /// Counts elements of 32 and 64 bits by the upper halves of their binary32, and sums moments.
    ///
    /// The first pass finds the largest magnitude, which decides the unit of the moments.
    @inline(__always)
    private mutating func countWide(
        _ bytes: Span<UInt8>, _ columns: Int, value: (Span<UInt8>, Int) -> Double
    ) {
        var found = Kernels.Moments()
        var first: Double?
        let smallestNormal = format.smallestNormal
        for index in 0..<total {
            let value = value(bytes, index)
            counts[Int(upperHalf(value))] &+= 1
            if value.isFinite {
                if first == nil { first = value }
                found.smallest = min(found.smallest, value)
                found.largest = max(found.largest, value)
                if value == 0 {
                    found.zeros += 1
                } else if value.magnitude < smallestNormal {
                    found.subnormals += 1
                }
            } else if value.isInfinite {
                found.infinities += 1
            }
        }
        if let first {
            shift = first
            unit = PieceCounts.unit(of: max(-found.smallest, found.largest))
            let (inverse, start) = (1 / unit, first / unit)
            for index in 0..<total {
                let value = value(bytes, index)
                guard value.isFinite else { continue }
                let d = value * inverse - start
                let square = d * d
                found.first += d
                found.second += square
                found.third += square * d
                found.fourth += square * square
            }
        } else {
            unit = PieceCounts.unit(of: 0)
        }
        moments = found
        guard !rowSquares.isEmpty else { return }
        for row in 0..<rowSquares.count {
            var sum = 0.0
            for column in 0..<columns {
                let value = value(bytes, row * columns + column)
                sum += value * value
                columnSquares[column] += value * value
            }
            rowSquares[row] = sum
        }
    }

    /// The power of two at or below a magnitude; the smallest one whose inverse is finite for smaller magnitudes.
    private static func unit(of magnitude: Double) -> Double {
        max(magnitude, .leastNormalMagnitude).binade
    }
}

/// The upper 16 bits of a value's binary32, rounded toward zero.
///
/// Magnitudes of 2^128 or more count as the largest of binary32.
private func upperHalf(_ value: Double) -> UInt16 {
    let bits = value.bitPattern
    let sign = UInt16(truncatingIfNeeded: bits >> 48) & 0x8000
    let exponent = Int(bits >> 52 & 0x7FF) - 1023 + 127
    if exponent > 0, exponent < 255 {
        return sign | UInt16(exponent) << 7 | UInt16(truncatingIfNeeded: bits >> 45) & 0x7F
    }
    if value.isFinite, exponent > 0 { return sign | 0x7F7F }
    return value.isNaN ? 0x7FC0 : UInt16(truncatingIfNeeded: Float(value).bitPattern >> 16)
}

/// Element of 16 bits.
@inline(__always)
private func element16(_ bytes: Span<UInt8>, _ index: Int) -> UInt16 {
    UInt16(bytes[2 * index]) | UInt16(bytes[2 * index + 1]) << 8
}

/// Element of 32 bits.
@inline(__always)
private func element32(_ bytes: Span<UInt8>, _ index: Int) -> UInt32 {
    UInt32(element16(bytes, 2 * index)) | UInt32(element16(bytes, 2 * index + 1)) << 16
}

/// Element of 64 bits.
@inline(__always)
private func element64(_ bytes: Span<UInt8>, _ index: Int) -> UInt64 {
    UInt64(element32(bytes, 2 * index)) | UInt64(element32(bytes, 2 * index + 1)) << 32
}
