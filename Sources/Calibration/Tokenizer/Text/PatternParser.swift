import TensorModel

/// Parses the regular expressions of pre-tokenizers, as Oniguruma reads them: alternatives, sets, properties, greedy and possessive
/// repetition, groups without repetition, `(?i:…)` of ASCII, and a negative look-ahead at the end of an alternative.
struct PatternParser {
    private let scalars: [UInt32]
    private let text: String
    private var position = 0
    private var depth = 0
    private var foldsCase = false

    /// Scalars of a pattern at most.
    private static let maximumLength = 4096
    private static let maximumDepth = 8
    private static let maximumCount = 1000

    /// Parses a pattern.
    ///
    /// - Throws: `tokenizerInvalid` for anything that is not supported.
    static func parse(_ text: String) throws -> Pattern {
        var parser = PatternParser(text)
        guard parser.scalars.count <= maximumLength else { throw parser.unsupported("its length") }
        let alternatives = try parser.readAlternatives()
        guard parser.position == parser.scalars.count else { throw parser.unsupported("a `)` without `(`") }
        guard alternatives.allSatisfy({ $0.items.contains { $0.minimum > 0 } }) else {
            throw parser.unsupported("an alternative that matches nothing")
        }
        return Pattern(alternatives)
    }

    private init(_ text: String) {
        self.text = text
        scalars = text.unicodeScalars.map(\.value)
    }

    private func unsupported(_ what: String) -> IngotError {
        TokenizerFailure.unsupported("the pattern `\(text.prefix(160))`: \(what)")
    }

    private func peek(_ offset: Int = 0) -> Unicode.Scalar? {
        position + offset < scalars.count ? Unicode.Scalar(scalars[position + offset]) : nil
    }

    private mutating func take(_ word: String) -> Bool {
        let word = word.unicodeScalars.map(\.value)
        guard scalars[position...].starts(with: word) else { return false }
        position += word.count
        return true
    }

    // MARK: - Structure

    private mutating func readAlternatives() throws -> [Pattern.Alternative] {
        var all = try readBranch()
        while take("|") { all += try readBranch() }
        guard all.count <= Pattern.maximumAlternatives else {
            throw unsupported("more than \(Pattern.maximumAlternatives) alternatives")
        }
        return all
    }

    private mutating func readBranch() throws -> [Pattern.Alternative] {
        var branch = [Pattern.Alternative()]
        while let next = peek(), next != "|", next != ")" {
            guard branch.allSatisfy({ $0.notFollowedBy == nil }) else {
                throw unsupported("something after a look-ahead")
            }
            if take("(?!") {
                let set = try readSet()
                guard take(")") else { throw unsupported("a look-ahead for more than one scalar") }
                for index in branch.indices { branch[index].notFollowedBy = set }
            } else if next == "(" {
                branch = try joined(branch, readGroup())
            } else {
                let item = try readRepetition(of: readSet())
                for index in branch.indices { branch[index].items.append(item) }
            }
        }
        return branch
    }

    /// Each of the alternatives of a branch, followed by each alternative of a group.
    private func joined(
        _ branch: [Pattern.Alternative], _ group: [Pattern.Alternative]
    ) throws -> [Pattern.Alternative] {
        // With a repetition before it, the alternatives would be tried in another order.
        let isFixed = branch.allSatisfy { $0.items.allSatisfy { $0.isPossessive || $0.minimum == $0.maximum } }
        guard group.count == 1 || isFixed else { throw unsupported("a choice after a repetition") }
        guard branch.count * group.count <= Pattern.maximumAlternatives else {
            throw unsupported("more than \(Pattern.maximumAlternatives) alternatives")
        }
        return branch.flatMap { front in
            group.map { back in
                Pattern.Alternative(items: front.items + back.items, notFollowedBy: back.notFollowedBy)
            }
        }
    }

    private mutating func readGroup() throws -> [Pattern.Alternative] {
        let folded = foldsCase
        if take("(?i:") {
            foldsCase = true
        } else if !take("(?:"), peek(1) == "?" || !take("(") {
            throw unsupported("a group that begins with `(?`")
        }
        depth += 1
        guard depth <= PatternParser.maximumDepth else { throw unsupported("groups in groups") }
        let group = try readAlternatives()
        guard take(")") else { throw unsupported("a `(` without `)`") }
        if let next = peek(), ["?", "*", "+", "{"].contains(next) { throw unsupported("a group that is repeated") }
        guard group.allSatisfy({ $0.notFollowedBy == nil }) || peek() == nil || peek() == "|" || peek() == ")" else {
            throw unsupported("something after a look-ahead")
        }
        depth -= 1
        foldsCase = folded
        return group
    }

    private mutating func readRepetition(of set: ScalarSet) throws -> Pattern.Item {
        var item = Pattern.Item(set)
        if take("?") {
            item.minimum = 0
        } else if take("*") {
            (item.minimum, item.maximum) = (0, .max)
        } else if take("+") {
            item.maximum = .max
        } else if take("{") {
            (item.minimum, item.maximum) = try readCounts()
            if let next = peek(), ["+", "?", "*", "{"].contains(next) { throw unsupported("a repeated repetition") }
            return item
        } else {
            return item
        }
        item.isPossessive = take("+")
        if let next = peek(), ["+", "?", "*", "{"].contains(next) {
            throw unsupported("a lazy or repeated repetition")
        }
        return item
    }

    private mutating func readCounts() throws -> (Int, Int) {
        let first = try readCount()
        guard take(",") else {
            guard take("}") else { throw unsupported("a count that does not end") }
            return (first, first)
        }
        if take("}") { return (first, .max) }
        let second = try readCount()
        guard take("}"), first <= second, second > 0 else { throw unsupported("a count that does not end") }
        return (first, second)
    }

    private mutating func readCount() throws -> Int {
        var count = 0
        let start = position
        while let next = peek(), ("0"..."9").contains(next), count <= PatternParser.maximumCount {
            count = count * 10 + Int(next.value - 0x30)
            position += 1
        }
        guard position > start, count <= PatternParser.maximumCount else { throw unsupported("a count") }
        return count
    }

    // MARK: - Sets

    private mutating func readSet() throws -> ScalarSet {
        guard let next = peek() else { throw unsupported("its end") }
        switch next {
        case "[": return try readBracket()
        case "\\":
            let (properties, value, isNegated) = try readEscape()
            if let value { return literal(value) }
            return ScalarSet(properties: properties, isNegated: isNegated)
        case ".", "^", "$", "?", "*", "+", "{", "}", "]": throw unsupported("`\(next)` here")
        default:
            guard !foldsCase || next.value < 128 else { throw unsupported("cases of other letters than A to Z") }
            position += 1
            return literal(next.value)
        }
    }

    private func literal(_ value: UInt32) -> ScalarSet { ScalarSet(ranges: cases(value...value)) }

    /// A range, and the other cases of its letters in `(?i:…)`.
    private func cases(_ range: ClosedRange<UInt32>) -> [ClosedRange<UInt32>] {
        guard foldsCase else { return [range] }
        var all = [range]
        for value in range where value < 128 {
            let upper = value & ~0x20
            guard (0x41...0x5A).contains(upper) else { continue }
            all.append(value ^ 0x20...value ^ 0x20)
            if upper == 0x53 { all.append(0x17F...0x17F) }
            if upper == 0x4B { all.append(0x212A...0x212A) }
        }
        return all
    }

    private mutating func readBracket() throws -> ScalarSet {
        position += 1
        let isNegated = take("^")
        var properties: UInt8 = 0
        var ranges: [ClosedRange<UInt32>] = []
        while !take("]") {
            guard let low = try readMember(&properties) else { continue }
            guard peek() == "-", let after = peek(1), after != "]" else {
                ranges += cases(low...low)
                continue
            }
            position += 1
            var none: UInt8 = 0
            guard let high = try readMember(&none), low <= high else { throw unsupported("a range in `[…]`") }
            guard !foldsCase || high < 128 else { throw unsupported("cases of other letters than A to Z") }
            ranges += cases(low...high)
        }
        guard properties != 0 || !ranges.isEmpty else { throw unsupported("an empty `[]`") }
        return ScalarSet(properties: properties, ranges: ranges, isNegated: isNegated)
    }

    /// One scalar of a bracket; nil if it was a property, which is added to `properties`.
    private mutating func readMember(_ properties: inout UInt8) throws -> UInt32? {
        guard let next = peek() else { throw unsupported("a `[` without `]`") }
        if next == "\\" {
            let (bits, value, isNegated) = try readEscape()
            if let value { return value }
            guard !isNegated else { throw unsupported("`\\S` or `\\P` in `[…]`") }
            properties |= bits
            return nil
        }
        guard next != "[", !(next == "&" && peek(1) == "&") else { throw unsupported("`\(next)` in `[…]`") }
        guard !foldsCase || next.value < 128 else { throw unsupported("cases of other letters than A to Z") }
        position += 1
        return next.value
    }

    private static let escapes: [Unicode.Scalar: UInt32] = ["n": 10, "r": 13, "t": 9, "f": 12]
    private static let properties: [String: UInt8] = [
        "L": ScalarProperties.letter, "Nd": ScalarProperties.decimalNumber,
        "N": ScalarProperties.decimalNumber | ScalarProperties.otherNumber, "P": ScalarProperties.punctuation,
        "S": ScalarProperties.symbol, "M": ScalarProperties.mark,
    ]

    /// An escape: a property, or one scalar.
    private mutating func readEscape() throws -> (properties: UInt8, value: UInt32?, isNegated: Bool) {
        guard let letter = peek(1) else { throw unsupported("its end") }
        position += 2
        switch letter {
        case "s", "S": return (ScalarProperties.whitespace, nil, letter == "S")
        case "d": return (ScalarProperties.decimalNumber, nil, false)
        case "p", "P":
            var name = ""
            guard take("{") else { throw unsupported("`\\\(letter)` without a name") }
            while let next = peek(), next != "}", name.count < 20 {
                name.unicodeScalars.append(next)
                position += 1
            }
            guard take("}"), let bits = PatternParser.properties[name] else {
                throw unsupported("the property `\(name)`")
            }
            return (bits, nil, letter == "P")
        default:
            if let value = PatternParser.escapes[letter] { return (0, value, false) }
            guard letter.isASCII, ScalarProperties.of(letter.value) & ScalarProperties.letter == 0,
                !("0"..."9").contains(letter)
            else { throw unsupported("`\\\(letter)`") }
            return (0, letter.value, false)
        }
    }
}
