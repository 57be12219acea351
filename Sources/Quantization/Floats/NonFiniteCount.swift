internal import Kernels
package import TensorModel

/// Numbers of NaN and infinite elements of a tensor, and the index of the first.
package struct NonFiniteCount: Sendable, Hashable {
    /// Number of NaN elements.
    package private(set) var nan = 0
    /// Number of infinite elements of either sign.
    package private(set) var infinity = 0
    /// Index of the first NaN or infinite element; nil if there is none.
    package private(set) var first: Int?

    /// No NaN and no infinite elements.
    package init() {}

    /// The counts that a kernel returned.
    init(_ found: Kernels.NonFinite) {
        nan = found.nanCount
        infinity = found.infinityCount
        first = found.firstIndex
    }

    /// Whether all elements are finite.
    package var isZero: Bool { nan == 0 && infinity == 0 }

    /// Counts the elements of `bytes`; the first has the index `firstElement` in the tensor.
    package mutating func add(_ bytes: Span<UInt8>, _ format: FloatFormat, firstElement: Int) {
        let found = Kernels.scanNonFinite(bytes, format: format)
        nan += found.nanCount
        infinity += found.infinityCount
        if let index = found.firstIndex { noteFirst(firstElement + index) }
    }

    /// Adds the counts of a part of the tensor. `element` maps an index in the part to an index in the tensor.
    package mutating func add(_ part: NonFiniteCount, element: (Int) -> Int) {
        nan += part.nan
        infinity += part.infinity
        if let index = part.first { noteFirst(element(index)) }
    }

    private mutating func noteFirst(_ index: Int) { first = min(first ?? index, index) }

    /// The counts in words, with row and column of the first in a matrix of `columns` columns; nil if all elements are finite.
    package func description(columns: Int) -> String? {
        guard let first, columns > 0 else { return nil }
        let place = "row \(first / columns), column \(first % columns)"
        return "\(nan) NaN and \(infinity) infinite values, the first at \(place)"
    }
}
