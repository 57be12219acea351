// Blocks of 32 weights. The lower half of byte i holds the code of weight i, the upper half that of weight i + 16.

/// One scale and 8-bit signed codes: w = q d.
enum Q8_0: BlockDecoder {
    static let elements = 32
    static let bytes = 34

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let scale = block.half(0)
        for index in 0..<32 { target.set(index, Float(Int8(bitPattern: block[2 + index])) * scale) }
    }
}

/// One scale and 4-bit codes: w = (q - 8) d.
enum Q4_0: BlockDecoder {
    static let elements = 32
    static let bytes = 18

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let scale = block.half(0)
        for index in 0..<16 {
            target.set(index, Float(block.low(2 + index) &- 8) * scale)
            target.set(index + 16, Float(block.high(2 + index) &- 8) * scale)
        }
    }
}

/// One scale, one minimum and 4-bit codes: w = q d + m.
enum Q4_1: BlockDecoder {
    static let elements = 32
    static let bytes = 20

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let scale = block.half(0)
        let minimum = block.half(2)
        for index in 0..<16 {
            target.set(index, Float(block.low(4 + index)) * scale + minimum)
            target.set(index + 16, Float(block.high(4 + index)) * scale + minimum)
        }
    }
}

/// The fifth bits of 32 codes, in 4 bytes.
private struct FifthBits {
    let bits: UInt32

    @inline(__always)
    init(_ block: Span<UInt8>, at start: Int) {
        bits =
            UInt32(block[start]) | UInt32(block[start + 1]) << 8 | UInt32(block[start + 2]) << 16
            | UInt32(block[start + 3]) << 24
    }

    /// The fifth bit of a weight's code, with its value: 16 or 0.
    @inline(__always)
    func of(_ index: Int) -> Int32 { Int32(truncatingIfNeeded: (bits &>> UInt32(truncatingIfNeeded: index) & 1) << 4) }
}

/// One scale and 5-bit codes: w = (q - 16) d.
enum Q5_0: BlockDecoder {
    static let elements = 32
    static let bytes = 22

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let scale = block.half(0)
        let fifth = FifthBits(block, at: 2)
        for index in 0..<16 {
            target.set(index, Float((block.low(6 + index) | fifth.of(index)) &- 16) * scale)
            target.set(index + 16, Float((block.high(6 + index) | fifth.of(index + 16)) &- 16) * scale)
        }
    }
}

/// One scale, one minimum and 5-bit codes: w = q d + m.
enum Q5_1: BlockDecoder {
    static let elements = 32
    static let bytes = 24

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let scale = block.half(0)
        let minimum = block.half(2)
        let fifth = FifthBits(block, at: 4)
        for index in 0..<16 {
            target.set(index, Float(block.low(8 + index) | fifth.of(index)) * scale + minimum)
            target.set(index + 16, Float(block.high(8 + index) | fifth.of(index + 16)) * scale + minimum)
        }
    }
}

/// One scale and 4-bit codes that select one of sixteen values: w = d v.
enum IQ4_NL: BlockDecoder {
    static let elements = 32
    static let bytes = 18

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let scale = block.half(0)
        for index in 0..<16 {
            target.set(index, scale * NonLinear.value(block.low(2 + index)))
            target.set(index + 16, scale * NonLinear.value(block.high(2 + index)))
        }
    }
}

/// A power of two as scale and 4-bit codes in E2M1, of the OCP microscaling formats. Here the values are doubled and the scale is halved.
enum MXFP4: BlockDecoder {
    static let elements = 32
    static let bytes = 17

    private static let values: [16 of Float] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        // Half of 2^(e - 127); the two smallest are subnormal. As in ggml, 255 is not NaN.
        let exponent = UInt32(block[0])
        let scale = Float(bitPattern: exponent < 2 ? 0x0020_0000 << exponent : (exponent &- 1) << 23)
        for index in 0..<16 {
            target.set(index, values[Int(block.low(1 + index))] * scale)
            target.set(index + 16, values[Int(block.high(1 + index))] * scale)
        }
    }
}
