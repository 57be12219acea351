internal import CKernels
internal import TensorModel

extension Kernels {
    /// Multiplies each element of a row-major chunk by its step: the row's step times the column's scale, rounded to binary32; then the
    /// product with the element, rounded.
    package static func applySteps(
        _ levels: inout MutableSpan<Float>, _ shape: ChunkShape, rowSteps: Span<Float>, columnScales: Span<Float>
    ) {
        precondition(
            levels.count >= shape.weightCount && rowSteps.count >= shape.rows && columnScales.count >= shape.columns,
            "applySteps: sizes differ")
        unsafe levels.withUnsafeMutableBufferPointer { levels in
            unsafe rowSteps.withUnsafeBufferPointer { rows in
                unsafe columnScales.withUnsafeBufferPointer { columns in
                    unsafe ingot_apply_steps(levels.baseAddress, shape.kernel, rows.baseAddress, columns.baseAddress)
                }
            }
        }
    }

    /// The upper triangular R with R R^T = A, in binary64 (Specs/trellis.md, "The factor").
    ///
    /// - Parameters:
    ///   - matrix: row j has A[i][j] for i = 0 ... j, and then R[i][j]. Rows are `stride` numbers apart.
    ///   - stride: a multiple of 8, `count` or more. What stands behind element j of row j is overwritten.
    /// - Returns: false if a pivot is not positive or not finite; the matrix is then undefined.
    package static func upperFactor(_ matrix: inout MutableSpan<Double>, count: Int, stride: Int) -> Bool {
        precondition(
            count > 0 && stride >= count && stride % 8 == 0 && matrix.count >= count * stride,
            "upperFactor: sizes differ")
        return unsafe matrix.withUnsafeMutableBufferPointer {
            unsafe ingot_feedback_factor($0.baseAddress, count, stride) == 0
        }
    }

    /// Stores some columns of a row-major matrix column by column.
    ///
    /// - Parameters:
    ///   - width: numbers of a row of the matrix.
    ///   - columns: the columns.
    ///   - values: receives them, `stride` numbers apart, `rows` or more. What stands behind the rows stays.
    package static func transpose(
        _ matrix: Span<Float>, rows: Int, width: Int, columns: Range<Int>, into values: inout MutableSpan<Float>,
        stride: Int
    ) {
        precondition(
            rows >= 0 && columns.lowerBound >= 0 && columns.upperBound <= width && matrix.count >= rows * width
                && stride >= rows && values.count >= stride * columns.count, "transpose: sizes differ")
        unsafe matrix.withUnsafeBufferPointer { matrix in
            unsafe values.withUnsafeMutableBufferPointer { values in
                guard let from = matrix.baseAddress, let to = values.baseAddress else { return }
                unsafe ingot_feedback_transpose(from + columns.lowerBound, rows, columns.count, width, to, stride)
            }
        }
    }

    /// Replaces X by X (R R^T)^-1.
    ///
    /// - Parameters:
    ///   - values: X, column by column; columns are `stride` numbers apart, a multiple of 16.
    ///   - lower: -R[j][k] at `k * count + j` for j < k.
    ///   - upper: -R[k][j] at `k * count + j` for k < j.
    ///   - inverse: 1 / R[j][j].
    package static func solve(
        _ values: inout MutableSpan<Float>, stride: Int, lower: Span<Float>, upper: Span<Float>, inverse: Span<Float>
    ) {
        let count = inverse.count
        precondition(
            count > 0 && stride % 16 == 0 && values.count >= stride * count && lower.count >= count * count
                && upper.count >= count * count, "solve: sizes differ")
        unsafe values.withUnsafeMutableBufferPointer { values in
            unsafe lower.withUnsafeBufferPointer { lower in
                unsafe upper.withUnsafeBufferPointer { upper in
                    unsafe inverse.withUnsafeBufferPointer { inverse in
                        unsafe ingot_feedback_solve(
                            values.baseAddress, stride, stride, lower.baseAddress, upper.baseAddress,
                            inverse.baseAddress, count)
                    }
                }
            }
        }
    }

    /// The steps of a tensor's rows and columns during error feedback, and how targets become positions.
    package struct FeedbackSteps: Sendable {
        /// Of each row of a band: its step, and the inverse.
        package var rowSteps: [Float], inverseRowSteps: [Float]
        /// Of each column of a tensor: its scale, and the inverse.
        package var columnScales: [Float], inverseScales: [Float]
        /// How strongly targets are shrunk toward zero, 0 or more: by m / (m + shrinkage), m the mean square of a column's targets in levels.
        package var shrinkage: Float
        /// States of the trellis: 8, 16 or 32.
        package var states: Int
        /// The search clamps larger magnitudes to this one, in levels.
        package var farthest: Float
        /// Raw value of the element type (`FloatFormat`).
        package var format: UInt8

        /// Steps; traps if a value is out of range.
        package init(
            rowSteps: [Float], columnScales: [Float], shrinkage: Float, states: Int, farthest: Float, format: UInt8
        ) {
            precondition(
                [8, 16, 32].contains(states) && farthest > 0 && farthest <= 16381, "FeedbackSteps: no such code")
            self.rowSteps = rowSteps
            inverseRowSteps = rowSteps.map { 1 / $0 }
            self.columnScales = columnScales
            inverseScales = columnScales.map { 1 / $0 }
            self.shrinkage = shrinkage
            (self.states, self.farthest, self.format) = (states, farthest, format)
        }
    }

    /// A weight that a search with feedback stores exactly: row and column in the band, and the value.
    package struct FeedbackPatch: Sendable, Hashable {
        /// Its row and its column.
        package let row: Int, column: Int
        /// A value that the element type holds.
        package let value: Float

        /// A patch.
        package init(row: Int, column: Int, value: Float) { (self.row, self.column, self.value) = (row, column, value) }
    }

    /// The weights, targets and errors of a block of columns of a band, column by column.
    @safe package final class FeedbackBlock {
        private var memory = unsafe UnsafeMutableBufferPointer<Float>(start: nil, count: 0)
        private var scratch = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
        private var rowSteps = unsafe UnsafeMutableBufferPointer<Float>(start: nil, count: 0)
        private var patchRoom = unsafe UnsafeMutableBufferPointer<ingot_feedback_patch>(start: nil, count: 0)
        /// Scratch of searches inside blocks, made when it is first needed.
        private var blocksRoom = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
        private(set) var rows = 0, stride = 0, columns = 0
        private static let alignment = 64

        /// A block without memory; `begin` makes it.
        package init() {}

        deinit {
            unsafe memory.deallocate()
            unsafe scratch.deallocate()
            unsafe rowSteps.deallocate()
            unsafe patchRoom.deallocate()
            unsafe blocksRoom.deallocate()
        }

        /// The scratch of `ingot_feedback_blocks`.
        func blocksScratch() -> UnsafeMutableRawPointer? {
            if unsafe blocksRoom.isEmpty {
                unsafe blocksRoom = .allocate(
                    byteCount: Int(INGOT_FEEDBACK_BLOCKS_SCRATCH), alignment: FeedbackBlock.alignment)
            }
            return unsafe blocksRoom.baseAddress
        }

        /// Bytes of a block's memory.
        package static func bytes(rows: Int, columns: Int) -> Int {
            let stride = (rows + 15) / 16 * 16
            return 4 * stride * (4 * columns + 2) + ingot_feedback_scratch(stride, 32)
                + stride * Kernels.stripWidth * MemoryLayout<ingot_feedback_patch>.stride
        }

        /// Begins a block of a band; all numbers are 0.
        package func begin(rows: Int, columns: Int) {
            precondition(rows > 0 && columns > 0, "FeedbackBlock: nothing")
            (self.rows, self.columns) = (rows, columns)
            stride = (rows + 15) / 16 * 16
            let needed = 4 * stride * columns
            if unsafe memory.count < needed {
                unsafe memory.deallocate()
                unsafe memory = FeedbackBlock.floats(needed)
            }
            unsafe memory.extracting(..<needed).update(repeating: 0)
            if unsafe rowSteps.count < 2 * stride {
                unsafe rowSteps.deallocate()
                unsafe rowSteps = FeedbackBlock.floats(2 * stride)
                unsafe scratch.deallocate()
                unsafe scratch = .allocate(
                    byteCount: ingot_feedback_scratch(stride, 32), alignment: FeedbackBlock.alignment)
                unsafe patchRoom.deallocate()
                unsafe patchRoom = .allocate(capacity: stride * Kernels.stripWidth)
            }
        }

        private static func floats(_ count: Int) -> UnsafeMutableBufferPointer<Float> {
            let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 * count, alignment: alignment)
            return unsafe raw.bindMemory(to: Float.self)
        }

        func at(_ part: Int, _ column: Int) -> UnsafeMutablePointer<Float>? {
            unsafe memory.baseAddress.map { unsafe $0 + (part * columns + column) * stride }
        }

        /// Takes weights of some columns from a row-major rectangle: as originals, as weights and as targets.
        ///
        /// - Parameters:
        ///   - first: the first of the columns, counted in the block.
        ///   - weights: rows of `width` weights; the columns begin at `offset` of each.
        package func load(_ weights: Span<Float>, width: Int, offset: Int, columns count: Int, at first: Int) {
            precondition(
                first >= 0 && first + count <= columns && offset >= 0 && offset + count <= width
                    && weights.count >= rows * width, "FeedbackBlock: columns out of range")
            unsafe weights.withUnsafeBufferPointer { weights in
                guard let from = weights.baseAddress, let to = unsafe at(3, first) else { return }
                unsafe ingot_feedback_transpose(from + offset, rows, count, width, to, stride)
                unsafe at(0, first)?.update(from: to, count: count * stride)
                unsafe at(1, first)?.update(from: to, count: count * stride)
            }
        }

        /// Replaces the weights and targets of all columns: adds the originals times the factors of a matrix.
        ///
        /// - Parameter factors: row i has what column i adds to each column of the block; rows are `width` numbers apart.
        package func correct(_ factors: Span<Float>, width: Int) {
            precondition(
                width >= columns && factors.count >= (columns - 1) * width + columns,
                "FeedbackBlock: factors out of range")
            unsafe factors.withUnsafeBufferPointer { factors in
                guard let by = factors.baseAddress, let to = unsafe at(0, 0), let originals = unsafe at(3, 0) else {
                    return
                }
                for first in Swift.stride(from: 0, to: columns, by: Kernels.stripWidth) {
                    unsafe ingot_feedback_product(
                        to + first * stride, originals, stride, stride, by + first, width, columns,
                        min(Kernels.stripWidth, columns - first))
                }
                unsafe at(1, 0)?.update(from: to, count: columns * stride)
            }
        }

        /// Takes restored weights of some columns from a row-major rectangle, for `measureErrors`; parameters as in `load`.
        package func loadRestored(_ weights: Span<Float>, width: Int, offset: Int, columns count: Int, at first: Int) {
            precondition(
                first >= 0 && first + count <= columns && offset >= 0 && offset + count <= width
                    && weights.count >= rows * width, "FeedbackBlock: columns out of range")
            unsafe weights.withUnsafeBufferPointer { weights in
                guard let from = weights.baseAddress, let to = unsafe at(1, first) else { return }
                unsafe ingot_feedback_transpose(from + offset, rows, count, width, to, stride)
            }
        }

        /// Makes the errors those of the originals: original minus restored weight. Call it after the last column is quantized.
        package func measureErrors() {
            guard let errors = unsafe at(2, 0), let restored = unsafe at(1, 0), let originals = unsafe at(3, 0) else {
                return
            }
            for index in 0..<columns * stride { unsafe errors[index] = originals[index] - restored[index] }
        }

        /// Replaces the targets of some columns: adds what the errors of columns `from` bring, each times its factor.
        ///
        /// - Parameters:
        ///   - factors: row i has the factors of error i of the block, one for each column of the block; rows are `width` numbers apart.
        ///   - panel: the columns that take.
        package func carry(_ factors: Span<Float>, width: Int, from: Range<Int>, into panel: Range<Int>) {
            precondition(
                panel.upperBound <= columns && from.upperBound <= columns && width >= columns
                    && factors.count >= (columns - 1) * width + columns, "FeedbackBlock: factors out of range")
            unsafe factors.withUnsafeBufferPointer { factors in
                guard let by = factors.baseAddress, let to = unsafe at(1, panel.lowerBound),
                    let errors = unsafe at(2, from.lowerBound)
                else { return }
                unsafe ingot_feedback_product(
                    to, errors, stride, stride, by + from.lowerBound * width + panel.lowerBound, width, from.count,
                    panel.count)
            }
        }

        /// Quantizes a panel: at most 64 columns, within one strip of the chunk they belong to.
        ///
        /// - Parameters:
        ///   - panel: its columns, counted in the block.
        ///   - factors: as in `carry`; those of the panel's own columns are used.
        ///   - steps: the steps; `columnOffset` is the place of the block's first column in them.
        ///   - strip: the place of the panel's first column in its strip.
        ///   - symbols: of the strip, `rows` times 64.
        ///   - oddMasks: of the strip, one for each row; the bits of the panel's columns are 0.
        ///   - found: receives the patches, with columns counted in the strip.
        package func quantize(
            _ panel: Range<Int>, _ factors: Span<Float>, width: Int, _ steps: FeedbackSteps, columnOffset: Int,
            strip: Int, symbols: inout MutableSpan<Int16>, oddMasks: inout MutableSpan<UInt64>,
            found: inout [FeedbackPatch]
        ) {
            precondition(
                panel.count > 0 && strip + panel.count <= Kernels.stripWidth && panel.upperBound <= columns
                    && width >= columns && factors.count >= (columns - 1) * width + columns
                    && steps.columnScales.count >= columnOffset + panel.upperBound && steps.rowSteps.count == rows
                    && symbols.count >= rows * Kernels.stripWidth && oddMasks.count >= rows,
                "FeedbackBlock: sizes differ")
            let stride = stride, rows = rows
            for row in 0..<stride {
                unsafe rowSteps[row] = row < rows ? steps.rowSteps[row] : 0
                unsafe rowSteps[stride + row] = row < rows ? steps.inverseRowSteps[row] : 0
            }
            let first = columnOffset + panel.lowerBound
            let count = unsafe factors.withUnsafeBufferPointer { factors in
                unsafe symbols.withUnsafeMutableBufferPointer { symbols in
                    unsafe oddMasks.withUnsafeMutableBufferPointer { masks in
                        unsafe steps.columnScales.withUnsafeBufferPointer { scales in
                            unsafe steps.inverseScales.withUnsafeBufferPointer { inverse -> Int in
                                guard let by = factors.baseAddress, let rowSteps = unsafe rowSteps.baseAddress
                                else { return 0 }
                                var kernel = unsafe ingot_feedback_panel()
                                (kernel.rows, kernel.padded_rows, kernel.stride) = (rows, stride, stride)
                                (kernel.columns, kernel.first_column) = (panel.count, strip)
                                (kernel.states, kernel.format) = (Int32(steps.states), Int32(steps.format))
                                kernel.farthest = steps.farthest
                                unsafe kernel.weights = UnsafePointer(at(0, panel.lowerBound))
                                unsafe kernel.targets = at(1, panel.lowerBound)
                                unsafe kernel.errors = at(2, panel.lowerBound)
                                unsafe kernel.coupling = by + panel.lowerBound * width + panel.lowerBound
                                kernel.coupling_stride = width
                                unsafe kernel.row_steps = UnsafePointer(rowSteps)
                                unsafe kernel.inverse_row_steps = UnsafePointer(rowSteps + stride)
                                unsafe kernel.column_scales = scales.baseAddress.map { unsafe $0 + first }
                                unsafe kernel.inverse_scales = inverse.baseAddress.map { unsafe $0 + first }
                                kernel.shrinkage = steps.shrinkage
                                unsafe kernel.symbols = symbols.baseAddress
                                unsafe kernel.odd_masks = masks.baseAddress
                                return unsafe ingot_feedback_panel(
                                    &kernel, scratch.baseAddress?.assumingMemoryBound(to: UInt8.self),
                                    patchRoom.baseAddress)
                            }
                        }
                    }
                }
            }
            for index in 0..<count {
                let patch = unsafe patchRoom[index]
                found.append(FeedbackPatch(row: Int(patch.row), column: Int(patch.column), value: patch.value))
            }
        }

        /// Which numbers of a block `quadraticForm` takes.
        package enum Numbers: Sendable { case originals, errors }

        /// Sum over the rows of a x^T A x, with x a row of the block's originals or errors. Overwrites the targets.
        ///
        /// The products A x are in binary32, in the order of `carry`, each product and each sum rounded. Their products with x are summed in
        /// binary64.
        ///
        /// - Parameters:
        ///   - matrix: of a symmetric A the upper triangle, with all but the diagonal doubled and zeros below; row by row, `width` numbers
        ///     apart.
        package func quadraticForm(_ numbers: Numbers, _ matrix: Span<Float>, width: Int) -> Double {
            precondition(
                width >= columns && matrix.count >= (columns - 1) * width + columns,
                "FeedbackBlock: matrix out of range")
            let part = numbers == .originals ? 3 : 2
            return unsafe matrix.withUnsafeBufferPointer { matrix in
                guard let by = matrix.baseAddress, let all = unsafe at(part, 0), let targets = unsafe at(1, 0) else {
                    return 0
                }
                unsafe targets.update(repeating: 0, count: columns * stride)
                for first in Swift.stride(from: 0, to: columns, by: Kernels.stripWidth) {
                    let end = min(columns, first + Kernels.stripWidth)
                    unsafe ingot_feedback_form(
                        targets + first * stride, all, stride, stride, by + first, width, end, end - first)
                }
                return unsafe ingot_feedback_dot(targets, all, stride, stride, columns)
            }
        }
    }
}
