internal import Kernels

/// Packs codes of one byte each into fewer bits, and unpacks them.
///
/// Buffers may be longer than the data; only their beginning is read and written.
package enum BitPacking {
    /// How codes share bytes (Specs/uniform.md, "Codes").
    package enum Layout: Sendable, Hashable, CaseIterable {
        /// One little-endian bit stream, code i at bits [i * bits, (i + 1) * bits): the fewest bytes.
        case dense
        /// Whole codes per byte, for an entropy coder: 4 at 2 bits, 2 at 3 and 4 bits, 1 at 5, 6 and 8 bits.
        case aligned

        var kernel: Kernels.CodeLayout {
            switch self {
            case .dense: .dense
            case .aligned: .aligned
            }
        }
    }

    /// Bytes that `count` codes of `bits` (2, 3, 4, 5, 6 or 8) bits take.
    package static func byteCount(_ layout: Layout, bits: Int, count: Int) -> Int {
        Kernels.packedByteCount(layout.kernel, bits: bits, count: count)
    }

    /// Whether the two layouts differ for codes of `bits` bits.
    package static func layoutsDiffer(bits: Int) -> Bool { 8 % bits != 0 }

    /// Packs the first `count` codes, each below 2^bits, into the first `byteCount` bytes of `packed`.
    package static func pack(
        _ codes: [UInt8], count: Int, _ layout: Layout, bits: Int, into packed: inout [UInt8]
    ) {
        var target = packed.mutableSpan
        Kernels.pack(codes.span.extracting(first: count), layout.kernel, bits: bits, into: &target)
    }

    /// Unpacks `count` codes from the first `byteCount` bytes of `packed` into the first elements of `codes`.
    ///
    /// - Throws: `codeTooLarge` or `tailNotZero`; `codes` is then undefined.
    package static func unpack(
        _ packed: [UInt8], count: Int, _ layout: Layout, bits: Int, into codes: inout [UInt8]
    ) throws(DecodingFailure) {
        var target = codes.mutableSpan
        do throws(Kernels.UnpackFault) {
            try Kernels.unpack(packed.span, count: count, layout.kernel, bits: bits, into: &target)
        } catch {
            switch error {
            case .codeTooLarge: throw .codeTooLarge
            case .tailNotZero: throw .tailNotZero
            }
        }
    }
}
