/// The element types that a safetensors header can name.
///
/// Names and sizes are those of the `safetensors` reference implementation 0.8.0 (`Dtype`). The raw value is the spelling in the header and
/// in every report.
package enum ElementType: String, Sendable, Hashable, CaseIterable {
    case bool = "BOOL"
    case f4 = "F4"
    case f6e2m3 = "F6_E2M3"
    case f6e3m2 = "F6_E3M2"
    case u8 = "U8"
    case i8 = "I8"
    case f8e5m2 = "F8_E5M2"
    case f8e4m3 = "F8_E4M3"
    case f8e8m0 = "F8_E8M0"
    case f8e4m3fnuz = "F8_E4M3FNUZ"
    case f8e5m2fnuz = "F8_E5M2FNUZ"
    case i16 = "I16"
    case u16 = "U16"
    case f16 = "F16"
    case bf16 = "BF16"
    case i32 = "I32"
    case u32 = "U32"
    case f32 = "F32"
    case c64 = "C64"
    case f64 = "F64"
    case i64 = "I64"
    case u64 = "U64"

    /// Bits of one element. Elements narrower than a byte are packed without gaps.
    package var bitWidth: Int {
        switch self {
        case .f4: 4
        case .f6e2m3, .f6e3m2: 6
        case .bool, .u8, .i8, .f8e5m2, .f8e4m3, .f8e8m0, .f8e4m3fnuz, .f8e5m2fnuz: 8
        case .i16, .u16, .f16, .bf16: 16
        case .i32, .u32, .f32: 32
        case .c64, .f64, .i64, .u64: 64
        }
    }

    /// The natural alignment of an element in bytes; 1 for types narrower than a byte.
    package var alignment: Int { max(1, bitWidth / 8) }

    /// Bytes of one element; 0 for a type narrower than a byte.
    package var byteWidth: Int { bitWidth / 8 }

    /// Whether Ingot's container can hold elements of this type entropy coded as codes of another quantizer: codes, scales, zero points and
    /// orders of columns (Specs/container.md, "Code types").
    package var isCodeType: Bool {
        switch self {
        case .u8, .i8, .f8e4m3, .f8e5m2, .f8e8m0, .i16, .u16, .i32, .u32: true
        default: false
        }
    }

    /// Whether elements are floating-point numbers with a sign, so that they can be weights.
    package var isFloat: Bool {
        switch self {
        case .f4, .f6e2m3, .f6e3m2, .f8e5m2, .f8e4m3, .f8e4m3fnuz, .f8e5m2fnuz, .f16, .bf16, .f32, .f64: true
        default: false
        }
    }

    /// The same type as a format that Ingot can quantize; nil for a type that Ingot only passes through.
    package var quantizable: FloatFormat? {
        switch self {
        case .f16: .f16
        case .bf16: .bf16
        case .f32: .f32
        default: nil
        }
    }
}

/// The floating-point formats that Ingot can quantize and export.
///
/// The raw value is the code the container stores (Specs/container.md, "Element types").
package enum FloatFormat: UInt8, Sendable, Hashable, CaseIterable {
    /// IEEE 754 binary16.
    case f16 = 1
    /// The upper half of IEEE 754 binary32.
    case bf16 = 2
    /// IEEE 754 binary32.
    case f32 = 3

    /// Bytes of one element.
    package var byteWidth: Int { self == .f32 ? 4 : 2 }

    /// The safetensors element type of the same format.
    package var elementType: ElementType {
        switch self {
        case .f16: .f16
        case .bf16: .bf16
        case .f32: .f32
        }
    }
}
