/// The name of a tensor, compared as UTF-8 bytes.
///
/// Swift's `==` on strings ignores differences in Unicode normalization. All readers of safetensors treat such names as different tensors,
/// and so does Ingot.
package struct TensorName: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The name as it stands in the file.
    package let text: String

    /// Makes a name of a string, unchanged.
    package init(_ text: String) { self.text = text }

    /// The name as it stands in the file. It may hold control characters: escape it before printing.
    package var description: String { text }

    /// Whether both names have the same bytes.
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

    /// Hashes the bytes of the name, eight at a time, and their number.
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
    /// The text without `suffix`; the whole text if its bytes do not end with `suffix`. The cut may fall inside a Swift character.
    package static func dropSuffix(_ text: String, _ suffix: String) -> String {
        hasSuffix(text, suffix) ? String(decoding: text.utf8.dropLast(suffix.utf8.count), as: UTF8.self) : text
    }

    /// Whether the bytes of `text` end with those of `suffix`.
    package static func hasSuffix(_ text: String, _ suffix: String) -> Bool {
        text.utf8.count >= suffix.utf8.count && text.utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
    }
}
