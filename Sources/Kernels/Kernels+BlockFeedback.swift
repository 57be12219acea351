internal import CKernels
package import TensorModel

extension Kernels {
    /// A format whose blocks or groups are searched with error feedback (Specs/exports.md, "Error feedback inside blocks").
    package enum FeedbackFormat: Sendable, Hashable {
        /// Blocks of a ggml type; not MXFP4.
        case blocks(BlockType)
        /// Groups of `size` weights with a scale and a bias, stored in `scales`.
        case affine(bits: Int, size: Int, scales: FloatFormat)
        /// Groups of `size` weights with a scale of either sign, stored in `scales`, and codes around zero.
        case symmetric(bits: Int, size: Int, scales: FloatFormat)
        /// Codes around zero for a scale that each row brings, which `scales` holds.
        case given(bits: Int, scales: FloatFormat)

        /// Columns that are searched together, at most: of a super-block, block or group.
        package var columns: Int {
            switch self {
            case .blocks(let type): type.elements
            case .affine(_, let size, _), .symmetric(_, let size, _): size
            case .given: 64
            }
        }

        /// Searches begin at multiples of this many columns.
        package var alignment: Int { if case .given = self { 1 } else { columns } }

        /// Whether there is such a search.
        package var isKnown: Bool { self != .blocks(.mxfp4) }

        /// Type, bits and format as the kernel numbers them.
        fileprivate var numbers: (type: Int32, bits: Int32, format: Int32) {
            switch self {
            case .blocks(let type): (Int32(type.rawValue), 0, Int32(FloatFormat.f16.rawValue))
            case .affine(let bits, _, let scales):
                (Int32(INGOT_FEEDBACK_AFFINE), Int32(bits), Int32(scales.rawValue))
            case .symmetric(let bits, _, let scales):
                (Int32(INGOT_FEEDBACK_SYMMETRIC), Int32(bits), Int32(scales.rawValue))
            case .given(let bits, let scales): (Int32(INGOT_FEEDBACK_GIVEN), Int32(bits), Int32(scales.rawValue))
            }
        }
    }

    /// Codes and scales of a block of columns of a band, column by column; `stride` rows each, the band's padded to a multiple of 16.
    package struct FeedbackResults: Sendable {
        /// A code for each column and row; sub-scales and mins of super-blocks.
        package fileprivate(set) var codes: [UInt8] = []
        fileprivate var scales: [Int8] = [], mins: [UInt8] = []
        /// A step and an offset for each row: of a group, its scale and its bias.
        package fileprivate(set) var steps: [Float] = [], offsets: [Float] = []
        /// Rows that a column has here.
        package fileprivate(set) var stride = 0

        /// No results yet.
        package init() {}

        fileprivate mutating func prepare(columns: Int, stride: Int) {
            self.stride = stride
            codes.grow(to: columns * stride)
            scales.grow(to: 16 * stride)
            mins.grow(to: 16 * stride)
            steps.grow(to: stride)
            offsets.grow(to: stride)
        }
    }
}

extension Kernels.FeedbackBlock {
    /// Searches codes and scales of some columns, which take all that earlier columns carry to them before.
    ///
    /// - Parameters:
    ///   - range: columns of the block: one super-block, block or group of the format.
    ///   - coupling: how much column j of the block takes of the error of column i, at `width * i + j`, for i < j.
    ///   - pivots: R_jj of each column of the block.
    ///   - scales: of each row, for the format `given`.
    ///   - results: receives the codes and scales.
    package func search(
        _ range: Range<Int>, _ format: Kernels.FeedbackFormat, coupling: Span<Float>, width: Int, pivots: Span<Float>,
        scales: [Float] = [], into results: inout Kernels.FeedbackResults
    ) {
        precondition(
            range.lowerBound >= 0 && range.upperBound <= columns && range.count <= format.columns && width >= columns
                && coupling.count >= (columns - 1) * width + columns && pivots.count >= columns && format.isKnown,
            "FeedbackBlock: sizes differ")
        results.prepare(columns: range.count, stride: stride)
        if case .given = format {
            precondition(scales.count >= rows, "FeedbackBlock: rows without scales")
            for row in 0..<stride { results.steps[row] = row < rows ? scales[row] : 0 }
        }
        let scratch = unsafe blocksScratch()
        unsafe run(range, format, coupling, width, pivots, &results) { kernel in
            guard let scratch = unsafe scratch else { return }
            let status = unsafe ingot_feedback_blocks(&kernel, scratch)
            precondition(status == INGOT_BLOCKS_OK, "FeedbackBlock: a format without a search")
        }
    }

    /// Packs what `search` found for a ggml type.
    ///
    /// - Parameters:
    ///   - blocks: receives the block of row r at `offset + r * rowBytes`, for all rows, padded ones too.
    package func pack(
        _ results: inout Kernels.FeedbackResults, columns count: Int, _ type: BlockType, into blocks: inout [UInt8],
        offset: Int, rowBytes: Int
    ) {
        precondition(
            results.stride == stride && offset >= 0 && offset + (stride - 1) * rowBytes + type.bytes <= blocks.count,
            "FeedbackBlock: no room for the blocks")
        let empty: [Float] = []
        unsafe blocks.withUnsafeMutableBufferPointer { blocks in
            guard let to = blocks.baseAddress else { return }
            unsafe run(0..<count, .blocks(type), empty.span, 0, empty.span, &results) { kernel in
                let status = unsafe ingot_feedback_pack(&kernel, to + offset, rowBytes)
                precondition(status == INGOT_BLOCKS_OK, "FeedbackBlock: a type without blocks")
            }
        }
    }

    private func run(
        _ range: Range<Int>, _ format: Kernels.FeedbackFormat, _ coupling: Span<Float>, _ width: Int,
        _ pivots: Span<Float>, _ results: inout Kernels.FeedbackResults,
        _ body: (inout ingot_feedback_blocks) -> Void
    ) {
        let numbers = format.numbers
        unsafe coupling.withUnsafeBufferPointer { coupling in
            unsafe pivots.withUnsafeBufferPointer { pivots in
                unsafe results.codes.withUnsafeMutableBufferPointer { codes in
                    unsafe results.scales.withUnsafeMutableBufferPointer { scales in
                        unsafe results.mins.withUnsafeMutableBufferPointer { mins in
                            unsafe results.steps.withUnsafeMutableBufferPointer { steps in
                                unsafe results.offsets.withUnsafeMutableBufferPointer { offsets in
                                    var kernel = unsafe ingot_feedback_blocks()
                                    (kernel.type, kernel.bits, kernel.format) = numbers
                                    (kernel.columns, kernel.rows, kernel.stride) = (range.count, stride, stride)
                                    unsafe kernel.weights = UnsafePointer(at(0, range.lowerBound))
                                    unsafe kernel.targets = at(1, range.lowerBound)
                                    unsafe kernel.errors = at(2, range.lowerBound)
                                    unsafe kernel.coupling = coupling.baseAddress.map {
                                        unsafe $0 + range.lowerBound * width + range.lowerBound
                                    }
                                    kernel.coupling_stride = width
                                    unsafe kernel.pivots = pivots.baseAddress.map { unsafe $0 + range.lowerBound }
                                    unsafe kernel.codes = codes.baseAddress
                                    unsafe kernel.scales = scales.baseAddress
                                    unsafe kernel.mins = mins.baseAddress
                                    unsafe kernel.steps = steps.baseAddress
                                    unsafe kernel.offsets = offsets.baseAddress
                                    unsafe body(&kernel)
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
