/// Why a decoder refuses the streams of a chunk.
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
    /// A stream has more or fewer symbols than the trellis needs.
    case miscounted
    /// A stream of rANS is invalid, for the given reason in words.
    case ransInvalid(String)
    /// A byte of three symbols below 6 is above 215.
    case symbolTooLarge
    /// The class of this row is not below the number of row classes.
    case classOutOfRange(row: Int)
    /// Patches are out of order or outside the chunk.
    case patchOutOfRange
    /// The patch of this weight is NaN or infinite.
    case patchNotFinite(index: Int)
    /// A step is not a positive, normal, finite number.
    case stepInvalid

    /// A restored weight is infinite.
    case weightNotFinite

    /// What was found, as the `found` part of an error message.
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
