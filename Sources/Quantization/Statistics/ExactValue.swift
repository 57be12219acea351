package import TensorModel

/// The value of one element, without rounding.
package enum ExactValue: Sendable, Hashable {
    /// A weight of binary32, or of a narrower format.
    case float(Float)
    /// An element of binary64, or of a float of 8 bits.
    case double(Double)
    /// A whole number, with and without a sign.
    case signed(Int64), unsigned(UInt64)

    /// The value of a whole number or BOOL, little-endian. Nil for floats, and for elements of less than a byte.
    package init?(_ bytes: [UInt8], _ elementType: ElementType) {
        let bits = bytes.enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << UInt64(8 * $1.offset) }
        switch elementType {
        case .bool, .u8, .u16, .u32, .u64: self = .unsigned(bits)
        case .i8: self = .signed(Int64(Int8(truncatingIfNeeded: bits)))
        case .i16: self = .signed(Int64(Int16(truncatingIfNeeded: bits)))
        case .i32: self = .signed(Int64(Int32(truncatingIfNeeded: bits)))
        case .i64: self = .signed(Int64(bitPattern: bits))
        default: return nil
        }
    }

    /// The value with the fewest digits that no other value of its type has; `nan`, `inf`, `-inf`.
    package var text: String {
        switch self {
        case .float(let value): "\(value)"
        case .double(let value): "\(value)"
        case .signed(let value): "\(value)"
        case .unsigned(let value): "\(value)"
        }
    }

    /// The value as a number of JSON; as text if JSON has no such number.
    package var json: JSONValue {
        switch self {
        case .float(let value): value.isFinite ? .number(Double(value)) : .string(text)
        case .double(let value): value.isFinite ? .number(value) : .string(text)
        case .signed(let value):
            UInt64(exactly: value).map(JSONValue.unsigned) ?? Double(exactly: value).map(JSONValue.number)
                ?? .string(text)
        case .unsigned(let value): .unsigned(value)
        }
    }
}

extension CountedFormat {
    /// Expands elements of F64 and of floats of 8 bits; binary64 holds their values exactly. Traps for other formats.
    package func expand(_ bytes: Span<UInt8>, count: Int, into values: inout [Double]) {
        precondition(elementType.isFloat && (byteWidth == 1 || elementType == .f64), "a format with kernels")
        values.grow(to: count)
        guard byteWidth == 8 else {
            let table = CountedFormat.byteValues[elementType] ?? []
            for index in 0..<count { values[index] = table[Int(bytes[index])] }
            return
        }
        for index in 0..<count {
            var bits: UInt64 = 0
            for byte in 0..<8 { bits |= UInt64(bytes[8 * index + byte]) << UInt64(8 * byte) }
            values[index] = Double(bitPattern: bits)
        }
    }
}
