package import TensorModel

/// The kernels in plain scalar Swift. Tests compare both bit for bit.
///
/// It is slow on purpose: one element or one group at a time, and where possible by another method than the kernels.
package enum Reference {
    /// The little-endian integer of `width` bytes at byte `start`.
    static func integer(_ bytes: [UInt8], at start: Int, width: Int) -> UInt32 {
        (0..<width).reduce(0) { $0 | UInt32(bytes[start + $1]) << UInt32(8 * $1) }
    }

    /// The elements of `bytes` as binary32.
    package static func expand(_ bytes: [UInt8], _ format: FloatFormat) -> [Float] {
        stride(from: 0, to: bytes.count, by: format.byteWidth).map {
            expanded(integer(bytes, at: $0, width: format.byteWidth), format)
        }
    }

    /// One element as binary32.
    package static func expanded(_ element: UInt32, _ format: FloatFormat) -> Float {
        switch format {
        case .f32: return Float(bitPattern: element)
        case .bf16: return Float(bitPattern: element << 16)
        case .f16:
            let sign: FloatingPointSign = element & 0x8000 == 0 ? .plus : .minus
            let exponent = Int(element >> 10 & 0x1f)
            let fraction = element & 0x3ff
            if exponent == 31 {
                // Infinity, or a NaN, which becomes quiet.
                let quiet: UInt32 = fraction == 0 ? 0 : 0x0040_0000
                return Float(bitPattern: (element & 0x8000) << 16 | 0x7f80_0000 | fraction << 13 | quiet)
            }
            let significand = Float(exponent == 0 ? fraction : fraction + 1024)
            return Float(sign: sign, exponent: max(exponent, 1) - 25, significand: significand)
        }
    }

    /// `value` as an element of `format`, rounded to nearest, ties to even.
    package static func narrowed(_ value: Float, _ format: FloatFormat) -> UInt32 {
        let bits = value.bitPattern
        guard format != .f32 else { return bits }
        let (fractionBits, bias) = format == .f16 ? (10, 15) : (7, 127)
        let sign = (bits >> 31) << 15
        let infinity = (UInt32(2 * bias + 1)) << UInt32(fractionBits)
        if value.isNaN {
            let kept = (bits & 0x007f_ffff) >> UInt32(23 - fractionBits)
            return sign | infinity | kept | 1 << UInt32(fractionBits - 1)
        }
        // In binary64 all steps below are exact, except the rounding.
        let size = Double(value.magnitude)
        guard size > 0 else { return sign }
        guard size.isFinite else { return sign | infinity }
        let exponent = max(Int(size.exponent), 1 - bias)
        let unit = Double(sign: .plus, exponent: exponent - fractionBits, significand: 1)
        let units = UInt32((size / unit).rounded(.toNearestOrEven))
        // The implicit leading one adds 1 to the exponent field. A rounding up to the next power of two does the same.
        let element = UInt32(exponent + bias - 1) << UInt32(fractionBits) + units
        return sign | min(element, infinity)
    }

    /// `values` as bytes of `format`, and the number of finite values that became infinite.
    package static func narrow(_ values: [Float], _ format: FloatFormat) -> (bytes: [UInt8], overflows: Int) {
        var bytes: [UInt8] = []
        var overflows = 0
        for value in values {
            let element = narrowed(value, format)
            for byte in 0..<format.byteWidth { bytes.append(UInt8(truncatingIfNeeded: element >> UInt32(8 * byte))) }
            if value.isFinite && !expanded(element, format).isFinite { overflows += 1 }
        }
        return (bytes, overflows)
    }

    /// The sums of `Kernels.errorSums`.
    package static func errorSums(_ original: [Float], _ restored: [Float]) -> ErrorSums {
        var lanes = [ErrorSums](repeating: .zero, count: 16)
        for index in original.indices {
            let w = Double(original[index])
            let difference = w - Double(restored[index])
            lanes[index % 16].signal += w * w
            lanes[index % 16].noise += difference * difference
            lanes[index % 16].maxError = max(lanes[index % 16].maxError, difference.magnitude)
        }
        for half in [8, 4, 2, 1] {
            for lane in 0..<half { lanes[lane] = lanes[lane] + lanes[lane + half] }
        }
        return lanes[0]
    }

    /// Packs codes in `layout`, bit by bit.
    package static func pack(_ codes: [UInt8], _ layout: BitPacking.Layout, bits: Int) -> [UInt8] {
        let codesPerByte = bits == 2 ? 4 : bits <= 4 ? 2 : 1
        var bytes: [UInt8] = []
        for (index, code) in codes.enumerated() {
            for bit in 0..<bits {
                let position =
                    switch layout {
                    case .dense: index * bits + bit
                    case .aligned: index / codesPerByte * 8 + index % codesPerByte * bits + bit
                    }
                while bytes.count <= position / 8 { bytes.append(0) }
                bytes[position / 8] |= (code >> UInt8(bit) & 1) << UInt8(position % 8)
            }
        }
        return bytes
    }

    /// The byte planes of elements of `width` bytes, each first rotated left by one bit if `rotated`.
    package static func planes(_ bytes: [UInt8], width: Int, rotated: Bool) -> [UInt8] {
        let count = bytes.count / width
        var planes = [UInt8](repeating: 0, count: bytes.count)
        for index in 0..<count {
            var element = UInt64(integer(bytes, at: index * width, width: width))
            if rotated { element = element << 1 | element >> UInt64(8 * width - 1) }
            for plane in 0..<width {
                planes[plane * count + index] = UInt8(truncatingIfNeeded: element >> UInt64(8 * plane))
            }
        }
        return planes
    }
}
