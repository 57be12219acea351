/// Unicode properties that patterns ask for.
enum ScalarProperties {
    static let letter: UInt8 = 1
    static let decimalNumber: UInt8 = 2
    static let otherNumber: UInt8 = 4
    static let punctuation: UInt8 = 8
    static let symbol: UInt8 = 16
    static let mark: UInt8 = 32
    static let whitespace: UInt8 = 64
    /// A scalar that the newest Unicode version calls a number, assigned or not in version 16.
    static let newestNumber: UInt8 = 128

    /// The version of the regular expressions of `tokenizers`. Scalars that are assigned later have no property except `newestNumber`.
    static let patternVersion = 16

    /// Properties of the scalars of the first three planes. The others are looked up one by one.
    private static let table: [UInt8] = (0..<0x30000).map { compute($0) }

    /// The properties of a scalar, as a set of bits.
    @inline(__always)
    static func of(_ value: UInt32) -> UInt8 { value < 0x30000 ? table[Int(value)] : compute(value) }

    private static func compute(_ value: UInt32) -> UInt8 {
        guard let properties = Unicode.Scalar(value)?.properties else { return 0 }
        let bits: UInt8 =
            switch properties.generalCategory {
            case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: letter
            case .decimalNumber: decimalNumber | newestNumber
            case .letterNumber, .otherNumber: otherNumber | newestNumber
            case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
                .finalPunctuation, .otherPunctuation:
                punctuation
            case .mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol: symbol
            case .nonspacingMark, .spacingMark, .enclosingMark: mark
            default: 0
            }
        guard let age = properties.age, age.major <= patternVersion else { return bits & newestNumber }
        return bits | (properties.isWhitespace ? whitespace : 0)
    }

    /// Whether a regular expression of Rust calls the scalar a character of a word (`\w`).
    static func isWord(_ value: UInt32) -> Bool {
        guard let properties = Unicode.Scalar(value)?.properties else { return false }
        if properties.isAlphabetic || properties.isJoinControl { return true }
        return switch properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: true
        default: false
        }
    }
}

/// A set of scalars, such as `[^\s\p{L}\p{N}]`.
struct ScalarSet: Sendable {
    /// Bits of `ScalarProperties`; a scalar with one of them is a member.
    private var properties: UInt8
    /// Members by number, inclusive.
    private var ranges: [ClosedRange<UInt32>]
    private var isNegated: Bool
    /// The members below U+0080.
    private var low: UInt64 = 0
    private var high: UInt64 = 0

    /// Makes a set of scalars that have one of the properties or lie in one of the ranges, or of all others.
    init(properties: UInt8 = 0, ranges: [ClosedRange<UInt32>] = [], isNegated: Bool = false) {
        self.properties = properties
        self.ranges = ranges
        self.isNegated = isNegated
        for value in UInt32(0)..<128 where isMember(value) {
            if value < 64 { low |= 1 << UInt64(value) } else { high |= 1 << UInt64(value - 64) }
        }
    }

    /// All scalars that are not in this set.
    var complement: ScalarSet { ScalarSet(properties: properties, ranges: ranges, isNegated: !isNegated) }

    /// Whether a scalar is in the set.
    @inline(__always)
    func contains(_ value: UInt32) -> Bool {
        if value < 64 { return low >> UInt64(value) & 1 != 0 }
        if value < 128 { return high >> UInt64(value - 64) & 1 != 0 }
        return isMember(value)
    }

    private func isMember(_ value: UInt32) -> Bool {
        if properties != 0, ScalarProperties.of(value) & properties != 0 { return !isNegated }
        for range in ranges where range.contains(value) { return !isNegated }
        return isNegated
    }
}
