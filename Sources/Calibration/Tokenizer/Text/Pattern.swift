/// A regular expression of the kind that pre-tokenizers use: alternatives of repeated sets of scalars, tried in order.
///
/// Repetition takes as much as it can and gives back one by one. The end of the searched range is the end of the text.
struct Pattern: Sendable {
    /// A set that is repeated.
    struct Item: Sendable {
        var set: ScalarSet
        var minimum: Int
        var maximum: Int
        /// Whether what was taken is never given back.
        var isPossessive: Bool

        /// Makes an item; without counts, it is one scalar.
        init(_ set: ScalarSet, minimum: Int = 1, maximum: Int = 1, isPossessive: Bool = false) {
            self.set = set
            self.minimum = minimum
            self.maximum = maximum
            self.isPossessive = isPossessive
        }
    }

    /// Items in a row.
    struct Alternative: Sendable {
        var items: [Item] = []
        /// The scalar after the match must not be in this set.
        var notFollowedBy: ScalarSet?
    }

    /// Alternatives at most.
    static let maximumAlternatives = 64

    private let alternatives: [Alternative]
    /// For each scalar below U+0080, the alternatives that a match may begin with, one bit each.
    private let starts: [UInt64]

    /// Makes a pattern. Each alternative must take one scalar or more.
    init(_ alternatives: [Alternative]) {
        self.alternatives = alternatives
        starts = (UInt32(0)..<128).map { value in
            var bits: UInt64 = 0
            for (index, alternative) in alternatives.enumerated() {
                for item in alternative.items {
                    if item.set.contains(value) { bits |= 1 << UInt64(index) }
                    if item.minimum > 0 { break }
                }
            }
            return bits
        }
    }

    /// Makes a pattern that matches a text.
    init(literal: [UInt8]) {
        var alternative = Alternative()
        var index = 0
        while index < literal.count {
            let (value, length) = UTF8Text.scalar(literal, index)
            alternative.items.append(Item(ScalarSet(ranges: [value...value])))
            index += length
        }
        self.init([alternative])
    }

    /// Cuts a range into matches and the gaps between them, in order. No piece is empty.
    ///
    /// - Parameters:
    ///   - bytes: valid UTF-8.
    ///   - emit: gets each piece, and whether it is a match.
    /// - Throws: `tokenizerInvalid` if matching gives back more than 64 scalars for each byte, which would take minutes for long texts.
    @inline(__always)
    func cut(_ bytes: [UInt8], _ range: Range<Int>, _ emit: (Range<Int>, Bool) throws -> Void) throws {
        var budget = 64 * range.count + 4096
        var position = range.lowerBound
        var gap = position
        while position < range.upperBound {
            let end = match(bytes, position, range.upperBound, &budget)
            guard budget > 0 else {
                throw TokenizerFailure.invalid(
                    "a pattern that needs more than 64 steps for each byte of the text", "a pattern that is simpler")
            }
            guard end > position else {
                position += UTF8Text.length(bytes[position])
                continue
            }
            if gap < position { try emit(gap..<position, false) }
            try emit(position..<end, true)
            position = end
            gap = end
        }
        if gap < range.upperBound { try emit(gap..<range.upperBound, false) }
    }

    /// End of the match that begins at `position`; -1 if there is none.
    @inline(__always)
    private func match(_ bytes: [UInt8], _ position: Int, _ end: Int, _ budget: inout Int) -> Int {
        let lead = bytes[position]
        var left = lead < 0x80 ? starts[Int(lead)] : UInt64.max
        while left != 0 {
            let index = left.trailingZeroBitCount
            guard index < alternatives.count else { break }
            left &= left - 1
            let found = match(index, 0, bytes, position, end, &budget)
            if found >= 0 { return found }
        }
        return -1
    }

    private func match(
        _ alternative: Int, _ itemIndex: Int, _ bytes: [UInt8], _ start: Int, _ end: Int, _ budget: inout Int
    ) -> Int {
        let isLast = itemIndex == alternatives[alternative].items.count
        if isLast {
            guard let set = alternatives[alternative].notFollowedBy, start < end else { return start }
            return set.contains(UTF8Text.scalar(bytes, start).value) ? -1 : start
        }
        let item = alternatives[alternative].items[itemIndex]
        var position = start
        var count = 0
        while count < item.maximum, position < end {
            let (value, length) = UTF8Text.scalar(bytes, position)
            guard item.set.contains(value) else { break }
            position += length
            count += 1
        }
        budget -= count
        guard count >= item.minimum else { return -1 }
        while true {
            let found = match(alternative, itemIndex + 1, bytes, position, end, &budget)
            if found >= 0 { return found }
            guard !item.isPossessive, count > item.minimum, budget > 0 else { return -1 }
            position = UTF8Text.before(bytes, position)
            count -= 1
            budget -= 1
        }
    }
}

extension Pattern {
    /// The pattern of GPT-2, built into the pre-tokenizer `ByteLevel`.
    static let gpt2 = known(#"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#)
    /// The pattern of Llama 3.
    static let llama3 = known(
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    )
    /// The pattern of Qwen2.
    static let qwen2 = known(
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    )
    /// A number, as the pre-tokenizer `Digits` finds it.
    static let digit = Pattern([Alternative(items: [Item(ScalarSet(properties: ScalarProperties.newestNumber))])])
    /// Numbers in a row.
    static let digits = Pattern([
        Alternative(items: [Item(ScalarSet(properties: ScalarProperties.newestNumber), maximum: .max)])
    ])

    /// A pattern of this file, which the parser accepts.
    static func known(_ text: String) -> Pattern {
        guard let pattern = try? PatternParser.parse(text) else { preconditionFailure("the pattern \(text)") }
        return pattern
    }
}
