/// A pattern over names of tensors, as shells match file names: `*` stands for any characters, `?` for one, `[abc]` and
/// `[a-z]` for one of several (`[!a]` for any other), everything else for itself. A dot is nothing special.
public struct NamePattern: Sendable, Hashable, CustomStringConvertible {
    /// The pattern as it was written.
    public let text: String
    private let parts: [Part]

    private enum Part: Sendable, Hashable {
        case anything
        case one
        case scalar(Unicode.Scalar)
        case set([ClosedRange<Unicode.Scalar>], isNegated: Bool)

        /// Whether it stands for a character; `anything` is asked elsewhere.
        func matches(_ scalar: Unicode.Scalar) -> Bool {
            switch self {
            case .anything, .one: true
            case .scalar(let own): own == scalar
            case .set(let ranges, let isNegated): ranges.contains { $0.contains(scalar) } != isNegated
            }
        }
    }

    /// Reads a pattern; nil where it is empty, or a `[` has no end or nothing in it.
    public init?(_ text: String) {
        guard !text.isEmpty else { return nil }
        self.text = text
        var parts: [Part] = []
        let scalars = Array(text.unicodeScalars)
        var index = 0
        while index < scalars.count {
            let scalar = scalars[index]
            index += 1
            switch scalar {
            case "*": if parts.last != .anything { parts.append(.anything) }
            case "?": parts.append(.one)
            case "[":
                guard let (set, end) = NamePattern.set(scalars, from: index) else { return nil }
                parts.append(set)
                index = end
            default: parts.append(.scalar(scalar))
            }
        }
        self.parts = parts
    }

    /// The set that begins behind a `[`, and the index behind its `]`.
    private static func set(_ scalars: [Unicode.Scalar], from start: Int) -> (Part, Int)? {
        var index = start
        let isNegated = index < scalars.count && (scalars[index] == "!" || scalars[index] == "^")
        if isNegated { index += 1 }
        var ranges: [ClosedRange<Unicode.Scalar>] = []
        // A `]` that comes first is one of the set.
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
        return (.set(ranges, isNegated: isNegated), index + 1)
    }

    /// The pattern as it was written.
    public var description: String { text }

    /// The text that every name it matches begins with.
    public var prefix: String {
        var text = ""
        for part in parts {
            guard case .scalar(let scalar) = part else { break }
            text.unicodeScalars.append(scalar)
        }
        return text
    }

    /// Whether it matches one name alone, its `prefix`.
    public var isLiteral: Bool { parts.allSatisfy { if case .scalar = $0 { true } else { false } } }

    /// Whether the whole name matches; characters are compared as Unicode scalars, unnormalized.
    ///
    /// Takes at most (length of the name) x (length of the pattern) steps.
    public func matches(_ name: TensorName) -> Bool {
        var steps = 0
        return matches(name, steps: &steps)
    }

    /// The same, and adds to `steps` how many it took.
    public func matches(_ name: TensorName, steps: inout Int) -> Bool {
        let name = name.text.utf8.span
        var (at, part) = (0, 0)
        // Where to go on if what follows the last `*` does not match: one character later.
        var retry: (at: Int, part: Int)?
        while at < name.count {
            steps += 1
            if part < parts.count {
                if case .anything = parts[part] {
                    retry = (at, part + 1)
                    part += 1
                    continue
                }
                let (scalar, width) = NamePattern.scalar(name, at)
                if parts[part].matches(scalar) {
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
        return parts[part...].allSatisfy { if case .anything = $0 { true } else { false } }
    }

    /// The scalar that begins at a byte of UTF-8, and how many bytes it has.
    private static func scalar(_ bytes: Span<UInt8>, _ at: Int) -> (scalar: Unicode.Scalar, width: Int) {
        let first = bytes[at]
        guard first >= 0x80 else { return (Unicode.Scalar(first), 1) }
        let width = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        var value = UInt32(first) & (0x7F >> UInt32(width))
        for place in at + 1..<at + width { value = value << 6 | UInt32(bytes[place] & 0x3F) }
        // Strings are valid UTF-8.
        return (Unicode.Scalar(value) ?? "\u{FFFD}", width)
    }
}
