package import Checkpoints
import FileAccess
import TensorModel

/// A value in the metadata of a GGUF file.
package enum GGUFMetadataValue: Sendable, Hashable {
    /// A number or truth value: its type, and its bits in the low bits.
    case number(GGUFValueType, UInt64)
    /// A text.
    case text(String)
    /// An array of numbers or truth values of one type, each as in `number`.
    case numbers(GGUFValueType, [UInt64])
    /// An array of texts.
    case texts([String])

    /// A whole number of 16 bits.
    package static func u16(_ value: UInt16) -> GGUFMetadataValue { .number(.u16, UInt64(value)) }

    /// A whole number of 32 bits.
    package static func u32(_ value: UInt32) -> GGUFMetadataValue { .number(.u32, UInt64(value)) }

    /// A signed whole number of 32 bits.
    package static func i32(_ value: Int32) -> GGUFMetadataValue { .number(.i32, UInt64(UInt32(bitPattern: value))) }

    /// A binary32 number.
    package static func f32(_ value: Float) -> GGUFMetadataValue { .number(.f32, UInt64(value.bitPattern)) }

    /// A truth value.
    package static func bool(_ value: Bool) -> GGUFMetadataValue { .number(.bool, value ? 1 : 0) }

    /// The type of the value.
    package var type: GGUFValueType {
        switch self {
        case .number(let type, _): type
        case .text: .string
        case .numbers, .texts: .array
        }
    }
}

/// Metadata entries of a GGUF file, as bytes.
///
/// Layout (`gguf.h` of ggml): length of the key in 8 bytes, key, type in 4 bytes, value. A text is its length in 8 bytes and its bytes. An
/// array is the type of its elements in 4 bytes, their number in 8 bytes, and the elements. All numbers are little-endian.
package struct GGUFKeyValues: Sendable, Hashable {
    /// Number of entries.
    package private(set) var count: UInt64 = 0
    /// The entries, one after the other.
    package private(set) var bytes: [UInt8] = []

    /// No entries.
    package init() {}

    /// Entries as another file stores them.
    package init(stored count: UInt64, _ bytes: [UInt8]) { (self.count, self.bytes) = (count, bytes) }

    /// Appends an entry. A caller gives each key once.
    package mutating func append(_ key: String, _ value: GGUFMetadataValue) {
        count += 1
        append(text: key)
        append(value.type.rawValue)
        switch value {
        case .number(let type, let bits): append(bits, type)
        case .text(let text): append(text: text)
        case .numbers(let type, let list):
            append(type.rawValue)
            append(UInt64(list.count))
            bytes.reserveCapacity(bytes.count + list.count * (type.width ?? 0))
            for bits in list { append(bits, type) }
        case .texts(let list):
            append(GGUFValueType.string.rawValue)
            append(UInt64(list.count))
            for text in list { append(text: text) }
        }
    }

    /// Appends entries.
    package mutating func append(_ other: GGUFKeyValues) {
        count += other.count
        bytes += other.bytes
    }

    private mutating func append(_ number: some FixedWidthInteger) { bytes += LittleEndian.bytes(number) }

    private mutating func append(text: String) {
        append(UInt64(text.utf8.count))
        bytes += text.utf8
    }

    private mutating func append(_ bits: UInt64, _ type: GGUFValueType) {
        for byte in 0..<(type.width ?? 0) { bytes.append(UInt8(truncatingIfNeeded: bits >> (8 * byte))) }
    }
}
