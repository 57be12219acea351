package import TensorModel

/// An element type whose elements `inspect` counts: all but those of less than a byte and complex numbers.
///
/// Elements of 8 and 16 bits are counted by their bits. Of wider elements the value is counted, by the upper 16 bits of its binary32.
package struct CountedFormat: Sendable, Hashable {
    /// The element type.
    package let elementType: ElementType

    /// The format of weights that can be quantized.
    package init(_ format: FloatFormat) { elementType = format.elementType }

    /// The format of elements of `elementType`; nil for F4, F6 and C64.
    package init?(of elementType: ElementType) {
        switch elementType {
        case .f4, .f6e2m3, .f6e3m2, .c64: return nil
        default: self.elementType = elementType
        }
    }

    /// Bytes of one element.
    package var byteWidth: Int { elementType.bitWidth / 8 }

    /// The format of the kernel that counts such elements; nil if they are counted in Swift.
    var kernelFormat: FloatFormat? { elementType.quantizable }

    /// Whether patterns are whole elements: those of 8 and 16 bits.
    package var countsElements: Bool { byteWidth <= 2 }

    /// Number of patterns.
    var patternCount: Int { byteWidth == 1 ? 1 << 8 : 1 << 16 }

    /// Whether elements are whole numbers, or false and true.
    package var isInteger: Bool {
        switch elementType {
        case .bool, .i8, .u8, .i16, .u16, .i32, .u32, .i64, .u64: true
        default: false
        }
    }

    /// Elements of a smaller magnitude than this are zero or subnormal.
    var smallestNormal: Double {
        switch elementType {
        case .f64: .leastNormalMagnitude
        case .f32, .bf16: 0x1p-126
        case .f16, .f8e5m2: 0x1p-14
        case .f8e5m2fnuz: 0x1p-15
        case .f8e4m3: 0x1p-6
        case .f8e4m3fnuz: 0x1p-7
        default: 0
        }
    }

    /// How values go with patterns.
    enum Order {
        /// They rise together.
        case unsigned
        /// The upper half of the patterns is negative, and values rise with patterns.
        case twosComplement
        /// The upper half of the patterns is negative, and values fall there.
        case signMagnitude
    }

    /// How the values go with the patterns that are counted.
    var order: Order {
        switch elementType {
        case .bool, .u8, .u16, .f8e8m0: .unsigned
        case .i8, .i16: .twosComplement
        default: .signMagnitude
        }
    }

    /// The value of a pattern; for elements of 32 and 64 bits, that of the upper half of a binary32.
    func value(_ pattern: Int) -> Double {
        switch elementType {
        case .bool: pattern == 0 ? 0 : 1
        case .u8, .u16: Double(pattern)
        case .i8: Double(Int8(truncatingIfNeeded: pattern))
        case .i16: Double(Int16(truncatingIfNeeded: pattern))
        case .f8e4m3: pattern & 0x7F == 0x7F ? .nan : CountedFormat.value(pattern, fractionBits: 3, bias: 7)
        case .f8e5m2:
            pattern & 0x7F < 0x7C ? CountedFormat.value(pattern, fractionBits: 2, bias: 15) : notFinite(pattern)
        case .f8e4m3fnuz: pattern == 0x80 ? .nan : CountedFormat.value(pattern, fractionBits: 3, bias: 8)
        case .f8e5m2fnuz: pattern == 0x80 ? .nan : CountedFormat.value(pattern, fractionBits: 2, bias: 16)
        case .f8e8m0: pattern == 0xFF ? .nan : Double(sign: .plus, exponent: pattern - 127, significand: 1)
        case .f16: Double(CountedFormat.halves[pattern])
        default: Double(Float(bitPattern: UInt32(pattern) << 16))
        }
    }

    /// Infinity or NaN of F8_E5M2.
    private func notFinite(_ pattern: Int) -> Double {
        pattern & 0x7F > 0x7C ? .nan : pattern < 0x80 ? .infinity : -.infinity
    }

    /// The value of a float of 8 bits: sign, exponent, fraction. An exponent of zero means a subnormal value.
    ///
    /// Sources: "OCP 8-bit Floating Point Specification (OFP8)", revision 1.0, for E4M3 and E5M2 (bias 7 and 15); "OCP Microscaling
    /// Formats (MX) Specification", version 1.0, for E8M0; the documentation of ml_dtypes for FNUZ, whose bias is one more and whose
    /// only value that is not finite is the pattern of -0.
    private static func value(_ pattern: Int, fractionBits: Int, bias: Int) -> Double {
        let exponent = (pattern & 0x7F) >> fractionBits
        let fraction = pattern & (1 << fractionBits - 1)
        let significand = exponent == 0 ? fraction : 1 << fractionBits + fraction
        let unit = Double(sign: .plus, exponent: max(1, exponent) - bias - fractionBits, significand: 1)
        return (pattern < 0x80 ? unit : -unit) * Double(significand)
    }

    /// All values of binary16, by bit pattern.
    private static let halves: [Float] = {
        let bytes = (0..<1 << 16).flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
        var values = [Float](repeating: 0, count: 1 << 16)
        FloatConversion.expand(bytes.span, .f16, into: &values)
        return values
    }()

    /// All values of formats of 8 bits, by pattern.
    static let byteValues: [ElementType: [Double]] = {
        let formats = ElementType.allCases.compactMap(CountedFormat.init(of:)).filter { $0.byteWidth == 1 }
        return Dictionary(
            uniqueKeysWithValues: formats.map { format in
                (format.elementType, (0..<format.patternCount).map { format.value($0) })
            })
    }()

    /// The squares of all values of formats of 8 bits, by pattern.
    static let byteSquares: [ElementType: [Double]] = byteValues.mapValues { $0.map { $0 * $0 } }
}
