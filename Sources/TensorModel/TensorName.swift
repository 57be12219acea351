/// The name of a tensor, compared as UTF-8 bytes.
///
/// Swift compares strings by canonical equivalence; two tensors whose names differ only by Unicode normalization are
/// different tensors to every reader of safetensors, and so to us.
package struct TensorName: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The name as it stands in the file.
    package let text: String

    /// Makes a name of a string, which is kept as it is.
    package init(_ text: String) { self.text = text }

    /// The name as it stands in the file, control characters included: escape it before printing.
    package var description: String { text }

    /// Whether both names are the same bytes.
    package static func == (a: Self, b: Self) -> Bool {
        let (left, right) = (a.text.utf8.span, b.text.utf8.span)
        guard left.count == right.count else { return false }
        for index in left.indices where left[index] != right[index] { return false }
        return true
    }

    /// Whether `a`'s bytes sort before `b`'s.
    package static func < (a: Self, b: Self) -> Bool {
        let (left, right) = (a.text.utf8.span, b.text.utf8.span)
        for index in 0..<min(left.count, right.count) where left[index] != right[index] {
            return left[index] < right[index]
        }
        return left.count < right.count
    }

    /// Feeds the bytes of the name, eight at a time, and their number.
    package func hash(into hasher: inout Hasher) {
        let bytes = text.utf8.span
        var word: UInt64 = 0
        for index in bytes.indices {
            word = word << 8 | UInt64(bytes[index])
            if index & 7 == 7 { hasher.combine(word) }
        }
        hasher.combine(word)
        hasher.combine(bytes.count)
    }
}

extension TensorName {
    /// The text without a suffix that its bytes end with; characters may reach across the place where it begins.
    package static func dropSuffix(_ text: String, _ suffix: String) -> String {
        hasSuffix(text, suffix) ? String(decoding: text.utf8.dropLast(suffix.utf8.count), as: UTF8.self) : text
    }

    /// Whether the bytes of `text` end with those of `suffix`.
    package static func hasSuffix(_ text: String, _ suffix: String) -> Bool {
        text.utf8.count >= suffix.utf8.count && text.utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
    }
}
