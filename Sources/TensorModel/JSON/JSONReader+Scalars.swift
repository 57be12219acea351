/// Strings and numbers.
extension JSONReader {
    // MARK: - Strings

    /// Reads a string and resolves its escapes.
    ///
    /// - Throws: `invalidText` for NUL (raw or escaped), for a raw control character, for half of a surrogate pair and for invalid UTF-8;
    ///   `headerSyntax` for any other fault.
    package mutating func readString() throws -> String {
        guard peek() == UInt8(ascii: "\"") else { throw unexpected("a string") }
        let start = position + 1
        var index = start
        var high: UInt8 = 0
        while index < end {
            let byte = bytes[index]
            if byte == UInt8(ascii: "\"") {
                position = index + 1
                return try decoded(bytes[start..<index], ascii: high < 0x80, at: start)
            }
            if byte == UInt8(ascii: "\\") {
                position = index
                return try readEscapedString(from: start)
            }
            guard byte >= 0x20 else { throw controlCharacter(at: index) }
            high |= byte
            index += 1
        }
        throw failure("the text ends inside a string", at: end, expected: "a closing quote")
    }

    private func decoded(_ slice: ArraySlice<UInt8>, ascii: Bool, at start: Int) throws -> String {
        if ascii { return String(decoding: slice, as: UTF8.self) }
        guard let text = String(validating: slice, as: UTF8.self) else {
            throw failure("a string that is not valid UTF-8", as: .invalidText, at: start, expected: "UTF-8")
        }
        return text
    }

    /// The slow path, for strings with escapes: `position` is at the first backslash.
    private mutating func readEscapedString(from start: Int) throws -> String {
        var text = Array(bytes[start..<position])
        while position < end {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return try decoded(text[...], ascii: false, at: start)
            case UInt8(ascii: "\\"): try readEscape(into: &text)
            case 0..<0x20: throw controlCharacter(at: position - 1)
            default: text.append(byte)
            }
        }
        throw failure("the text ends inside a string", expected: "a closing quote")
    }

    private mutating func readEscape(into text: inout [UInt8]) throws {
        guard position < end else { throw failure("the text ends inside an escape", expected: "an escaped character") }
        let start = position - 1
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
                guard low >= 0xDC00, low < 0xE000 else { throw loneSurrogate(at: start) }
                unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
            }
            guard let scalar = UnicodeScalar(unit) else { throw loneSurrogate(at: start) }
            guard unit != 0 else { throw failure("NUL in a string", as: .invalidText, at: start) }
            text.append(contentsOf: UTF8.encode(scalar).map { Array($0) } ?? [])
        default:
            throw failure(
                "an unknown escape", at: start, expected: "one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u")
        }
    }

    private mutating func readHexUnit() throws -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            let digit: UInt8? =
                switch position < end ? bytes[position] : 0 {
                case let byte where byte >= 0x30 && byte <= 0x39: byte - 0x30
                case let byte where byte >= 0x41 && byte <= 0x46: byte - 0x41 + 10
                case let byte where byte >= 0x61 && byte <= 0x66: byte - 0x61 + 10
                default: nil
                }
            guard let digit else { throw failure("a \\u escape without four hexadecimal digits") }
            unit = unit << 4 | UInt32(digit)
            position += 1
        }
        return unit
    }

    private func controlCharacter(at index: Int) -> IngotError {
        failure(
            bytes[index] == 0 ? "NUL in a string" : "a control character in a string", as: .invalidText, at: index,
            expected: "control characters escaped")
    }

    private func loneSurrogate(at index: Int) -> IngotError {
        failure(
            "half of a surrogate pair in a string", as: .invalidText, at: index, expected: "a Unicode scalar value")
    }

    // MARK: - Numbers

    /// Reads a whole number below 2^64, without sign, fraction, exponent or leading zero. Throws `code` for any other number.
    package mutating func readUnsigned(_ code: IngotError.Code = .headerSyntax) throws -> UInt64 {
        guard let first = peek() else { throw unexpected("a whole number") }
        let start = position
        var value: UInt64 = 0
        while let digit = digit(at: position) {
            guard let tens = Checked.multiply(value, 10), let next = Checked.add(tens, UInt64(digit)) else {
                throw failure("a number over 2^64 - 1", as: code, at: start, expected: "a number of 64 bits")
            }
            value = next
            position += 1
        }
        let digits = position - start
        var clean = digits > 0 && (digits == 1 || first != 0x30)
        if position < end {
            switch bytes[position] {
            case 0x2B, 0x2D, 0x2E, 0x45, 0x65: clean = false
            default: break
            }
        }
        guard clean else {
            throw failure(describe(start), as: code, at: start, expected: "a whole number, 0 or more")
        }
        return value
    }

    /// Reads a number with an optional sign, fraction and exponent, and returns its text.
    package mutating func readNumberText() throws -> String {
        skipWhitespace()
        let start = position
        _ = take(UInt8(ascii: "-"))
        let whole = position
        let count = takeDigits()
        var clean = count > 0 && (count == 1 || bytes[whole] != 0x30)
        if take(UInt8(ascii: ".")) { clean = takeDigits() > 0 && clean }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            _ = take(UInt8(ascii: "+")) || take(UInt8(ascii: "-"))
            clean = takeDigits() > 0 && clean
        }
        guard clean else { throw failure(describe(start), at: start, expected: "a number") }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    private func digit(at index: Int) -> UInt8? {
        guard index < end, case let byte = bytes[index], byte >= 0x30, byte <= 0x39 else { return nil }
        return byte - 0x30
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard position < end, bytes[position] == byte else { return false }
        position += 1
        return true
    }

    private mutating func takeDigits() -> Int {
        let start = position
        while digit(at: position) != nil { position += 1 }
        return position - start
    }
}
