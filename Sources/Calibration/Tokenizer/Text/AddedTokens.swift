import TensorModel

/// Tokens that are looked for in the text before anything else, such as `<|endoftext|>`.
struct AddedTokens: Sendable {
    /// One of them.
    struct Token: Sendable {
        /// The text that is looked for.
        var content: [UInt8]
        /// Its id.
        var id: Int32
        /// Whether it is looked for in the normalized text.
        var isNormalized = false
        /// Whether white space before it is part of it.
        var takesSpaceBefore = false
        /// Whether white space after it is part of it.
        var takesSpaceAfter = false
        /// Whether no letter, digit or the like may touch it.
        var isSingleWord = false
    }

    /// Bytes of a token at most.
    static let maximumBytes = 512

    private let tokens: [Token]
    /// The node below a node and a byte: key `node << 8 | byte`.
    private var children: [UInt64: Int32] = [:]
    /// For each node, the token that ends there; -1 for none.
    private var ends: [Int32] = [-1]
    private var starts = [Bool](repeating: false, count: 256)

    /// Makes a set. Where two tokens have the same text, the first counts.
    init(_ tokens: [Token]) {
        self.tokens = tokens
        for (index, token) in tokens.enumerated() where !token.content.isEmpty {
            var node: UInt64 = 0
            for byte in token.content {
                let key = node << 8 | UInt64(byte)
                if let next = children[key] {
                    node = UInt64(next)
                } else {
                    children[key] = Int32(ends.count)
                    node = UInt64(ends.count)
                    ends.append(-1)
                }
            }
            if ends[Int(node)] < 0 { ends[Int(node)] = Int32(index) }
            starts[Int(token.content[0])] = true
        }
    }

    /// Whether there is no token.
    var isEmpty: Bool { tokens.isEmpty }

    /// Cuts a text into tokens and what lies between them: the leftmost first, the longest of those.
    ///
    /// - Parameter emit: gets each range, and the id of the token; nil for text between tokens.
    func cut(_ bytes: [UInt8], _ emit: (Range<Int>, Int32?) throws -> Void) throws {
        var position = 0
        var done = 0
        while position < bytes.count {
            guard starts[Int(bytes[position])], let (token, end) = longest(bytes, position) else {
                position += 1
                continue
            }
            var start = position
            var stop = end
            position = end
            if token.isSingleWord {
                let touchesBefore = start > 0 && isWord(bytes, UTF8Text.before(bytes, start))
                if touchesBefore || stop < bytes.count && isWord(bytes, stop) { continue }
            }
            if token.takesSpaceBefore {
                while start > done, case let before = UTF8Text.before(bytes, start), before >= done,
                    isSpace(bytes, before)
                {
                    start = before
                }
            }
            if token.takesSpaceAfter {
                while stop < bytes.count, isSpace(bytes, stop) { stop += UTF8Text.length(bytes[stop]) }
            }
            if done < start { try emit(done..<start, nil) }
            try emit(start..<max(start, stop), token.id)
            done = stop
        }
        if done < bytes.count { try emit(done..<bytes.count, nil) }
    }

    private func longest(_ bytes: [UInt8], _ start: Int) -> (Token, Int)? {
        var node: UInt64 = 0
        var index = start
        var found: (Token, Int)?
        while index < bytes.count, let next = children[node << 8 | UInt64(bytes[index])] {
            index += 1
            node = UInt64(next)
            if case let token = ends[Int(node)], token >= 0 { found = (tokens[Int(token)], index) }
        }
        return found
    }

    private func isWord(_ bytes: [UInt8], _ index: Int) -> Bool {
        ScalarProperties.isWord(UTF8Text.scalar(bytes, index).value)
    }

    private func isSpace(_ bytes: [UInt8], _ index: Int) -> Bool {
        ScalarProperties.of(UTF8Text.scalar(bytes, index).value) & ScalarProperties.whitespace != 0
    }
}
