package import TensorModel

/// The weights of a piece whose values differ from those of another piece.
///
/// Values are compared as real numbers: -0 equals 0, and every NaN equals every NaN.
package struct PieceDifference: Sendable, Hashable {
    /// Index of the first pair that differs.
    package let index: Int
    /// The values of that pair.
    package let original: ExactValue, restored: ExactValue
    /// Number of pairs that differ.
    package let count: UInt64

    /// Searches two arrays of equal length; nil if all values are equal.
    ///
    /// - Parameter count: the number of pairs that differ, if it is known. Then the search ends at the first of them.
    package init?(_ original: Span<Float>, _ restored: Span<Float>, count: UInt64? = nil) {
        precondition(original.count == restored.count, "pieces of different sizes")
        var (first, found) = (-1, UInt64(0))
        for index in 0..<original.count {
            let (a, b) = (original[index], restored[index])
            guard a != b, !a.isNaN || !b.isNaN else { continue }
            found += 1
            if first < 0 { first = index }
            if count != nil { break }
        }
        guard first >= 0 else { return nil }
        self.init(first, .float(original[first]), .float(restored[first]), count: count ?? found)
    }

    /// Searches two arrays of equal length; nil if all values are equal.
    package init?(_ original: Span<Double>, _ restored: Span<Double>) {
        precondition(original.count == restored.count, "pieces of different sizes")
        var (first, found) = (-1, UInt64(0))
        for index in 0..<original.count {
            let (a, b) = (original[index], restored[index])
            guard a != b, !a.isNaN || !b.isNaN else { continue }
            found += 1
            if first < 0 { first = index }
        }
        guard first >= 0 else { return nil }
        self.init(first, .double(original[first]), .double(restored[first]), count: found)
    }

    private init(_ index: Int, _ original: ExactValue, _ restored: ExactValue, count: UInt64) {
        (self.index, self.original, self.restored, self.count) = (index, original, restored, count)
    }
}

/// The weights of a tensor whose values differ from those of another tensor of the same shape.
package struct ValueDifferences: Sendable, Hashable {
    /// A weight that differs.
    package struct Weight: Sendable, Hashable {
        /// Its place in the tensor as a matrix (`Shape.rows`, `Shape.columns`), from 0.
        package let row: Int, column: Int
        /// Its value, and that in the other tensor; nil for elements without one (`ExactValue`).
        package let value: ExactValue?, reference: ExactValue?

        /// Makes a weight.
        package init(row: Int, column: Int, value: ExactValue?, reference: ExactValue?) {
            (self.row, self.column, self.value, self.reference) = (row, column, value, reference)
        }
    }

    /// Number of weights that differ.
    package private(set) var count: UInt64 = 0
    /// The first of them, row by row; nil if there is none.
    package private(set) var first: Weight?

    /// No differences.
    package init() {}

    /// `count` differences, the first of them at `first`.
    package init(count: UInt64, first: Weight?) { (self.count, self.first) = (count, first) }

    /// Adds those of a piece, in any order of pieces.
    ///
    /// - Parameters:
    ///   - row: first row of the piece in the tensor.
    ///   - column: first column.
    ///   - columns: number of columns of the piece.
    package mutating func add(_ piece: PieceDifference?, row: Int, column: Int, columns: Int) {
        guard let piece else { return }
        count += piece.count
        let place = (row: row + piece.index / columns, column: column + piece.index % columns)
        if let first, (first.row, first.column) < (place.row, place.column) { return }
        first = Weight(row: place.row, column: place.column, value: piece.restored, reference: piece.original)
    }

    /// The same, where a column beyond `columns` is one of the rows that follow.
    package func wrapped(to columns: Int) -> ValueDifferences {
        guard let first, first.column >= columns else { return self }
        let place = Weight(
            row: first.row + first.column / columns, column: first.column % columns, value: first.value,
            reference: first.reference)
        return ValueDifferences(count: count, first: place)
    }
}
