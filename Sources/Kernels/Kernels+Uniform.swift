internal import CKernels
package import TensorModel

extension Kernels {
    /// The longest group that `uniformRound` and `uniformEncode` accept. With scales of both signs `uniformEncode` accepts longer ones.
    package static var maximumGroupSize: Int { Int(INGOT_MAX_GROUP_SIZE) }

    /// The shape of a chunk and of the groups its rows are cut into.
    package struct Grouping: Sendable, Hashable {
        /// Number of rows.
        package var rows: Int
        /// Number of columns.
        package var columns: Int
        /// Weights per group; the last group of a row may be shorter.
        package var groupSize: Int

        /// A chunk of `rows` x `columns` weights in groups of `groupSize`.
        package init(rows: Int, columns: Int, groupSize: Int) {
            precondition(rows >= 0 && columns >= 0 && groupSize > 0, "Grouping: negative or empty")
            self.rows = rows
            self.columns = columns
            self.groupSize = groupSize
        }

        /// Number of weights in the chunk.
        package var weightCount: Int { rows * columns }
        /// Number of groups in a row.
        package var groupsPerRow: Int { columns / groupSize + (columns % groupSize == 0 ? 0 : 1) }
        /// Number of groups in the chunk. Groups are in order row by row.
        package var groupCount: Int { rows * groupsPerRow }
    }

    /// What a group has beside its codes.
    package enum GroupKind: Sendable, Hashable {
        /// A scale of 0 or more, and a bias.
        case affine
        /// A scale of 0 or more; codes around zero.
        case symmetric
        /// A scale of either sign; codes around zero.
        case signed

        fileprivate var number: Int32 {
            switch self {
            case .affine: Int32(INGOT_UNIFORM_AFFINE)
            case .symmetric: Int32(INGOT_UNIFORM_SYMMETRIC)
            case .signed: Int32(INGOT_UNIFORM_SIGNED)
            }
        }
    }

    /// Searches scale, bias and codes of every group (Specs/uniform.md, "The encoder: the search").
    ///
    /// - Parameters:
    ///   - weights: finite, row-major.
    ///   - grouping: the shape of the chunk; groups of at most `maximumGroupSize`, or of any size if `signed`.
    ///   - bits: 2, 3, 4, 5, 6 or 8.
    ///   - kind: what groups have.
    ///   - scaleFormat: element type that scales and biases are stored in. Each is exactly representable in it.
    ///   - codes: room for one byte per weight.
    ///   - scales: room for one per group.
    ///   - biases: room for one per group; written if affine.
    package static func uniformEncode(
        _ weights: Span<Float>, grouping: Grouping, bits: Int, kind: GroupKind, scaleFormat: FloatFormat,
        codes: inout MutableSpan<UInt8>, scales: inout MutableSpan<Float>, biases: inout MutableSpan<Float>
    ) {
        let groups = grouping.groupCount
        let isLong = grouping.groupSize > maximumGroupSize
        precondition(!isLong || kind == .signed, "uniformEncode: group too long")
        precondition([2, 3, 4, 5, 6, 8].contains(bits), "uniformEncode: unsupported width")
        precondition(
            weights.count == grouping.weightCount && codes.count >= weights.count && scales.count >= groups
                && (kind != .affine || biases.count >= groups), "uniformEncode: sizes differ")
        let scratch = UnsafeMutableRawBufferPointer.allocate(
            byteCount: isLong ? scratchBytes(groupSize: grouping.groupSize) : 0, alignment: 64)
        defer { unsafe scratch.deallocate() }
        unsafe weights.withUnsafeBufferPointer { weights in
            unsafe codes.withUnsafeMutableBufferPointer { codes in
                unsafe scales.withUnsafeMutableBufferPointer { scales in
                    unsafe biases.withUnsafeMutableBufferPointer { biases in
                        guard weights.count > 0 else { return }
                        unsafe ingot_uniform_encode(
                            weights.baseAddress, grouping.rows, grouping.columns, grouping.groupSize,
                            Int32(bits), kind.number, Int32(scaleFormat.rawValue), isLong ? scratch.baseAddress : nil,
                            codes.baseAddress, scales.baseAddress, biases.baseAddress)
                    }
                }
            }
        }
    }

    /// Bytes that `uniformEncode` needs beside its arguments for groups of this size.
    package static func scratchBytes(groupSize: Int) -> Int { groupSize > maximumGroupSize ? 64 * groupSize : 0 }

    /// Finds scale, bias and codes of every group by plain rounding (Specs/uniform.md, "The encoder: plain rounding").
    ///
    /// - Parameters:
    ///   - source: finite elements, little-endian and row-major.
    ///   - format: element type of `source`. Every scale and bias is exactly representable in it.
    ///   - grouping: the shape of the chunk; groups of at most `maximumGroupSize`.
    ///   - bits: 2, 3, 4, 5, 6 or 8.
    ///   - symmetric: whether groups have a scale and no bias.
    ///   - codes: room for one byte per weight.
    ///   - scales: room for one per group.
    ///   - biases: room for one per group; not written if symmetric.
    /// - Returns: the sums of `errorSums` over the weights and the restored weights.
    package static func uniformRound(
        _ source: Span<UInt8>, format: FloatFormat, grouping: Grouping, bits: Int, symmetric: Bool,
        codes: inout MutableSpan<UInt8>, scales: inout MutableSpan<Float>, biases: inout MutableSpan<Float>
    ) -> (signal: Double, noise: Double, maxError: Double) {
        let groups = grouping.groupCount
        precondition(grouping.groupSize <= maximumGroupSize, "uniformRound: group too long")
        precondition([2, 3, 4, 5, 6, 8].contains(bits), "uniformRound: unsupported width")
        precondition(
            source.count == grouping.weightCount * format.byteWidth && codes.count >= grouping.weightCount
                && scales.count >= groups && (symmetric || biases.count >= groups), "uniformRound: sizes differ")
        return unsafe source.withUnsafeBufferPointer { source in
            unsafe codes.withUnsafeMutableBufferPointer { codes in
                unsafe scales.withUnsafeMutableBufferPointer { scales in
                    unsafe biases.withUnsafeMutableBufferPointer { biases in
                        guard source.count > 0 else { return (0, 0, 0) }
                        let sums = unsafe ingot_uniform_round(
                            Int32(format.rawValue), source.baseAddress, grouping.rows, grouping.columns,
                            grouping.groupSize, Int32(bits), symmetric ? 1 : 0, codes.baseAddress,
                            scales.baseAddress, biases.baseAddress)
                        return (sums.signal, sums.noise, sums.max_error)
                    }
                }
            }
        }
    }

    /// Restores a chunk: scale * code + bias, or scale * (code - 2^(bits-1)) if symmetric; binary32, each operation rounded.
    ///
    /// - Parameters:
    ///   - codes: one byte per weight, row-major.
    ///   - scales: one per group.
    ///   - biases: one per group; not read if symmetric.
    ///   - grouping: the shape of the chunk.
    ///   - bits: 2, 3, 4, 5, 6 or 8.
    ///   - symmetric: whether groups have a scale and no bias.
    ///   - weights: room for as many weights as there are codes.
    package static func uniformDecode(
        codes: Span<UInt8>, scales: Span<Float>, biases: Span<Float>, grouping: Grouping, bits: Int,
        symmetric: Bool, into weights: inout MutableSpan<Float>
    ) {
        let groups = grouping.groupCount
        precondition(
            codes.count == grouping.weightCount && weights.count >= codes.count && scales.count >= groups
                && (symmetric || biases.count >= groups), "uniformDecode: sizes differ")
        unsafe codes.withUnsafeBufferPointer { codes in
            unsafe scales.withUnsafeBufferPointer { scales in
                unsafe biases.withUnsafeBufferPointer { biases in
                    unsafe weights.withUnsafeMutableBufferPointer { weights in
                        guard codes.count > 0 else { return }
                        unsafe ingot_uniform_decode(
                            codes.baseAddress, scales.baseAddress,
                            symmetric ? nil : biases.baseAddress, grouping.rows, grouping.columns,
                            grouping.groupSize, Int32(bits), weights.baseAddress)
                    }
                }
            }
        }
    }
}
