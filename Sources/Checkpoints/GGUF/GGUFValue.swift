import TensorModel

/// The types of metadata values. The raw value is the number in a file.
package enum GGUFValueType: UInt32, Sendable, Hashable {
    case u8, i8, u16, i16, u32, i32, f32, bool, string, array, u64, i64, f64

    /// Bytes of a value; nil if they vary.
    package var width: Int? {
        switch self {
        case .u8, .i8, .bool: 1
        case .u16, .i16: 2
        case .u32, .i32, .f32: 4
        case .u64, .i64, .f64: 8
        case .string, .array: nil
        }
    }

    /// Minimum number of bytes of a value.
    var minimumBytes: UInt64 { width.map(UInt64.init) ?? (self == .string ? 8 : 12) }

    /// A number as text; empty for strings and arrays.
    func text(_ bits: UInt64) -> String {
        switch self {
        case .u8, .u16, .u32, .u64: "\(bits)"
        case .i8: "\(Int8(truncatingIfNeeded: bits))"
        case .i16: "\(Int16(truncatingIfNeeded: bits))"
        case .i32: "\(Int32(truncatingIfNeeded: bits))"
        case .i64: "\(Int64(truncatingIfNeeded: bits))"
        case .f32: "\(Float(bitPattern: UInt32(truncatingIfNeeded: bits)))"
        case .f64: "\(Double(bitPattern: bits))"
        case .bool: bits == 0 ? "false" : "true"
        case .string, .array: ""
        }
    }
}

/// A metadata value, as far as it is kept.
enum GGUFValue {
    /// A number or truth value: its type, and its bits in the low bits.
    case number(GGUFValueType, UInt64)
    /// A text. U+FFFD stands for what is not UTF-8.
    case text(String)
    /// A text that is too long to keep, by its number of bytes.
    case longText(UInt64)
    /// A short array.
    case list([GGUFValue])
    /// An array that is too long to keep, by the type and number of its elements.
    case longList(GGUFValueType, UInt64)

    /// The value as text. What was not kept is described in brackets.
    var text: String {
        switch self {
        case .number(let type, let bits): type.text(bits)
        case .text(let text): text
        case .longText(let count): "[text of \(count) bytes]"
        case .list(let values): "[" + values.map(\.text).joined(separator: ", ") + "]"
        case .longList(let type, let count): "[\(type) x \(count)]"
        }
    }

    /// The whole number; nil for negative numbers and for values of other types.
    var unsigned: UInt64? {
        guard case .number(let type, let bits) = self else { return nil }
        switch type {
        case .u8, .u16, .u32, .u64: return bits
        case .i8: return UInt64(exactly: Int8(truncatingIfNeeded: bits))
        case .i16: return UInt64(exactly: Int16(truncatingIfNeeded: bits))
        case .i32: return UInt64(exactly: Int32(truncatingIfNeeded: bits))
        case .i64: return UInt64(exactly: Int64(truncatingIfNeeded: bits))
        case .f32, .f64, .bool, .string, .array: return nil
        }
    }

    /// The text; nil for values of other types, and for a text that was not kept.
    var string: String? { if case .text(let text) = self { text } else { nil } }

    /// Number of elements of an array; nil for values of other types.
    var count: UInt64? {
        switch self {
        case .list(let values): UInt64(values.count)
        case .longList(_, let count): count
        case .number, .text, .longText: nil
        }
    }
}
