package import TensorModel

/// The different elements of a tensor, as long as they are few, as in masks, constants, and weights that another quantizer has rounded.
///
/// Elements are told apart by their bits, so that 0 and -0 are two.
package struct DistinctValues: Sendable {
    /// Different elements that are told apart at most.
    package static let most = 256

    private static let slots = 1024
    /// A hash table with open addressing; `UInt64.max`, which no element has, marks an empty slot.
    private var table = [UInt64](repeating: .max, count: slots)
    private var count = 0

    /// No elements yet.
    package init() {}

    /// Whether at most `most` different values were added.
    private var isCounted: Bool { count <= DistinctValues.most }

    /// Whether the values are few for the number of elements: at most 256, and each 16 times on average.
    ///
    /// - Parameter elements: number of all elements that were added.
    package func areFew(of elements: Int) -> Bool { count <= max(1, min(DistinctValues.most, elements / 16)) }

    /// Adds elements; stops where more than `most` have been found.
    package mutating func add(_ bytes: Span<UInt8>, _ format: FloatFormat) {
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

    /// Adds the elements that another value has seen.
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
