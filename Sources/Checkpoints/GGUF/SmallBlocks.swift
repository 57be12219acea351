// Blocks of 32 weights. The code of weight i is in the lower half of byte i, that of weight i + 16 in the upper half.

/// A scale and signed bytes: w = q d.
enum Q8_0: BlockDecoder {
    static let elements = 32
    static let bytes = 34

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let scale = block.half(0)
        for index in 0..<32 { target.set(index, Float(Int8(bitPattern: block[2 + index])) * scale) }
    }
}

/// A scale and four bits: w = (q - 8) d.
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

/// A scale, a minimum and four bits: w = q d + m.
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

/// The fifth bits of 32 codes, one after the other.
private struct FifthBits {
    let bits: UInt32

    @inline(__always)
    init(_ block: Span<UInt8>, at start: Int) {
        bits =
            UInt32(block[start]) | UInt32(block[start + 1]) << 8 | UInt32(block[start + 2]) << 16
            | UInt32(block[start + 3]) << 24
    }

    /// The bit of a weight, as the 16 that it counts.
    @inline(__always)
    func of(_ index: Int) -> Int32 { Int32(truncatingIfNeeded: (bits &>> UInt32(truncatingIfNeeded: index) & 1) << 4) }
}

/// A scale and five bits: w = (q - 16) d.
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

/// A scale, a minimum and five bits: w = q d + m.
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

/// A scale and four bits that stand for one of sixteen values.
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

/// A power of two and four bits, E2M1: of the OCP microscaling formats, with the values twice as large and the scale half.
enum MXFP4: BlockDecoder {
    static let elements = 32
    static let bytes = 17

    private static let values: [16 of Float] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        // Half of 2^(e - 127); the two smallest are subnormal. 255 is no NaN here, as it is none in ggml.
        let exponent = UInt32(block[0])
        let scale = Float(bitPattern: exponent < 2 ? 0x0020_0000 << exponent : (exponent &- 1) << 23)
        for index in 0..<16 {
            target.set(index, values[Int(block.low(1 + index))] * scale)
            target.set(index + 16, values[Int(block.high(1 + index))] * scale)
        }
    }
}
