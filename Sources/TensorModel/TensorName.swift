/// The name of a tensor, compared as UTF-8 bytes.
///
/// Swift compares strings by canonical equivalence; two tensors whose names differ only by Unicode normalization are
/// different tensors to every reader of safetensors, and so to us.
public struct TensorName: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The name as it stands in the file.
    public let text: String

    /// Makes a name of a string, which is kept as it is.
    public init(_ text: String) { self.text = text }

    /// The name as it stands in the file, control characters included: escape it before printing.
    public var description: String { text }

    /// Whether both names are the same bytes.
    public static func == (a: Self, b: Self) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }

    /// Whether `a`'s bytes sort before `b`'s.
    public static func < (a: Self, b: Self) -> Bool { a.text.utf8.lexicographicallyPrecedes(b.text.utf8) }

    /// Feeds the bytes of the name.
    public func hash(into hasher: inout Hasher) {
        for byte in text.utf8 { hasher.combine(byte) }
        hasher.combine(0xFF as UInt8)
    }
}
