/// Why the streams of a chunk are none that an encoder makes.
package enum DecodingFailure: Error, Sendable, Hashable, CustomStringConvertible {
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
    /// A stream has more or fewer symbols than the trellis takes from it.
    case miscounted
    /// A stream of rANS that is none: how, in words.
    case ransInvalid(String)
    /// A byte holds more than three symbols of six.
    case symbolTooLarge
    /// The class of this row is none of the tensor's.
    case classOutOfRange(row: Int)
    /// Patches that are out of order or beyond the chunk.
    case patchOutOfRange
    /// The patch of this weight is NaN or infinite.
    case patchNotFinite(index: Int)
    /// A step that is not a positive, normal, finite number.
    case stepInvalid

    /// Scale, code and bias give a weight that is infinite.
    case weightNotFinite

    /// What was found, in words.
    package var description: String {
        switch self {
        case .codeTooLarge: "a code of more bits than it may have"
        case .tailNotZero: "bits behind the last code that are not zero"
        case .scaleNotFinite(let group): "the scale of group \(group), which is NaN or infinite"
        case .scaleNegative(let group): "the scale of group \(group), which is negative"
        case .biasNotFinite(let group): "the bias of group \(group), which is NaN or infinite"
        case .miscounted: "streams with more or fewer symbols than the trellis takes"
        case .ransInvalid(let how): "a rANS stream with \(how)"
        case .symbolTooLarge: "a byte above 215 where three symbols of six are"
        case .classOutOfRange(let row): "the class of row \(row), which the tensor does not have"
        case .patchOutOfRange: "patches that are out of order, or beyond the chunk"
        case .patchNotFinite(let index): "the patch of weight \(index), which is NaN or infinite"
        case .stepInvalid: "a step that is not a positive, finite, normal number"
        case .weightNotFinite: "a code whose weight is infinite"
        }
    }
}
