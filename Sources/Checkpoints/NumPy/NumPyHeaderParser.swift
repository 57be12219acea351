import TensorModel

/// Parses the header of an array, a Python dictionary with exactly three entries. It accepts what NumPy writes, and also other white space
/// and both kinds of quotation marks.
struct NumPyHeaderParser {
    /// Element type and shape of an array.
    struct Array {
        let elementType: ElementType
        let shape: Shape
    }

    private let bytes: [UInt8]
    /// Offset of the text in the file, for messages.
    private let start: UInt64
    private let limits: Limits
    private var position = 0

    init(_ bytes: [UInt8], start: UInt64, limits: Limits) {
        self.bytes = bytes
        self.start = start
        self.limits = limits
    }

    /// Parses the whole header. Throws `unsupportedSource` for types and orders that are not read, and an error for each rule of the
    /// format.
    mutating func parse() throws -> Array {
        var elementType: ElementType?
        var isColumnMajor: Bool?
        var shape: Shape?
        try take("{", "the opening brace of a header")
        while try !takeIf("}") {
            let place = position
            let key = try readString()
            try take(":", "a colon")
            let isRepeated: Bool
            switch key {
            case "descr":
                isRepeated = elementType != nil
                elementType = try readElementType()
            case "fortran_order":
                isRepeated = isColumnMajor != nil
                isColumnMajor = try readTruth()
            case "shape":
                isRepeated = shape != nil
                shape = try readShape()
            default:
                throw failure(.headerSyntax, "the key `\(key.prefix(80))`", at: place, "descr, fortran_order or shape")
            }
            guard !isRepeated else { throw failure(.duplicateKey, "the key `\(key)` a second time", at: place) }
            if try !takeIf(",") {
                try take("}", "a comma or the closing brace")
                break
            }
        }
        skipSpace()
        guard position == bytes.count else {
            throw failure(.trailingBytes, "more text after the header's dictionary", "white space")
        }
        guard let elementType, let isColumnMajor, let shape else {
            let missing = elementType == nil ? "descr" : shape == nil ? "shape" : "fortran_order"
            throw failure(.missingField, "a header without `\(missing)`", at: 0, "descr, fortran_order and shape")
        }
        // Both orders are the same if at most one dimension is greater than 1.
        guard !isColumnMajor || shape.dimensions.count(where: { $0 != 1 }) <= 1 || shape.elementCount == 0 else {
            throw IngotError(
                .unsupportedSource, offset: start, found: "an array of \(shape) in Fortran order, column by column",
                expected: "an array in C order, row by row", remedy: "save it as numpy.ascontiguousarray(array)")
        }
        return Array(elementType: elementType, shape: shape)
    }

    // MARK: - Values

    private static let elementTypes: [String: ElementType] = [
        "b1": .bool, "i1": .i8, "u1": .u8, "i2": .i16, "u2": .u16, "i4": .i32, "u4": .u32, "i8": .i64, "u8": .u64,
        "f2": .f16, "f4": .f32, "f8": .f64, "c8": .c64,
    ]

    private mutating func readElementType() throws -> ElementType {
        skipSpace()
        let place = position
        guard let next = peek(), next == UInt8(ascii: "'") || next == UInt8(ascii: "\"") else {
            throw unsupported("a structured array, or a type that is no text", at: place)
        }
        let text = try readString()
        if text.hasPrefix(">") {
            throw unsupported(
                "elements of type `\(text.prefix(20))`, big-endian", at: place,
                remedy: "save it as array.astype(array.dtype.newbyteorder('<'))")
        }
        let kind = String(text.dropFirst())
        guard let order = text.first, let type = NumPyHeaderParser.elementTypes[kind],
            order == "<" || order == "|" && type.bitWidth == 8
        else {
            switch kind.first {
            case "O":
                throw unsupported(
                    "Python objects, which only unpickling would bring back", at: place,
                    remedy: "save an array of numbers; ingot runs no pickles")
            case "V":
                throw unsupported(
                    "elements of type `\(text.prefix(20))`: bytes that NumPy has no type for, such as bfloat16",
                    at: place,
                    remedy: "save the array as float32, or the checkpoint as safetensors")
            default: throw unsupported("elements of type `\(text.prefix(20))`", at: place)
            }
        }
        return type
    }

    private func unsupported(_ found: String, at place: Int, remedy: Remedy? = nil) -> IngotError {
        IngotError(
            .unsupportedSource, offset: start + UInt64(place), found: found,
            expected: "little-endian numbers: " + NumPyHeaderParser.elementTypes.keys.sorted().joined(separator: ", "),
            remedy: remedy ?? "save the array in one of these types")
    }

    private mutating func readTruth() throws -> Bool {
        skipSpace()
        for (word, value) in [("True", true), ("False", false)] where bytes[position...].starts(with: word.utf8) {
            position += word.utf8.count
            return value
        }
        throw failure(.headerSyntax, "no truth value", "True or False")
    }

    private mutating func readShape() throws -> Shape {
        try take("(", "the opening parenthesis of a shape")
        let place = position
        var dimensions: [Int] = []
        var hasComma = false
        while try !takeIf(")") {
            guard dimensions.count < limits.rank else {
                throw failure(.invalidShape, "more than \(limits.rank) dimensions", "at most \(limits.rank)")
            }
            dimensions.append(try readDimension())
            hasComma = try takeIf(",")
            if !hasComma {
                try take(")", "a comma or the closing parenthesis")
                break
            }
        }
        // In Python (3) is a number, not a tuple.
        guard dimensions.count != 1 || hasComma else {
            throw failure(.headerSyntax, "a number for a shape", at: place, "a tuple such as (3,)")
        }
        guard let shape = Shape(dimensions) else {
            throw failure(.invalidShape, "a shape whose number of elements overflows", at: place)
        }
        return shape
    }

    private mutating func readDimension() throws -> Int {
        skipSpace()
        let place = position
        var value: UInt64 = 0
        while let byte = peek(), (0x30...0x39).contains(byte) {
            guard let next = Checked.multiply(value, 10).flatMap({ Checked.add($0, UInt64(byte - 0x30)) }),
                next <= UInt64(Int.max)
            else { throw failure(.invalidShape, "a dimension beyond 2^63", at: place) }
            value = next
            position += 1
        }
        let isPadded = position > place + 1 && bytes[place] == 0x30
        guard position > place, !isPadded else {
            throw failure(.invalidShape, "no dimension", at: place, "a number in decimal digits")
        }
        return Int(value)
    }

    // MARK: - Text

    private func peek() -> UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = peek(), byte == 0x20 || (0x09...0x0D).contains(byte) { position += 1 }
    }

    private mutating func takeIf(_ character: Character) throws -> Bool {
        skipSpace()
        guard let byte = peek(), byte == character.asciiValue else { return false }
        position += 1
        return true
    }

    private mutating func take(_ character: Character, _ what: String) throws {
        guard try takeIf(character) else { throw failure(.headerSyntax, "something else", what) }
    }

    /// Reads a text in quotation marks, without escapes.
    private mutating func readString() throws -> String {
        skipSpace()
        guard let quote = peek(), quote == UInt8(ascii: "'") || quote == UInt8(ascii: "\"") else {
            throw failure(.headerSyntax, "no text in quotation marks", "a key or a type")
        }
        position += 1
        let first = position
        while let byte = peek(), byte != quote {
            guard byte >= 0x20, byte < 0x7F, byte != UInt8(ascii: "\\") else {
                throw failure(.headerSyntax, "an escape or a character that is not ASCII", "plain text")
            }
            position += 1
        }
        guard position < bytes.count else { throw failure(.headerSyntax, "a text without end", at: first) }
        defer { position += 1 }
        return String(decoding: bytes[first..<position], as: UTF8.self)
    }

    private func failure(
        _ code: IngotError.Code, _ found: String, at place: Int? = nil, _ expected: String? = nil
    ) -> IngotError {
        IngotError(code, offset: start + UInt64(place ?? position), found: found, expected: expected)
    }
}
