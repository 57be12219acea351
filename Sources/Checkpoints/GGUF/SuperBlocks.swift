// Super-blocks of 256 weights. Groups of 16 or 32 weights have small scales of their own, in units of the block's scale.

/// 16 groups of 16 weights with a 4-bit scale and a 4-bit minimum, 2-bit codes: w = (d s) q - (dmin m).
enum Q2_K: BlockDecoder {
    static let elements = 256
    static let bytes = 84

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let unit = block.half(80)
        let minimumUnit = block.half(82)
        for half in 0..<2 {
            for group in 0..<8 {
                let scale = unit * Float(block.low(8 * half + group))
                let minimum = minimumUnit * Float(block.high(8 * half + group))
                let shift = UInt8(truncatingIfNeeded: group & 6)
                for index in 0..<16 {
                    let byte = block[16 + 32 * half + 16 * (group & 1) + index]
                    target.set(128 * half + 16 * group + index, scale * Float(byte &>> shift & 3) - minimum)
                }
            }
        }
    }
}

/// 16 groups of 16 weights with a 6-bit scale, 3-bit codes with the third bits stored apart: w = (d (s - 32)) (q - 4).
enum Q3_K: BlockDecoder {
    static let elements = 256
    static let bytes = 110

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let unit = block.half(108)
        for half in 0..<2 {
            for group in 0..<8 {
                let scale = unit * Float(scale(of: 8 * half + group, block) &- 32)
                let shift = UInt8(truncatingIfNeeded: group & 6)
                let third = UInt8(truncatingIfNeeded: 4 * half + group / 2)
                for index in 0..<16 {
                    let place = 16 * (group & 1) + index
                    let low = Int32(block[32 + 32 * half + place] &>> shift & 3)
                    let high = Int32(block[place] &>> third & 1)
                    target.set(128 * half + 16 * group + index, scale * Float(low &+ 4 &* high &- 4))
                }
            }
        }
    }

    /// The 6-bit scale of a group: the lower four bits of 16 scales are in eight bytes, the upper two bits in the next four.
    @inline(__always)
    private static func scale(of group: Int, _ block: Span<UInt8>) -> Int32 {
        let low = group < 8 ? block.low(96 + group) : block.high(96 + group - 8)
        let high = Int32(block[104 + (group & 3)] &>> UInt8(truncatingIfNeeded: 2 * (group / 4)) & 3)
        return low | high << 4
    }
}

/// The 6-bit scales and minima of eight groups, in twelve bytes.
private struct ScalesAndMinima {
    /// Scale and minimum of a group. The first four bytes hold scales 0 to 3 and the next four hold minima 0 to 3, in their lower six bits.
    /// The last four bytes hold the lower four bits of scales and minima 4 to 7, whose upper two bits are in the upper bits of the first
    /// eight.
    @inline(__always)
    static func of(_ group: Int, _ block: Span<UInt8>, at start: Int) -> (scale: Float, minimum: Float) {
        if group < 4 {
            return (Float(block[start + group] & 63), Float(block[start + group + 4] & 63))
        }
        let scale = block[start + group + 4] & 15 | (block[start + group - 4] >> 6) << 4
        let minimum = block[start + group + 4] >> 4 | (block[start + group] >> 6) << 4
        return (Float(scale), Float(minimum))
    }
}

/// 8 groups of 32 weights with a 6-bit scale and a 6-bit minimum, 4-bit codes: w = (d s) q - (dmin m).
enum Q4_K: BlockDecoder {
    static let elements = 256
    static let bytes = 144

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let unit = block.half(0)
        let minimumUnit = block.half(2)
        for pair in 0..<4 {
            let (first, firstMinimum) = ScalesAndMinima.of(2 * pair, block, at: 4)
            let (second, secondMinimum) = ScalesAndMinima.of(2 * pair + 1, block, at: 4)
            let (scale, minimum) = (unit * first, minimumUnit * firstMinimum)
            let (upperScale, upperMinimum) = (unit * second, minimumUnit * secondMinimum)
            for index in 0..<32 {
                let byte = block[16 + 32 * pair + index]
                target.set(64 * pair + index, scale * Float(byte & 15) - minimum)
                target.set(64 * pair + 32 + index, upperScale * Float(byte >> 4) - upperMinimum)
            }
        }
    }
}

/// Like Q4_K with 5-bit codes, the fifth bits stored apart.
enum Q5_K: BlockDecoder {
    static let elements = 256
    static let bytes = 176

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let unit = block.half(0)
        let minimumUnit = block.half(2)
        for pair in 0..<4 {
            let (first, firstMinimum) = ScalesAndMinima.of(2 * pair, block, at: 4)
            let (second, secondMinimum) = ScalesAndMinima.of(2 * pair + 1, block, at: 4)
            let (scale, minimum) = (unit * first, minimumUnit * firstMinimum)
            let (upperScale, upperMinimum) = (unit * second, minimumUnit * secondMinimum)
            let shift = UInt8(truncatingIfNeeded: 2 * pair)
            for index in 0..<32 {
                let byte = block[48 + 32 * pair + index]
                let fifth = block[16 + index] &>> shift
                target.set(64 * pair + index, scale * Float(byte & 15 | (fifth & 1) << 4) - minimum)
                target.set(64 * pair + 32 + index, upperScale * Float(byte >> 4 | (fifth & 2) << 3) - upperMinimum)
            }
        }
    }
}

/// 16 groups of 16 weights with a signed 8-bit scale, 6-bit codes with the upper two bits stored apart: w = (d s) (q - 32).
enum Q6_K: BlockDecoder {
    static let elements = 256
    static let bytes = 210

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let unit = block.half(208)
        for half in 0..<2 {
            for quarter in 0..<4 {
                // Low bits of a half: weights 0 to 63 in the lower halves of its 64 bytes, weights 64 to 127 in the upper halves.
                let nibble = UInt8(truncatingIfNeeded: quarter / 2 * 4)
                let upper = UInt8(truncatingIfNeeded: quarter * 2)
                for group in 0..<2 {
                    let number = 8 * half + 2 * quarter + group
                    let scale = unit * Float(Int8(bitPattern: block[192 + number]))
                    for index in 0..<16 {
                        let place = 16 * group + index
                        let low = block[64 * half + 32 * (quarter & 1) + place] &>> nibble & 15
                        let high = block[128 + 32 * half + place] &>> upper & 3
                        target.set(16 * number + index, scale * Float(Int32(low | high << 4) &- 32))
                    }
                }
            }
        }
    }
}

/// 8 groups of 32 weights with a 6-bit scale, 4-bit codes that select one of sixteen values: w = (d (s - 32)) v.
enum IQ4_XS: BlockDecoder {
    static let elements = 256
    static let bytes = 136

    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>) {
        let unit = block.half(0)
        let upper = UInt16(block[2]) | UInt16(block[3]) << 8
        for group in 0..<8 {
            let low = group & 1 == 0 ? block.low(4 + group / 2) : block.high(4 + group / 2)
            let high = Int32(upper &>> UInt16(truncatingIfNeeded: 2 * group) & 3)
            let scale = unit * Float((low | high << 4) &- 32)
            for index in 0..<16 {
                let byte = 8 + 16 * group + index
                target.set(32 * group + index, scale * NonLinear.value(block.low(byte)))
                target.set(32 * group + 16 + index, scale * NonLinear.value(block.high(byte)))
            }
        }
    }
}
