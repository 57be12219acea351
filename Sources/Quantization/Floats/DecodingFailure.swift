/// Why the streams of a chunk are none that an encoder makes.
public enum DecodingFailure: Error, Sendable, Hashable, CustomStringConvertible {
    /// A code has a bit set above its width.
    case codeTooLarge
    /// A padding bit behind the last code is set.
    case tailNotZero
    /// The scale of this group is NaN or infinite.
    case scaleNotFinite(group: Int)
    /// The scale of this group has its sign bit set, which symmetric codes do not allow.
    case scaleNegative(group: Int)
    /// The bias of this group is NaN or infinite.
    case biasNotFinite(group: Int)

    /// Scale, code and bias give a weight that is infinite.
    case weightNotFinite

    /// What was found, in words.
    public var description: String {
        switch self {
        case .codeTooLarge: "a code of more bits than it may have"
        case .tailNotZero: "bits behind the last code that are not zero"
        case .scaleNotFinite(let group): "the scale of group \(group), which is NaN or infinite"
        case .scaleNegative(let group): "the scale of group \(group), which is negative"
        case .biasNotFinite(let group): "the bias of group \(group), which is NaN or infinite"
        case .weightNotFinite: "a scale and a code whose weight is infinite"
        }
    }
}
