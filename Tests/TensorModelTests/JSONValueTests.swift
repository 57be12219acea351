import TensorModel
import Testing

/// Values that are read, written and compared.
@Suite struct JSONValueTests {
    static func parse(_ text: String) throws -> JSONValue { try JSONValue.parse(Array(text.utf8)) }

    @Test func everyKind() throws {
        let value = try JSONValueTests.parse(
            #"{"n":null,"t":true,"f":false,"i":18446744073709551615,"d":-1.5e1,"s":"a\u00e9","a":[1,[]],"o":{"x":{}}}"#)
        #expect(value["n"] == .null)
        #expect(value["t"]?.bool == true)
        #expect(value["f"]?.bool == false)
        #expect(value["i"]?.unsigned == .max)
        #expect(value["d"] == .number(-15))
        #expect(value["s"]?.string == "a\u{E9}")
        #expect(value["a"]?.array == [.unsigned(1), .array([])])
        #expect(value["o"]?["x"]?.object == [])
        #expect(value["missing"] == nil)
        #expect(value.object?.map(\.key) == ["n", "t", "f", "i", "d", "s", "a", "o"])
    }

    @Test("Text is written so that it reads back the same", arguments: [false, true]) func roundTrip(indented: Bool)
        throws
    {
        let value = JSONValue.object([
            .init("empty", .object([])), .init("list", .array([.object([.init("a", .null)]), .array([.bool(true)])])),
            .init("text", .string("\"\\/\n\r\t\u{8}\u{1}\u{7F}\u{2028}\u{1F600}")), .init("", .number(0.1)),
            .init("big", .unsigned(.max)), .init("negative", .number(-3)),
        ])
        #expect(try JSONValueTests.parse(value.text(indented: indented)) == value)
    }

    @Test("Numbers that are not finite have no spelling") func nonFinite() {
        #expect(JSONValue.array([.number(.infinity), .number(.nan)]).text() == "[null,null]")
    }

    @Test("Strings and keys are bytes: what normalization makes equal is not") func comparison() throws {
        #expect(JSONValue.string("\u{E9}") != .string("e\u{301}"))
        let value = try JSONValueTests.parse("{\"\u{212A}\":1,\"K\":2,\"e\u{301}\":3,\"\u{E9}\":4}")
        #expect(value["K"] == .unsigned(2))
        #expect(value["\u{E9}"] == .unsigned(4))
        let kelvin = try JSONValueTests.parse("{\"\u{212A}\":1}")
        #expect(kelvin["K"] == nil)
        #expect(try kelvin != JSONValueTests.parse("{\"K\":1}"))
    }

    @Test("Errors say where") func offsets() throws {
        func offset(_ text: String) throws -> UInt64? {
            try #require(throws: IngotError.self) { try JSONValueTests.parse(text) }.offset
        }
        #expect(try offset("[1, x]") == 4)
        #expect(try offset("[1") == 2)
        #expect(try offset("[\"a\\ud800\"]") == 3)
        #expect(try offset("[\"a\u{1}\"]") == 3)
        #expect(try offset("[] x") == 3)
        #expect(try offset("[01]") == 1)
    }

    @Test func readerOverPartOfTheBytes() throws {
        var reader = JSONReader(Array("xx[1,2]yy".utf8), range: 2..<7, origin: 100, maximumDepth: 1)
        var numbers: [UInt64] = []
        try reader.readArray { reader in numbers.append(try reader.readUnsigned()) }
        try reader.requireEnd()
        #expect(numbers == [1, 2])
        #expect(reader.peek() == nil)
        #expect(reader.failure("").offset == 107)
    }

    @Test(
        "Whole numbers and nothing else",
        arguments: ["-1", "1.0", "1e0", "01", "+1", "18446744073709551616", "99999999999999999999", "x", "", "\"1\""])
    func unsigned(_ text: String) {
        var reader = JSONReader(Array(text.utf8), maximumDepth: 1)
        #expect(throws: IngotError.self) { try reader.readUnsigned() }
    }
}
