import TensorModel

/// Steps that cut a text into pieces; merges stay inside a piece.
struct PreTokenizer: Sendable {
    /// What becomes of the matches of a pattern.
    enum Behavior: String, Sendable {
        case isolated = "Isolated"
        case removed = "Removed"
        case contiguous = "Contiguous"
        case mergedWithPrevious = "MergedWithPrevious"
        case mergedWithNext = "MergedWithNext"
    }

    /// When `Metaspace` puts its replacement before a piece that does not begin with it.
    enum Prepending: String, Sendable {
        case always, never, first
    }

    /// One step.
    enum Step: Sendable {
        /// Cuts at the matches of a pattern, or with `isInverted` at what lies between them.
        case split(Pattern, Behavior, isInverted: Bool)
        /// Puts a space before each piece that does not begin with one.
        case space
        /// Replaces spaces by a scalar, and cuts before each of them.
        case metaspace([UInt8], Prepending, splits: Bool)
    }

    /// The steps, in order.
    private(set) var steps: [Step] = []
    /// Whether the pieces are then taken as bytes, each of which is a scalar of the vocabulary.
    private(set) var isByteLevel = false

    private static let maximumSteps = 32

    /// Makes a pre-tokenizer of these steps.
    init(steps: [Step] = [], isByteLevel: Bool = false) {
        self.steps = steps
        self.isByteLevel = isByteLevel
    }

    /// Bytes that one byte of text becomes, at most.
    var growth: Int {
        steps.reduce(1) { growth, step in
            switch step {
            case .split: growth
            case .space: min(2 * growth, 1 << 20)
            case .metaspace(let replacement, _, _): min(growth * 2 * max(1, replacement.count), 1 << 20)
            }
        }
    }

    // MARK: - From tokenizer.json

    /// Reads the member `pre_tokenizer`.
    ///
    /// - Throws: `tokenizerInvalid` for what is not supported.
    init(_ json: JSONValue?) throws {
        if let json, json != .null { try add(json, depth: 0) }
    }

    private mutating func add(_ json: JSONValue, depth: Int) throws {
        guard let type = json["type"]?.string else {
            throw TokenizerFailure.invalid("a pre-tokenizer without `type`", "an object with a type, or null")
        }
        guard steps.count < PreTokenizer.maximumSteps, depth < 8 else {
            throw TokenizerFailure.unsupported("more than \(PreTokenizer.maximumSteps) pre-tokenizers")
        }
        guard !isByteLevel || type == "Sequence" else {
            throw TokenizerFailure.unsupported("the pre-tokenizer \(type.prefix(80)) after ByteLevel")
        }
        switch type {
        case "Sequence":
            guard let parts = json["pretokenizers"]?.array else {
                throw TokenizerFailure.invalid("a sequence without `pretokenizers`", "an array")
            }
            for part in parts { try add(part, depth: depth + 1) }
        case "ByteLevel":
            if try PreTokenizer.flag(json, "add_prefix_space", true) { steps.append(.space) }
            if try PreTokenizer.flag(json, "use_regex", true) {
                steps.append(.split(.gpt2, .isolated, isInverted: false))
            }
            isByteLevel = true
        case "Digits":
            let pattern = try PreTokenizer.flag(json, "individual_digits", false) ? Pattern.digit : Pattern.digits
            steps.append(.split(pattern, .isolated, isInverted: false))
        case "Split": try addSplit(json)
        case "Metaspace": try addMetaspace(json)
        default: throw TokenizerFailure.unsupported("the pre-tokenizer \(type.prefix(80))")
        }
    }

    private mutating func addSplit(_ json: JSONValue) throws {
        guard let name = json["behavior"]?.string, let behavior = Behavior(rawValue: name), let text = json["pattern"]
        else { throw TokenizerFailure.invalid("a pre-tokenizer Split without `pattern` and `behavior`") }
        let pattern: Pattern
        if let literal = text["String"]?.string, !literal.isEmpty {
            pattern = Pattern(literal: Array(literal.utf8))
        } else if let expression = text["Regex"]?.string {
            pattern = try PatternParser.parse(expression)
        } else {
            throw TokenizerFailure.invalid("a pattern that is no text", "`String` or `Regex`")
        }
        steps.append(.split(pattern, behavior, isInverted: try PreTokenizer.flag(json, "invert", false)))
    }

    private mutating func addMetaspace(_ json: JSONValue) throws {
        guard let replacement = json["replacement"]?.string, replacement.unicodeScalars.count == 1 else {
            throw TokenizerFailure.invalid("a pre-tokenizer Metaspace without `replacement`", "one character")
        }
        let name = json["prepend_scheme"]?.string ?? "always"
        guard let prepending = Prepending(rawValue: name) else {
            throw TokenizerFailure.invalid("`prepend_scheme` \(name.prefix(40))", "always, never or first")
        }
        if let adds = json["add_prefix_space"]?.bool, adds != (prepending != .never) {
            throw TokenizerFailure.invalid(
                "a pre-tokenizer Metaspace whose `add_prefix_space` and `prepend_scheme` disagree")
        }
        steps.append(
            .metaspace(Array(replacement.utf8), prepending, splits: try PreTokenizer.flag(json, "split", true)))
    }

    private static func flag(_ json: JSONValue, _ key: String, _ usual: Bool) throws -> Bool {
        guard let value = json[key], value != .null else { return usual }
        guard let flag = value.bool else {
            throw TokenizerFailure.invalid("`\(key)`: \(value.text().prefix(40))", "true or false")
        }
        return flag
    }

    // MARK: - Cutting

    /// Cuts a range into pieces. None is empty.
    ///
    /// - Parameters:
    ///   - bytes: valid UTF-8.
    ///   - isFirst: whether the range begins where the whole text does.
    ///   - emit: gets each piece as a range of an array.
    func cut(
        _ bytes: [UInt8], _ range: Range<Int>, isFirst: Bool, step: Int = 0,
        _ emit: ([UInt8], Range<Int>) throws -> Void
    ) throws {
        guard !range.isEmpty else { return }
        guard step < steps.count else { return try emit(bytes, range) }
        func next(_ bytes: [UInt8], _ piece: Range<Int>) throws {
            let isFirst = isFirst && piece.lowerBound == range.lowerBound
            if step + 1 == steps.count {
                try emit(bytes, piece)
            } else {
                try cut(bytes, piece, isFirst: isFirst, step: step + 1, emit)
            }
        }
        switch steps[step] {
        case .split(let pattern, .isolated, _): try pattern.cut(bytes, range) { piece, _ in try next(bytes, piece) }
        case .split(let pattern, let behavior, let isInverted):
            var joiner = PieceJoiner(behavior: behavior)
            try pattern.cut(bytes, range) { piece, isMatch in
                if let whole = joiner.add(piece, isMatch != isInverted) { try next(bytes, whole) }
            }
            if let whole = joiner.pending { try next(bytes, whole) }
        case .space:
            guard bytes[range.lowerBound] != 0x20 else { return try next(bytes, range) }
            let longer = [0x20] + bytes[range]
            try cut(longer, 0..<longer.count, isFirst: isFirst, step: step + 1, emit)
        case .metaspace(let replacement, let prepending, let splits):
            var text = TextNormalizer.replaced(Array(bytes[range]), [0x20], by: replacement)
            let prepends = prepending == .always || prepending == .first && isFirst
            if prepends, !text.starts(with: replacement) { text = replacement + text }
            guard splits else { return try cut(text, 0..<text.count, isFirst: isFirst, step: step + 1, emit) }
            var joiner = PieceJoiner(behavior: .mergedWithNext)
            func piece(_ piece: Range<Int>) throws {
                try cut(text, piece, isFirst: isFirst && piece.lowerBound == 0, step: step + 1, emit)
            }
            try Pattern(literal: replacement).cut(text, 0..<text.count) { range, isMatch in
                if let whole = joiner.add(range, isMatch) { try piece(whole) }
            }
            if let whole = joiner.pending { try piece(whole) }
        }
    }
}

/// Joins matches and gaps that follow each other, as a behavior says.
struct PieceJoiner {
    let behavior: PreTokenizer.Behavior
    /// A piece that may still grow; the last one, after the last call of `add`.
    private(set) var pending: Range<Int>?
    private var wasMatch = false

    /// Starts without a piece.
    init(behavior: PreTokenizer.Behavior) { self.behavior = behavior }

    /// Takes the next match or gap, and returns a piece that is complete; nil if there is none.
    mutating func add(_ piece: Range<Int>, _ isMatch: Bool) -> Range<Int>? {
        let joins: Bool
        switch behavior {
        case .isolated: joins = false
        case .removed:
            if isMatch { return nil }
            joins = false
        case .contiguous: joins = pending != nil && wasMatch == isMatch
        case .mergedWithPrevious: joins = pending != nil && isMatch && !wasMatch
        case .mergedWithNext: joins = pending != nil && wasMatch && !isMatch
        }
        wasMatch = isMatch
        guard !joins else {
            pending = (pending?.lowerBound ?? piece.lowerBound)..<piece.upperBound
            return nil
        }
        defer { pending = piece }
        return pending
    }
}
