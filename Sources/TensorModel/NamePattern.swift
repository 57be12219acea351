/// A pattern for tensor names, with the wildcards of a shell. `*` matches any number of characters, `?` matches one, `[abc]` and `[a-z]`
/// match one of a set, `[!a]` and `[^a]` match one outside a set. Any other character, a dot included, matches itself.
package struct NamePattern: Sendable, Hashable, CustomStringConvertible {
    /// The pattern as it was written.
    package let text: String
    /// One code per element of the pattern: the value of a Unicode scalar, or one of the codes below.
    private let parts: [UInt32]
    private let sets: [ScalarSet]
    private static let anything: UInt32 = .max, one: UInt32 = .max - 1
    /// The code of the first set. The code of set `i` is `firstSet + i`.
    private static let firstSet: UInt32 = 1 << 31

    /// A set of characters, or all characters outside it.
    private struct ScalarSet: Sendable, Hashable {
        let ranges: [ClosedRange<Unicode.Scalar>]
        let isNegated: Bool

        func contains(_ value: UInt32) -> Bool {
            ranges.contains { $0.lowerBound.value <= value && value <= $0.upperBound.value } != isNegated
        }
    }

    /// Reads a pattern; nil if it is empty, or if a set has no `]`, no character or a descending range.
    package init?(_ text: String) {
        guard !text.isEmpty else { return nil }
        self.text = text
        var parts: [UInt32] = []
        var sets: [ScalarSet] = []
        let scalars = Array(text.unicodeScalars)
        var index = 0
        while index < scalars.count {
            let scalar = scalars[index]
            index += 1
            switch scalar {
            case "*": if parts.last != NamePattern.anything { parts.append(NamePattern.anything) }
            case "?": parts.append(NamePattern.one)
            case "[":
                guard let (set, end) = NamePattern.set(scalars, from: index) else { return nil }
                parts.append(NamePattern.firstSet + UInt32(sets.count))
                sets.append(set)
                index = end
            default: parts.append(scalar.value)
            }
        }
        self.parts = parts
        self.sets = sets
    }

    /// The pattern that matches one name only.
    package init(name: TensorName) {
        let text = name.text.unicodeScalars.reduce(into: "") { text, scalar in
            text += "*?[".unicodeScalars.contains(scalar) ? "[\(scalar)]" : String(scalar)
        }
        guard let pattern = NamePattern(text) else { preconditionFailure("NamePattern: a name is empty") }
        self = pattern
    }

    /// Reads the set that begins at `start`, behind its `[`. Returns it and the index behind its `]`; nil if it is invalid.
    private static func set(_ scalars: [Unicode.Scalar], from start: Int) -> (ScalarSet, Int)? {
        var index = start
        let isNegated = index < scalars.count && (scalars[index] == "!" || scalars[index] == "^")
        if isNegated { index += 1 }
        var ranges: [ClosedRange<Unicode.Scalar>] = []
        // A `]` in first place belongs to the set.
        while index < scalars.count, scalars[index] != "]" || ranges.isEmpty {
            let low = scalars[index]
            if index + 2 < scalars.count, scalars[index + 1] == "-", scalars[index + 2] != "]" {
                guard low <= scalars[index + 2] else { return nil }
                ranges.append(low...scalars[index + 2])
                index += 3
            } else {
                ranges.append(low...low)
                index += 1
            }
        }
        guard index < scalars.count, !ranges.isEmpty else { return nil }
        return (ScalarSet(ranges: ranges, isNegated: isNegated), index + 1)
    }

    /// The pattern as it was written.
    package var description: String { text }

    /// The literal text at the start of the pattern. Every matching name begins with it.
    package var prefix: String {
        var text = ""
        for part in parts {
            guard let scalar = Unicode.Scalar(part) else { break }
            text.unicodeScalars.append(scalar)
        }
        return text
    }

    /// Whether the pattern has no wildcard: it matches only the name `prefix`.
    package var isLiteral: Bool { parts.allSatisfy { $0 < NamePattern.firstSet } }

    /// Whether the pattern matches the whole name. Characters are compared as Unicode scalars, without normalization.
    ///
    /// Takes at most (length of the name) x (length of the pattern) steps.
    package func matches(_ name: TensorName) -> Bool {
        var steps = 0
        return matches(name, steps: &steps)
    }

    /// Like `matches(_:)`, and adds the number of steps to `steps`.
    package func matches(_ name: TensorName, steps: inout Int) -> Bool {
        let (name, parts) = (name.text.utf8.span, parts.span)
        var (at, part) = (0, 0)
        // After a mismatch, the last `*` takes one character more, and the comparison goes on from here.
        var retry: (at: Int, part: Int)?
        while at < name.count {
            steps += 1
            if part < parts.count {
                let code = parts[part]
                if code == NamePattern.anything {
                    retry = (at, part + 1)
                    part += 1
                    continue
                }
                let (value, width) = NamePattern.scalar(name, at)
                if code == value || code >= NamePattern.firstSet && matches(code, value, &steps) {
                    at += width
                    part += 1
                    continue
                }
            }
            guard let (last, behind) = retry else { return false }
            let next = last + NamePattern.scalar(name, last).width
            retry = (next, behind)
            (at, part) = (next, behind)
        }
        for index in part..<parts.count where parts[index] != NamePattern.anything { return false }
        return true
    }

    private func matches(_ code: UInt32, _ value: UInt32, _ steps: inout Int) -> Bool {
        if code == NamePattern.one { return true }
        let set = sets[Int(code - NamePattern.firstSet)]
        steps += set.ranges.count
        return set.contains(value)
    }

    /// The value of the Unicode scalar that begins at a byte of UTF-8, and its length in bytes.
    private static func scalar(_ bytes: Span<UInt8>, _ at: Int) -> (value: UInt32, width: Int) {
        let first = bytes[at]
        guard first >= 0x80 else { return (UInt32(first), 1) }
        let width = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        var value = UInt32(first) & (0x7F >> UInt32(width))
        for place in at + 1..<at + width { value = value << 6 | UInt32(bytes[place] & 0x3F) }
        return (value, width)
    }
}
