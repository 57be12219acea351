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

    /// Whether the whole name matches; characters are compared as Unicode scalars, unnormalized.
    ///
    /// Takes at most (length of the name) x (length of the pattern) steps.
    public func matches(_ name: TensorName) -> Bool {
        let name = Array(name.text.unicodeScalars)
        var (at, part) = (0, 0)
        // Where to go on if what follows the last `*` does not match: one character later.
        var retry: (at: Int, part: Int)?
        while at < name.count {
            if part < parts.count, parts[part] == .anything {
                retry = (at, part + 1)
                part += 1
            } else if part < parts.count, parts[part].matches(name[at]) {
                at += 1
                part += 1
            } else if let (last, behind) = retry {
                retry = (last + 1, behind)
                (at, part) = (last + 1, behind)
            } else {
                return false
            }
        }
        return parts[part...].allSatisfy { $0 == .anything }
    }
}
