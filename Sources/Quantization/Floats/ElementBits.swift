package import TensorModel

extension FloatFormat {
    /// The largest finite number of the format.
    package var largestFinite: Float {
        switch self {
        case .f16: 65504
        case .bf16: 0x1.fep127
        case .f32: .greatestFiniteMagnitude
        }
    }
}

extension Float {
    /// The exact value of an element of `format`, given as an integer of its width.
    package init(_ bits: UInt32, element format: FloatFormat) {
        let bytes = (0..<format.byteWidth).map { UInt8(truncatingIfNeeded: bits >> UInt32(8 * $0)) }
        var value: [Float] = [0]
        FloatConversion.expand(bytes.span, format, into: &value)
        self = value[0]
    }

    /// The nearest element of `format`, ties to even, as an integer of its width.
    package func element(_ format: FloatFormat) -> UInt32 {
        var bytes: [UInt8] = [0, 0, 0, 0]
        FloatConversion.narrow([self], count: 1, format, into: &bytes)
        return (0..<format.byteWidth).reduce(0) { $0 | UInt32(bytes[$1]) << UInt32(8 * $1) }
    }
}
