/// A strict pull reader of JSON (RFC 8259) for untrusted bytes.
///
/// Foundation's decoder keeps the first of two equal keys, merges keys that are Unicode-equivalent, and takes seconds for a large header.
/// This reader does not recurse and allocates nothing by a declared size. It accepts duplicate keys: the caller knows which objects must
/// not have them. Offsets in errors count from the start of the file.
package struct JSONReader: Sendable {
    let bytes: [UInt8]
    let end: Int
    private let origin: UInt64
    private let maximumDepth: Int
    private var depth = 0
    /// Whether `skipValue` accepts `NaN`, `Infinity` and `-Infinity`, which are not JSON. Always false for headers.
    package var acceptsNonFiniteNumbers = false
    /// Index of the next byte to read.
    package internal(set) var position: Int

    /// A reader over `bytes[range]`.
    ///
    /// - Parameters:
    ///   - bytes: the text, UTF-8.
    ///   - range: the part to read; nil means everything.
    ///   - origin: offset of `bytes[0]` in the file, for error messages.
    ///   - maximumDepth: levels of brackets that may be nested.
    package init(_ bytes: [UInt8], range: Range<Int>? = nil, origin: UInt64 = 0, maximumDepth: Int) {
        self.bytes = bytes
        self.origin = origin
        self.maximumDepth = maximumDepth
        let range = (range ?? 0..<bytes.count).clamped(to: 0..<bytes.count)
        position = range.lowerBound
        end = range.upperBound
    }

    /// An error at byte `index` of the text; nil means `position`.
    package func failure(
        _ found: String, as code: IngotError.Code = .headerSyntax, at index: Int? = nil, expected: String? = nil
    ) -> IngotError {
        IngotError(code, offset: origin + UInt64(index ?? position), found: found, expected: expected)
    }

    /// An error that says what was expected and quotes what comes next.
    package mutating func unexpected(_ expected: String, as code: IngotError.Code = .headerSyntax) -> IngotError {
        skipWhitespace()
        return failure(describe(position), as: code, expected: expected)
    }

    /// Skips white space.
    package mutating func skipWhitespace() {
        while position < end {
            switch bytes[position] {
            case 0x20, 0x09, 0x0A, 0x0D: position += 1
            default: return
            }
        }
    }

    /// The next byte after white space, not consumed; nil at the end.
    package mutating func peek() -> UInt8? {
        skipWhitespace()
        return position < end ? bytes[position] : nil
    }

    // MARK: - Structure

    /// Reads an object and calls `member` with each key. `member` must read exactly one value.
    package mutating func readObject(_ member: (inout JSONReader, String) throws -> Void) throws {
        try open(UInt8(ascii: "{"), "an object")
        if try close(UInt8(ascii: "}"), first: true) { return }
        repeat {
            let key = try readKey()
            try member(&self, key)
        } while try !close(UInt8(ascii: "}"), first: false)
    }

    /// Reads an array and calls `element` for each element. `element` must read exactly one value.
    package mutating func readArray(_ element: (inout JSONReader) throws -> Void) throws {
        try open(UInt8(ascii: "["), "an array")
        if try close(UInt8(ascii: "]"), first: true) { return }
        repeat { try element(&self) } while try !close(UInt8(ascii: "]"), first: false)
    }

    /// Skips one value of any kind and checks its syntax, without recursion.
    package mutating func skipValue() throws {
        var closers: [UInt8] = []
        repeat {
            var opened = false
            switch peek() {
            case UInt8(ascii: "{"):
                try open(UInt8(ascii: "{"), "an object")
                closers.append(UInt8(ascii: "}"))
                opened = true
            case UInt8(ascii: "["):
                try open(UInt8(ascii: "["), "an array")
                closers.append(UInt8(ascii: "]"))
                opened = true
            default: try skipScalar()
            }
            while let closer = closers.last, try close(closer, first: opened) {
                closers.removeLast()
                opened = false
            }
            if closers.last == UInt8(ascii: "}") { _ = try readKey() }
        } while !closers.isEmpty
    }

    /// Reads one of `true`, `false`, `null`.
    package mutating func readLiteral() throws -> JSONValue {
        skipWhitespace()
        for (word, value) in JSONReader.literals where bytes[position..<end].starts(with: word) {
            position += word.count
            return value
        }
        throw unexpected("a value")
    }

    /// Throws `trailingBytes` unless only white space is left.
    package mutating func requireEnd() throws {
        guard peek() == nil else {
            throw failure("bytes after the end of the text: " + describe(position), as: .trailingBytes)
        }
    }

    // MARK: - Steps

    private static let literals: [([UInt8], JSONValue)] = [
        (Array("true".utf8), .bool(true)), (Array("false".utf8), .bool(false)), (Array("null".utf8), .null),
    ]

    private mutating func readKey() throws -> String {
        guard peek() == UInt8(ascii: "\"") else { throw unexpected("a key in quotes") }
        let key = try readString()
        guard peek() == UInt8(ascii: ":") else { throw unexpected("a colon") }
        position += 1
        return key
    }

    private mutating func open(_ bracket: UInt8, _ what: String) throws {
        guard peek() == bracket else { throw unexpected(what) }
        depth += 1
        guard depth <= maximumDepth else {
            throw failure(
                "brackets nested \(depth) deep", as: .nestingTooDeep, expected: "at most \(maximumDepth) levels")
        }
        position += 1
    }

    /// Skips the closing bracket and returns true, or skips a comma and returns false. With `first`, no comma is due, so any other byte
    /// stays.
    private mutating func close(_ bracket: UInt8, first: Bool) throws -> Bool {
        let next = peek()
        if next == bracket {
            position += 1
            depth -= 1
            return true
        }
        if first { return false }
        guard next == UInt8(ascii: ",") else {
            throw unexpected("a comma or `\(Character(UnicodeScalar(bracket)))`")
        }
        position += 1
        return false
    }

    private mutating func skipScalar() throws {
        if acceptsNonFiniteNumbers, skipNonFiniteNumber() { return }
        switch peek() {
        case UInt8(ascii: "\""): _ = try readString()
        case UInt8(ascii: "-"), .some(0x30...0x39): _ = try readNumberText()
        default: _ = try readLiteral()
        }
    }

    /// Skips `NaN`, `Infinity` or `-Infinity`; returns false if none of them comes next.
    private mutating func skipNonFiniteNumber() -> Bool {
        skipWhitespace()
        for word in ["NaN", "Infinity", "-Infinity"] {
            let utf8 = Array(word.utf8)
            if end - position >= utf8.count, bytes[position..<position + utf8.count].elementsEqual(utf8) {
                position += utf8.count
                return true
            }
        }
        return false
    }

    /// At most 16 bytes of the text from `index` on, for a message.
    func describe(_ index: Int) -> String {
        guard index < end else { return "the end of the text" }
        return "`" + String(decoding: bytes[index..<min(end, index + 16)], as: UTF8.self) + "`"
    }
}
