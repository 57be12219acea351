internal import Kernels
package import TensorModel

/// How many elements of a tensor are NaN or infinite, and which is the first.
package struct NonFiniteCount: Sendable, Hashable {
    /// Elements that are NaN.
    package private(set) var nan = 0
    /// Elements that are infinite, of either sign.
    package private(set) var infinity = 0
    /// The index of the first element that is either.
    package private(set) var first: Int?

    /// Nothing found yet.
    package init() {}

    /// What a kernel found.
    init(_ found: Kernels.NonFinite) {
        nan = found.nanCount
        infinity = found.infinityCount
        first = found.firstIndex
    }

    /// Whether all elements were finite.
    package var isZero: Bool { nan == 0 && infinity == 0 }

    /// Adds the elements of `bytes`, the first of which has the index `firstElement` in the tensor.
    package mutating func add(_ bytes: Span<UInt8>, _ format: FloatFormat, firstElement: Int) {
        let found = Kernels.scanNonFinite(bytes, format: format)
        nan += found.nanCount
        infinity += found.infinityCount
        if let index = found.firstIndex { noteFirst(firstElement + index) }
    }

    /// Adds what was found in a part of the tensor, whose elements have the places in the tensor that `element` gives.
    package mutating func add(_ part: NonFiniteCount, element: (Int) -> Int) {
        nan += part.nan
        infinity += part.infinity
        if let index = part.first { noteFirst(element(index)) }
    }

    private mutating func noteFirst(_ index: Int) { first = min(first ?? index, index) }

    /// The findings in words, with the place of the first in a matrix of `columns` columns; nil where there are none.
    package func description(columns: Int) -> String? {
        guard let first, columns > 0 else { return nil }
        let place = "row \(first / columns), column \(first % columns)"
        return "\(nan) NaN and \(infinity) infinite values, the first at \(place)"
    }
}
