import TensorModel
import Testing

/// What is JSON (RFC 8259) and what is not, in the manner of JSONTestSuite; the cases are our own.
@Suite struct JSONSyntaxTests {
    /// Reads `bytes` as a value, and steps over them; both must agree.
    static func verdict(_ bytes: [UInt8]) -> IngotError.Code? {
        let parsed = code { _ = try JSONValue.parse(bytes) }
        let skipped = code {
            var reader = JSONReader(bytes, maximumDepth: Limits.standard.documentDepth)
            try reader.skipValue()
            try reader.requireEnd()
        }
        // Which keys may occur twice only a reader of values can know.
        if parsed != .duplicateKey { #expect(parsed == skipped) }
        return parsed
    }

    private static func code(_ body: () throws -> Void) -> IngotError.Code? {
        do {
            try body()
            return nil
        } catch let error as IngotError {
            return error.code
        } catch {
            Issue.record(error)
            return nil
        }
    }

    @Test(arguments: [
        // Structure.
        "[]", "{}", "[[]]", "[{}]", "{\"a\":{}}", "[[],[]]", "[1,2,3]", "[1,\n2]", " [] ", "\t\r\n[ ]\n", "[1 ,2]",
        "{\"a\":1,\"b\":2}", "{ \"a\" : 1 , \"b\" : [ ] }", "{\"\":0}", "{\"a\":[{\"b\":[{}]}]}", "[null]",
        "[null,null]",
        // Bare values.
        "null", "true", "false", "0", "\"\"", " 1", "1 ", "\"a\"",
        // Numbers.
        "[0]", "[-0]", "[1]", "[-1]", "[10]", "[123456789012345678901234567890]", "[0.0]", "[0.5]", "[-0.5]", "[1.50]",
        "[1e1]", "[1E1]", "[1e+1]", "[1e-1]", "[0e1]", "[0e+1]", "[0.1e01]", "[1.5E-00]", "[1e400]", "[-1e-400]",
        "[18446744073709551615]", "[18446744073709551616]", "[-9223372036854775808]",
        // Strings.
        "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]", "[\"\\u0041\\u00e9\\u20ac\"]", "[\"\\uD83D\\uDE00\"]",
        "[\"\\uD83d\\ude00\"]",
        "[\"\u{7F}\"]", "[\"\u{2028}\u{2029}\"]", "[\"\u{E9}\u{65E5}\u{1F600}\"]", "[\"\u{FFFF}\"]", "[\"\u{FEFF}\"]",
        "[\"\\uFFFF\\uFEFF\"]", "[\"// no comment\"]", "[\"\\u0001\\u001f\"]", "[\"a\\\\\"]",
        "{\"\\u0061\":\"\\u0062\"}",
        "[\"\\uDBFF\\uDFFF\"]", "[\"\\\\u0000\"]",
    ])
    func isAccepted(_ text: String) { #expect(JSONSyntaxTests.verdict(Array(text.utf8)) == nil) }

    @Test(arguments: [
        // Structure.
        "", " ", "[", "]", "{", "}", "[1", "[1,", "[,1]", "[1,]", "[1,,2]", "[,]", "[1 2]", "[1:2]", "[1;2]", "[}",
        "{]",
        "[{]", "[[]", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{,\"a\":1}", "{\"a\":1,,\"b\":2}",
        "{\"a\" 1}", "{\"a\"::1}", "{\"a\",1}", "{a:1}", "{1:1}", "{'a':1}", "{null:1}", "{[]:1}", "{\"a\":1 \"b\":2}",
        "{:1}", "{\"a\":}", "{\"a\":1:2}", "{{}}", "{\"a\":[}", "{\"a\":{]}", "*", "[*]", "(1)", "<null>", "[1)",
        // Comments and other white space.
        "// c\n[]", "/* c */[]", "[/* c */]", "# c\n[]", "\u{B}[]", "\u{C}[]", "\u{A0}[]", "\u{2060}[]", "\u{FEFF}[]",
        "[\u{B}1]", "\u{85}1",
        // Literals.
        "tru", "[tru]", "nul", "fals", "True", "NULL", "None", "undefined", "[nil]", "yes", "t", "[t", "[true,fals]",
        // Numbers.
        "[01]", "[-01]", "[00]", "[+1]", "[.5]", "[-.5]", "[1.]", "[1.e1]", "[1e]", "[1e+]", "[1E-]", "[e1]", "[-]",
        "[--1]", "[- 1]", "[0.]", "[0.e1]", "[1.2.3]", "[0x10]", "[1_0]", "[1a]", "[1 0]", "[NaN]", "[-NaN]", "[Inf]",
        "[Infinity]", "[-Infinity]", "[1e1.5]", "[1ee1]", "[1+2]", "[1-2]", "[\u{FF11}]", "[\u{661}]", "[-a]", "[0e]",
        "-", "[-", "[1.", "[1e",
        // Strings.
        "\"", "[\"", "[\"a]", "[\"a\\\"]", "['a']", "[`a`]", "[\u{201C}a\u{201D}]", "[\"\\x41\"]", "[\"\\a\"]",
        "[\"\\'\"]", "[\"\\0\"]", "[\"\\U0041\"]", "[\"\\u\"]", "[\"\\u0\"]", "[\"\\u004\"]", "[\"\\u004g\"]",
        "[\"\\u+041\"]", "[\"\\u 041\"]", "[\"\\u{41}\"]", "[\"\\\u{E9}\"]", "[\"\\\n\"]", "[\"\\", "[\"\\u", "\"\\u00",
        "[\"\\uD83D\\u\"]", "[\"a\" \"b\"]", "[a]", "[\"\\ud83d\\u12\"]",
    ])
    func isNoJSON(_ text: String) { #expect(JSONSyntaxTests.verdict(Array(text.utf8)) == .headerSyntax) }

    @Test(arguments: [
        "[]x", "[]]", "{}}", "[1],", "1 2", "{}{}", "\"a\"\"b\"", "nulll", "truefalse", "[]\u{C}", "[]\0", "1a",
    ])
    func hasBytesAfterItsEnd(_ text: String) {
        #expect(JSONSyntaxTests.verdict(Array(text.utf8)) == .trailingBytes)
    }

    @Test(arguments: [
        // Raw control characters, NUL in any form, and surrogates that stand alone.
        "[\"\n\"]", "[\"\t\"]", "[\"\u{1}\"]", "[\"\u{1F}\"]", "[\"\0\"]", "[\"\\u0000\"]", "{\"\\u0000\":1}",
        "[\"\\ud800\"]",
        "[\"\\udc00\"]", "[\"\\ud800a\"]", "[\"\\ud800\\n\"]", "[\"\\ud800\\ud800\"]", "[\"\\udc00\\ud800\"]",
        "[\"\\udfff\"]", "[\"\\ud800\\u0041\"]", "[\"\\n\u{1}\"]", "[\"\\n\0\"]",
    ])
    func isNoText(_ text: String) { #expect(JSONSyntaxTests.verdict(Array(text.utf8)) == .invalidText) }

    @Test(
        "Bytes that are no UTF-8, with and without an escape beside them",
        arguments: [
            [0xFF], [0x80], [0xBF], [0xC0, 0x80], [0xC0, 0xAF], [0xC1, 0xBF], [0xC3], [0xE0, 0x80, 0x80],
            [0xE0, 0x9F, 0xBF], [0xE2, 0x82], [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80],
            [0xF0, 0x8F, 0xBF, 0xBF], [0xF0, 0x9F, 0x98], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80],
            [0xF8, 0x88, 0x80, 0x80, 0x80], [0xFE], [0x61, 0xE9, 0x62],
        ] as [[UInt8]])
    func isNoUTF8(_ bytes: [UInt8]) {
        for escape in ["", "\\n"] {
            let text = Array("[\"\(escape)".utf8) + bytes + Array("\"]".utf8)
            #expect(JSONSyntaxTests.verdict(text) == .invalidText)
        }
        #expect(JSONSyntaxTests.verdict(Array("[".utf8) + bytes + Array("]".utf8)) == .headerSyntax)
    }

    @Test(arguments: [
        "{\"a\":1,\"a\":1}", "{\"a\":1,\"\\u0061\":2}", "{\"\":1,\"\":1}", "[{\"a\":{\"b\":1,\"b\":1}}]",
    ])
    func hasAKeyTwice(_ text: String) { #expect(JSONSyntaxTests.verdict(Array(text.utf8)) == .duplicateKey) }

    @Test("Brackets may nest as deep as the limit, and one more is an error", arguments: ["[", "{\"a\":"])
    func depth(_ opening: String) {
        let closing = opening == "[" ? "]" : "}"
        let limit = Limits.standard.documentDepth
        func text(_ depth: Int) -> [UInt8] {
            Array(
                (String(repeating: opening, count: depth - 1) + (opening == "[" ? "[]" : "{}")
                    + String(repeating: closing, count: depth - 1)).utf8)
        }
        #expect(JSONSyntaxTests.verdict(text(limit)) == nil)
        #expect(JSONSyntaxTests.verdict(text(limit + 1)) == .nestingTooDeep)
        #expect(JSONSyntaxTests.verdict(Array(String(repeating: opening, count: 100_000).utf8)) == .nestingTooDeep)
        // Closed brackets do not count.
        #expect(
            JSONSyntaxTests.verdict(Array("[\(Array(repeating: "[]", count: 100).joined(separator: ","))]".utf8)) == nil
        )
    }
}
