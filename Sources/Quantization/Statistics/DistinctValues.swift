package import TensorModel

/// The distinct elements of a tensor, counted up to a limit. Masks, constants and weights that another quantizer rounded have few.
///
/// Elements are compared by their bits, so 0 and -0 are distinct.
package struct DistinctValues: Sendable {
    /// The largest number of distinct elements that is counted exactly.
    package static let maximum = 256

    private static let slots = 1024
    /// A hash table with open addressing. `UInt64.max` marks an empty slot; no element has this value.
    private var table = [UInt64](repeating: .max, count: slots)
    private var count = 0

    /// Counts over no elements.
    package init() {}

    /// Whether `count` is exact: at most `maximum` distinct elements were added.
    private var isCounted: Bool { count <= DistinctValues.maximum }

    /// Whether the distinct elements are few: at most 256, and at most one per 16 elements. A single one is always few.
    ///
    /// - Parameter elements: number of elements that were added.
    package func areFew(among elements: Int) -> Bool { count <= max(1, min(DistinctValues.maximum, elements / 16)) }

    /// Adds elements. Stops when more than `maximum` distinct ones were found.
    package mutating func add(_ bytes: Span<UInt8>, _ format: FloatFormat) {
        guard isCounted else { return }
        let width = format.byteWidth
        var last = UInt64.max
        for start in stride(from: 0, to: bytes.count - width + 1, by: width) {
            var value = UInt64(bytes[start]) | UInt64(bytes[start + 1]) << 8
            if width == 4 { value |= UInt64(bytes[start + 2]) << 16 | UInt64(bytes[start + 3]) << 24 }
            guard value != last else { continue }
            last = value
            insert(value)
            guard isCounted else { return }
        }
    }

    /// Adds the distinct elements of another value.
    package mutating func add(_ other: DistinctValues) {
        guard isCounted else { return }
        guard other.isCounted else {
            count = other.count
            return
        }
        for value in other.table where value != .max {
            insert(value)
            guard isCounted else { return }
        }
    }

    private mutating func insert(_ value: UInt64) {
        var slot = Int(truncatingIfNeeded: (value &* 0x9E37_79B9_7F4A_7C15) >> 54)
        while table[slot] != .max {
            if table[slot] == value { return }
            slot = (slot + 1) & (DistinctValues.slots - 1)
        }
        table[slot] = value
        count += 1
    }
}
