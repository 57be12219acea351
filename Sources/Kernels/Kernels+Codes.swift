internal import CKernels
package import TensorModel

extension Kernels {
    /// How a code of another quantizer becomes a number.
    package enum CodeKind: Sendable, Hashable {
        /// A whole number from 0 on.
        case unsigned
        /// A byte in two's complement.
        case signed
        /// FP4 of one sign, two exponent bits and one fraction bit: 0, 0.5, 1, 1.5, 2, 3, 4, 6.
        case e2m1
        /// FP8 E4M3 without infinity.
        case e4m3
        /// FP8 E5M2.
        case e5m2
        /// A power of two, 2^(code - 127); 255 is NaN.
        case e8m0
        /// An index of a table.
        case table

        fileprivate var number: Int32 {
            switch self {
            case .unsigned: Int32(INGOT_CODES_UNSIGNED)
            case .signed: Int32(INGOT_CODES_SIGNED)
            case .e2m1: Int32(INGOT_CODES_E2M1)
            case .e4m3: Int32(INGOT_CODES_E4M3)
            case .e5m2: Int32(INGOT_CODES_E5M2)
            case .e8m0: Int32(INGOT_CODES_E8M0)
            case .table: Int32(INGOT_CODES_TABLE)
            }
        }
    }

    /// Unpacks codes from a little-endian bit stream to one byte each.
    ///
    /// - Parameters:
    ///   - packed: at least `count * bits / 8` bytes.
    ///   - count: number of codes, a multiple of 8.
    ///   - bits: 1 to 8.
    ///   - highFirst: with 4 bits, whether the first code of a byte is in its upper half.
    ///   - codes: room for `count` codes.
    package static func unpackCodes(
        _ packed: Span<UInt8>, count: Int, bits: Int, highFirst: Bool, into codes: inout MutableSpan<UInt8>
    ) {
        precondition(
            (1...8).contains(bits) && count % 8 == 0 && packed.count >= count / 8 * bits && codes.count >= count,
            "unpackCodes: sizes differ")
        unsafe packed.withUnsafeBufferPointer { packed in
            unsafe codes.withUnsafeMutableBufferPointer { codes in
                guard let from = packed.baseAddress, let to = codes.baseAddress else { return }
                unsafe ingot_codes_unpack(Int32(bits), highFirst ? 1 : 0, from, to, count)
            }
        }
    }

    /// The values of codes, exact in binary32.
    ///
    /// - Parameters:
    ///   - table: the 256 values of `CodeKind.table`; not read for other kinds.
    ///   - values: room for as many values as `codes` has.
    package static func codeValues(
        _ codes: Span<UInt8>, _ kind: CodeKind, table: Span<Float>, into values: inout MutableSpan<Float>
    ) {
        precondition(values.count >= codes.count && (kind != .table || table.count == 256), "codeValues: sizes differ")
        unsafe codes.withUnsafeBufferPointer { codes in
            unsafe table.withUnsafeBufferPointer { table in
                unsafe values.withUnsafeMutableBufferPointer { values in
                    guard let from = codes.baseAddress, let to = values.baseAddress else { return }
                    unsafe ingot_codes_values(kind.number, table.baseAddress, from, to, codes.count)
                }
            }
        }
    }

    /// Replaces each value v by (v - zero) * scale; with biases, by round(v * scale) + bias.
    ///
    /// - Parameters:
    ///   - values: the values; value i belongs to group (first + i) / group.
    ///   - first: number of values of the first group that come before the first value.
    ///   - group: values of a group.
    ///   - scales: one scale for each group, the first value's first.
    ///   - zeros: as many zero points, or none.
    ///   - biases: as many biases, or none. Zero points and biases exclude each other.
    ///   - between: the format that products are rounded to before a bias is added.
    package static func scaleCodes(
        _ values: inout MutableSpan<Float>, first: Int, group: Int, scales: Span<Float>, zeros: Span<Float>,
        biases: Span<Float>, between: FloatFormat
    ) {
        let groups = (first + values.count + group - 1) / group
        precondition(
            first >= 0 && first < group && scales.count >= groups && (zeros.isEmpty || zeros.count >= groups)
                && (biases.isEmpty || biases.count >= groups) && (zeros.isEmpty || biases.isEmpty),
            "scaleCodes: sizes differ")
        unsafe values.withUnsafeMutableBufferPointer { values in
            unsafe scales.withUnsafeBufferPointer { scales in
                unsafe zeros.withUnsafeBufferPointer { zeros in
                    unsafe biases.withUnsafeBufferPointer { biases in
                        guard let start = values.baseAddress, let scale = scales.baseAddress else { return }
                        unsafe ingot_codes_scale(
                            start, values.count, first, group, scale, zeros.isEmpty ? nil : zeros.baseAddress,
                            biases.isEmpty ? nil : biases.baseAddress, Int32(between.rawValue))
                    }
                }
            }
        }
    }

    /// Adds the number of times that each byte occurs to 256 counts.
    package static func countBytes(_ bytes: Span<UInt8>, into counts: inout MutableSpan<UInt64>) {
        precondition(counts.count == 256, "countBytes: one count for each byte")
        unsafe bytes.withUnsafeBufferPointer { bytes in
            unsafe counts.withUnsafeMutableBufferPointer { counts in
                guard let from = bytes.baseAddress, let to = counts.baseAddress else { return }
                unsafe ingot_codes_count(from, bytes.count, to)
            }
        }
    }

    /// Transposes a matrix of rows x columns elements of `width` bytes.
    ///
    /// - Parameters:
    ///   - width: 1, 2 or 4.
    ///   - result: room for the whole matrix; it does not overlap `matrix`.
    package static func transpose(
        _ matrix: Span<UInt8>, rows: Int, columns: Int, width: Int, into result: inout MutableSpan<UInt8>
    ) {
        let size = rows * columns * width
        precondition(
            [1, 2, 4].contains(width) && matrix.count >= size && result.count >= size, "transpose: sizes differ")
        unsafe matrix.withUnsafeBufferPointer { from in
            unsafe result.withUnsafeMutableBufferPointer { to in
                guard let from = from.baseAddress, let to = to.baseAddress else { return }
                unsafe ingot_codes_transpose(Int32(width), from, to, rows, columns)
            }
        }
    }
}
