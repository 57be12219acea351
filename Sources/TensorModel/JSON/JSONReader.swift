/// A strict pull reader of JSON over bytes (RFC 8259), for input nobody vouches for.
///
/// Foundation's decoder keeps the first of two equal keys, merges keys that are Unicode-equivalent, and takes seconds
/// for a large header. This one never recurses, never allocates from a declared size, and leaves duplicates to the
/// caller, who knows which objects must not have any. Offsets in errors count from the start of the file.
public struct JSONReader: Sendable {
    private let bytes: [UInt8]
    private let end: Int
    private let origin: UInt64
    private let maximumDepth: Int
    private var depth = 0
    /// Index of the next byte to read.
    public private(set) var position: Int

    /// A reader over `bytes[range]`.
    ///
    /// - Parameters:
    ///   - bytes: the text, UTF-8.
    ///   - range: the part of it to read; everything by default.
    ///   - origin: offset in the file of `bytes[0]`, for error messages.
    ///   - maximumDepth: how deep brackets may nest.
    public init(_ bytes: [UInt8], range: Range<Int>? = nil, origin: UInt64 = 0, maximumDepth: Int) {
        self.bytes = bytes
        self.origin = origin
        self.maximumDepth = maximumDepth
        let range = range ?? 0..<bytes.count
        position = range.lowerBound
        end = range.upperBound
    }

    /// An error at a byte of the text.
    public func failure(
        _ found: String, as code: IngotError.Code = .headerSyntax, at index: Int? = nil, expected: String? = nil
    ) -> IngotError {
        IngotError(code, offset: origin + UInt64(index ?? position), found: found, expected: expected)
    }

    /// Steps over white space.
    public mutating func skipWhitespace() {
        while position < end {
            switch bytes[position] {
            case 0x20, 0x09, 0x0A, 0x0D: position += 1
            default: return
            }
        }
    }

    /// The next byte after white space, not consumed; nil at the end.
    public mutating func peek() -> UInt8? {
        skipWhitespace()
        return position < end ? bytes[position] : nil
    }

    /// Reads an object, calling `member` with each key; `member` must read exactly the value.
    public mutating func readObject(_ member: (inout JSONReader, String) throws -> Void) throws {
        try open(UInt8(ascii: "{"), "an object")
        if try close(UInt8(ascii: "}"), first: true) { return }
        repeat {
            guard peek() == UInt8(ascii: "\"") else { throw failure(describeNext(), expected: "a key in quotes") }
            let key = try readString()
            guard peek() == UInt8(ascii: ":") else { throw failure(describeNext(), expected: "a colon") }
            position += 1
            try member(&self, key)
        } while try !close(UInt8(ascii: "}"), first: false)
    }

    /// Reads an array, calling `element` before each element; `element` must read exactly one value.
    public mutating func readArray(_ element: (inout JSONReader) throws -> Void) throws {
        try open(UInt8(ascii: "["), "an array")
        if try close(UInt8(ascii: "]"), first: true) { return }
        repeat { try element(&self) } while try !close(UInt8(ascii: "]"), first: false)
    }

    /// Reads a whole number without sign, fraction, exponent or leading zero.
    public mutating func readUnsigned(_ code: IngotError.Code = .headerSyntax) throws -> UInt64 {
        guard let first = peek() else { throw failure("the text ends", expected: "a whole number") }
        let start = position
        var value: UInt64 = 0
        while position < end, case let byte = bytes[position], byte >= 0x30, byte <= 0x39 {
            guard let tens = Checked.multiply(value, 10), let next = Checked.add(tens, UInt64(byte - 0x30)) else {
                throw failure("a number over 2^64 - 1", as: code, at: start, expected: "a number of 64 bits")
            }
            value = next
            position += 1
        }
        let digits = position - start
        var clean = digits > 0 && (digits == 1 || first != 0x30)
        if position < end, [0x2E, 0x45, 0x65, 0x2B, 0x2D].contains(bytes[position]) { clean = false }
        guard clean else {
            throw failure(describe(start), as: code, at: start, expected: "a whole number, not negative")
        }
        return value
    }

    /// Reads a string, escapes resolved. NUL is refused, raw or escaped, and so is a lone surrogate.
    public mutating func readString() throws -> String {
        guard peek() == UInt8(ascii: "\"") else { throw failure(describeNext(), expected: "a string") }
        position += 1
        let start = position
        var ascii = true
        while position < end {
            let byte = bytes[position]
            if byte == UInt8(ascii: "\"") {
                let text = try decoded(bytes[start..<position], ascii: ascii, at: start)
                position += 1
                return text
            }
            if byte == UInt8(ascii: "\\") { return try readEscapedString(from: start) }
            guard byte >= 0x20 else { throw failure("a control character in a string", as: .invalidText) }
            if byte >= 0x80 { ascii = false }
            position += 1
        }
        throw failure("the text ends inside a string", expected: "a closing quote")
    }

    /// Steps over one value of any kind, checking its syntax, without recursion.
    public mutating func skipValue() throws {
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
            if closers.last == UInt8(ascii: "}") {
                guard peek() == UInt8(ascii: "\"") else {
                    throw failure(describeNext(), expected: "a key in quotes")
                }
                _ = try readString()
                guard peek() == UInt8(ascii: ":") else { throw failure(describeNext(), expected: "a colon") }
                position += 1
            }
        } while !closers.isEmpty
    }

    /// Reads a number that may have a sign, a fraction and an exponent; its text.
    public mutating func readNumberText() throws -> String {
        skipWhitespace()
        let start = position
        func digits(_ reader: inout JSONReader) -> Int {
            let from = reader.position
            while reader.position < reader.end, (0x30...0x39).contains(reader.bytes[reader.position]) {
                reader.position += 1
            }
            return reader.position - from
        }
        func take(_ reader: inout JSONReader, _ set: [UInt8]) -> Bool {
            guard reader.position < reader.end, set.contains(reader.bytes[reader.position]) else { return false }
            reader.position += 1
            return true
        }
        _ = take(&self, [UInt8(ascii: "-")])
        let whole = position
        let count = digits(&self)
        var clean = count > 0 && (count == 1 || bytes[whole] != 0x30)
        if take(&self, [UInt8(ascii: ".")]) { clean = digits(&self) > 0 && clean }
        if take(&self, [UInt8(ascii: "e"), UInt8(ascii: "E")]) {
            _ = take(&self, [UInt8(ascii: "+"), UInt8(ascii: "-")])
            clean = digits(&self) > 0 && clean
        }
        guard clean else { throw failure(describe(start), at: start, expected: "a number") }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    /// Reads one of `true`, `false`, `null` if it comes next.
    public mutating func readLiteral() throws -> JSONValue {
        for (word, value) in [("true", JSONValue.bool(true)), ("false", .bool(false)), ("null", .null)] {
            let utf8 = Array(word.utf8)
            if end - position >= utf8.count, bytes[position..<position + utf8.count].elementsEqual(utf8) {
                position += utf8.count
                return value
            }
        }
        throw failure(describeNext(), expected: "a value")
    }

    /// Requires that only white space is left.
    public mutating func requireEnd() throws {
        guard peek() == nil else {
            throw failure("bytes after the end of the text: " + describe(position), as: .trailingBytes)
        }
    }

    // MARK: - Steps

    private mutating func open(_ bracket: UInt8, _ what: String) throws {
        guard peek() == bracket else { throw failure(describeNext(), expected: what) }
        depth += 1
        guard depth <= maximumDepth else {
            throw failure(
                "brackets nested \(depth) deep", as: .nestingTooDeep, expected: "at most \(maximumDepth) levels")
        }
        position += 1
    }

    /// Steps over the closing bracket (true) or, unless nothing has been read yet, over a comma (false).
    private mutating func close(_ bracket: UInt8, first: Bool) throws -> Bool {
        if peek() == bracket {
            position += 1
            depth -= 1
            return true
        }
        if first { return false }
        guard peek() == UInt8(ascii: ",") else {
            throw failure(describeNext(), expected: "a comma or `\(Character(UnicodeScalar(bracket)))`")
        }
        position += 1
        return false
    }

    private mutating func skipScalar() throws {
        switch peek() {
        case UInt8(ascii: "\""): _ = try readString()
        case UInt8(ascii: "-"), .some(0x30...0x39): _ = try readNumberText()
        case .some: _ = try readLiteral()
        case nil: throw failure("the text ends", expected: "a value")
        }
    }

    private func decoded(_ slice: ArraySlice<UInt8>, ascii: Bool, at start: Int) throws -> String {
        if ascii { return String(decoding: slice, as: UTF8.self) }
        guard let text = String(validating: slice, as: UTF8.self) else {
            throw failure("a string that is not valid UTF-8", as: .invalidText, at: start, expected: "UTF-8")
        }
        return text
    }

    /// The slow way, for strings with escapes: `position` stands at the first backslash.
    private mutating func readEscapedString(from start: Int) throws -> String {
        var text = Array(bytes[start..<position])
        while position < end {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return try decoded(text[...], ascii: false, at: start)
            case UInt8(ascii: "\\"): try readEscape(into: &text)
            case 0..<0x20: throw failure("a control character in a string", as: .invalidText, at: position - 1)
            default: text.append(byte)
            }
        }
        throw failure("the text ends inside a string", expected: "a closing quote")
    }

    private mutating func readEscape(into text: inout [UInt8]) throws {
        guard position < end else { throw failure("the text ends inside an escape") }
        let byte = bytes[position]
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            var unit = try readHexUnit()
            if unit >= 0xD800, unit < 0xDC00, position + 1 < end, bytes[position] == UInt8(ascii: "\\"),
                bytes[position + 1] == UInt8(ascii: "u")
            {
                position += 2
                let low = try readHexUnit()
                guard low >= 0xDC00, low < 0xE000 else { throw loneSurrogate() }
                unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = UnicodeScalar(unit) else { throw loneSurrogate() }
            guard scalar.value != 0 else { throw failure("NUL in a string", as: .invalidText) }
            text.append(contentsOf: Character(scalar).utf8)
        default:
            throw failure(
                "an unknown escape", at: position - 2,
                expected: "one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u")
        }
    }

    private func loneSurrogate() -> IngotError {
        failure("half of a surrogate pair in a string", as: .invalidText, expected: "a Unicode scalar value")
    }

    private mutating func readHexUnit() throws -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard position < end, let digit = Character(UnicodeScalar(bytes[position])).hexDigitValue else {
                throw failure("a \\u escape without four hexadecimal digits")
            }
            unit = unit << 4 | UInt32(digit)
            position += 1
        }
        return unit
    }

    private mutating func describeNext() -> String {
        skipWhitespace()
        return describe(position)
    }

    /// A few characters of the text, for a message.
    private func describe(_ index: Int) -> String {
        guard index < end else { return "the end of the text" }
        return "`" + String(decoding: bytes[index..<min(end, index + 16)], as: UTF8.self) + "`"
    }
}
