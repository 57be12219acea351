internal import CKernels

extension Kernels {
    /// How codes share bytes (Specs/uniform.md, "Codes").
    package enum CodeLayout: Sendable, Hashable, CaseIterable {
        /// One little-endian bit stream, code i at bits [i * bits, (i + 1) * bits).
        case dense
        /// Whole codes per byte: 4 at 2 bits, 2 at 3 and 4 bits, 1 at 5, 6 and 8 bits.
        case aligned

        fileprivate var number: Int32 {
            switch self {
            case .dense: Int32(INGOT_LAYOUT_DENSE)
            case .aligned: Int32(INGOT_LAYOUT_ALIGNED)
            }
        }
    }

    /// Why `unpack` refuses bytes.
    package enum UnpackFault: Error, Sendable, Hashable {
        /// A code has a bit set above its width.
        case codeTooLarge
        /// A padding bit behind the last code is set.
        case tailNotZero
    }

    /// Bytes that `count` packed codes of `bits` bits take.
    package static func packedByteCount(_ layout: CodeLayout, bits: Int, count: Int) -> Int {
        precondition([2, 3, 4, 5, 6, 8].contains(bits), "packedByteCount: unsupported width")
        return ingot_packed_byte_count(layout.number, Int32(bits), count)
    }

    /// Packs codes of one byte each. Traps if a code is 2^bits or more.
    ///
    /// - Parameters:
    ///   - codes: one byte per code.
    ///   - layout: how the codes share bytes.
    ///   - bits: 2, 3, 4, 5, 6 or 8.
    ///   - packed: at least `packedByteCount` bytes.
    package static func pack(
        _ codes: Span<UInt8>, _ layout: CodeLayout, bits: Int, into packed: inout MutableSpan<UInt8>
    ) {
        precondition(
            packed.count >= packedByteCount(layout, bits: bits, count: codes.count), "pack: sizes differ")
        let status: Int32 = unsafe codes.withUnsafeBufferPointer { codes in
            unsafe packed.withUnsafeMutableBufferPointer { packed in
                guard let from = codes.baseAddress, let to = packed.baseAddress else { return 0 }
                return unsafe ingot_pack(layout.number, Int32(bits), from, to, codes.count)
            }
        }
        precondition(status == 0, "pack: a code has more than \(bits) bits")
    }

    /// Unpacks codes to one byte each.
    ///
    /// - Parameters:
    ///   - packed: at least `packedByteCount` bytes.
    ///   - count: number of codes to unpack.
    ///   - layout: how the codes share bytes.
    ///   - bits: 2, 3, 4, 5, 6 or 8.
    ///   - codes: room for at least `start + count` codes; undefined when this throws.
    ///   - start: index of the first code in `codes`.
    /// - Throws: `UnpackFault` if a bit is set that no code uses.
    package static func unpack(
        _ packed: Span<UInt8>, count: Int, _ layout: CodeLayout, bits: Int,
        into codes: inout MutableSpan<UInt8>, at start: Int = 0
    ) throws(UnpackFault) {
        precondition(
            packed.count >= packedByteCount(layout, bits: bits, count: count) && start >= 0
                && codes.count >= start + count,
            "unpack: sizes differ")
        let status: Int32 = unsafe packed.withUnsafeBufferPointer { packed in
            unsafe codes.withUnsafeMutableBufferPointer { codes in
                guard let from = packed.baseAddress, let to = codes.baseAddress else { return 0 }
                return unsafe ingot_unpack(layout.number, Int32(bits), from, to + start, count)
            }
        }
        switch Int(status) {
        case INGOT_UNPACK_OK: return
        case INGOT_UNPACK_TAIL_NOT_ZERO: throw .tailNotZero
        default: throw .codeTooLarge
        }
    }
}
