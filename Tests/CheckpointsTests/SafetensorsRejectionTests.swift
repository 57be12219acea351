import Checkpoints
import TensorModel
import Testing

/// Each rule of the format, broken alone, gets the error of that rule.
@Suite struct SafetensorsRejectionTests {
    /// The error of parsing `bytes`, which must have one.
    static func failure(_ bytes: [UInt8], limits: Limits = .standard) throws -> IngotError {
        try #require(throws: IngotError.self) {
            try SafetensorsHeader.parse(bytes, byteCount: UInt64(bytes.count), path: "x.safetensors", limits: limits)
        }
    }

    @Test(arguments: framing + text + nesting + duplicates + fields + shapes + offsets)
    func isRefused(_ malformed: Malformed) throws {
        let error = try SafetensorsRejectionTests.failure(malformed.bytes)
        #expect(error.code == malformed.code)
        #expect(error.file == "x.safetensors")
        #expect(!error.found.isEmpty && !error.remedy.text.isEmpty)
        #expect(error.code.kind == .badData)
    }

    static let plain = FileBytes.one()

    static let framing: [Malformed] = [
        .init("S01 empty", .headerTooSmall, []),
        .init("S01 seven bytes", .headerTooSmall, [2, 0, 0, 0, 0, 0, 0]),
        .init("S02 one more than there is", .headerLength, FileBytes.word(3) + [0x7B, 0x7D]),
        .init("S02 100,000,000 in a short file", .headerLength, FileBytes.word(100_000_000) + plain),
        .init("S02 100,000,001", .headerTooLarge, FileBytes.word(100_000_001) + plain),
        .init("S02 2^63", .headerTooLarge, FileBytes.word(1 << 63)),
        .init("S02 2^64 - 1", .headerTooLarge, FileBytes.word(.max) + plain),
        .init("S02 2^64 - 8", .headerTooLarge, FileBytes.word(.max - 7) + plain),
        .init("S03 length 0", .headerLength, FileBytes.word(0)),
        .init("S03 length 0, bytes after it", .headerLength, FileBytes.word(0) + plain),
        .init("S03 array", .headerSyntax, FileBytes.file("[]")),
        .init("S03 string", .headerSyntax, FileBytes.file("\"a\"")),
        .init("S03 only spaces", .headerSyntax, FileBytes.file("        ")),
        .init("S03 NUL first", .headerSyntax, FileBytes.file(raw: [0, 0, 0x7B, 0x7D])),
        .init("S03 vertical tab first", .headerSyntax, FileBytes.file("\u{B}{}")),
    ]

    static let text: [Malformed] = [
        named("S04 byte FF", [0x61, 0xFF]),
        named("S04 lone continuation", [0x61, 0x80]),
        named("S04 cut sequence", [0xE2, 0x82]),
        named("S04 overlong slash", [0xC0, 0xAF]),
        named("S04 overlong NUL", [0xC0, 0x80]),
        named("S04 surrogate, encoded", [0xED, 0xA0, 0x80]),
        named("S04 above U+10FFFF", [0xF4, 0x90, 0x80, 0x80]),
        named("S04 NUL", [0x61, 0, 0x62]),
        named("S04 newline", [0x61, 0x0A]),
        named("S04 NUL, escaped", Array(#"a\u0000"#.utf8)),
        named("S04 lone high surrogate, escaped", Array(#"\ud800"#.utf8)),
        named("S04 lone low surrogate, escaped", Array(#"\udc00a"#.utf8)),
        named("S04 two high surrogates", Array(#"\ud800\ud800"#.utf8)),
        named("S04 high surrogate and another escape", Array(#"\ud800\n"#.utf8)),
        .init("S04 byte order mark", .invalidText, FileBytes.file(raw: [0xEF, 0xBB, 0xBF, 0x7B, 0x7D])),
        .init("S04 UTF-16", .invalidText, FileBytes.file(raw: [0x7B, 0, 0x7D, 0])),
        .init("S04 UTF-16, big-endian", .invalidText, FileBytes.file(raw: [0, 0x7B, 0, 0x7D])),
        .init("S04 UTF-16 with mark", .invalidText, FileBytes.file(raw: [0xFF, 0xFE, 0x7B, 0, 0x7D, 0])),
        .init(
            "S04 in a metadata value", .invalidText,
            FileBytes.file(raw: Array(#"{"__metadata__":{"k":""#.utf8) + [0xFF] + Array(#""}}"#.utf8))),
    ]

    /// A file whose tensor's name is these bytes.
    static func named(_ description: String, _ name: [UInt8]) -> Malformed {
        let tail = FileBytes.entry("\"\"").dropFirst()
        return .init(
            description, .invalidText,
            FileBytes.file(raw: Array("{\"".utf8) + name + Array(tail.utf8) + Array("}".utf8), data: 8))
    }

    static let nesting: [Malformed] = [
        .init("S05 depth 9", .nestingTooDeep, FileBytes.one(extra: ",\"x\":" + deep(7))),
        .init("S05 depth 100,000", .nestingTooDeep, FileBytes.one(extra: ",\"x\":" + deep(100_000))),
        .init(
            "S05 100,000 opening brackets", .nestingTooDeep,
            FileBytes.file("{\"a\":{\"x\":" + String(repeating: "[", count: 100_000))),
        .init("S05 opening brackets for a tensor", .headerSyntax, FileBytes.file("{\"a\":[[[[[[[[[[[[")),
        .init(
            "S05 objects", .nestingTooDeep,
            FileBytes.file("{\"a\":{\"x\":" + String(repeating: "{\"a\":", count: 100_000))),
        .init("S05 a letter after the object", .trailingBytes, FileBytes.file("{}x")),
        .init("S05 a second object", .trailingBytes, FileBytes.file("{}{}")),
        .init("S05 NUL padding", .trailingBytes, FileBytes.file("{}\0\0\0\0\0\0")),
        .init("S05 form feed", .trailingBytes, FileBytes.file("{}\u{C}")),
    ]

    static func deep(_ count: Int) -> String {
        String(repeating: "[", count: count) + String(repeating: "]", count: count)
    }

    static let duplicates: [Malformed] = [
        twice("S06 name", "\"a\"", "\"a\""),
        twice("S06 name, escaped", "\"a\"", #""\u0061""#),
        twice("S06 name with a slash, escaped", "\"a/b\"", #""a\/b""#),
        .init(
            "S06 name and range", .duplicateKey,
            FileBytes.file("{\(FileBytes.entry()),\(FileBytes.entry())}", data: 8)),
        .init("S06 dtype", .duplicateKey, FileBytes.one(extra: #","dtype":"F32""#)),
        .init("S06 shape", .duplicateKey, FileBytes.one(extra: #","sh\u0061pe":[2]"#)),
        .init("S06 data_offsets", .duplicateKey, FileBytes.one(extra: #","data_offsets":[0,8]"#)),
        .init("S06 unknown field", .duplicateKey, FileBytes.one(extra: #","x":1,"x":1"#)),
        .init("S06 metadata", .duplicateKey, FileBytes.file(#"{"__metadata__":{},"__met\u0061data__":{}}"#)),
        .init("S06 metadata key", .duplicateKey, FileBytes.file(#"{"__metadata__":{"k":"1","k":"1"}}"#)),
    ]

    static func twice(_ description: String, _ first: String, _ second: String) -> Malformed {
        let entries = [FileBytes.entry(first), FileBytes.entry(second, offsets: "[8,16]")]
        return .init(description, .duplicateKey, FileBytes.file("{" + entries.joined(separator: ",") + "}", data: 16))
    }

    static let fields: [Malformed] =
        ["\"F33\"", "\"\"", "\"f32\"", "\"F32 \"", "\"float32\"", "32", "null"].map {
            .init("S08 dtype \($0)", .unknownElementType, FileBytes.one(dtype: $0))
        }
        + [
            .init("S08 no dtype", .missingField, FileBytes.file(#"{"a":{"shape":[2],"data_offsets":[0,8]}}"#, data: 8)),
            .init(
                "S08 no shape", .missingField, FileBytes.file(#"{"a":{"dtype":"U8","data_offsets":[0,8]}}"#, data: 8)),
            .init("S08 no offsets", .missingField, FileBytes.file(#"{"a":{"dtype":"U8","shape":[8]}}"#, data: 8)),
            .init("S08 no field", .missingField, FileBytes.file(#"{"a":{}}"#)),
            .init("S08 null tensor", .headerSyntax, FileBytes.file(#"{"a":null}"#)),
            .init("S08 tensor as array", .headerSyntax, FileBytes.file(#"{"a":[]}"#)),
            .init("S08 metadata array", .headerSyntax, FileBytes.file(#"{"__metadata__":["k","v"]}"#)),
            .init("S08 metadata number", .headerSyntax, FileBytes.file(#"{"__metadata__":{"k":1}}"#)),
            .init("S08 metadata null", .headerSyntax, FileBytes.file(#"{"__metadata__":{"k":null}}"#)),
            .init("S08 metadata object", .headerSyntax, FileBytes.file(#"{"__metadata__":{"k":{}}}"#)),
        ]

    static let shapes: [Malformed] =
        [
            "[-1]", "[-0]", "[2.0]", "[2e0]", "[02]", "[+2]", "[\"2\"]", "[2,true]", "[null]", "[[2]]", "2", "{}",
            "null", "[18446744073709551618]", "[9223372036854775808,0]", "[18446744073709551615,0]",
            "[4294967296,4294967296]", "[4294967296,4294967296,4294967296,0]", "[8,2305843009213693953]",
            "[576460752303423490]", "[2305843009213693952]",
        ].map { .init("S09 shape \($0)", .invalidShape, FileBytes.one(shape: $0)) }
        + [
            .init("S09 rank 65", .invalidShape, FileBytes.one(shape: "[" + String(repeating: "1,", count: 64) + "2]")),
            .init(
                "S09 half a byte", .invalidShape,
                FileBytes.one(dtype: "\"F4\"", shape: "[3]", offsets: "[0,2]", data: 2)),
            .init(
                "S09 18 bits", .invalidShape,
                FileBytes.one(dtype: "\"F6_E2M3\"", shape: "[3]", offsets: "[0,3]", data: 3)),
        ]

    static let offsets: [Malformed] =
        [
            "[8,0]", "[4,0]", "[0,4]", "[0,16]", "[16,24]", "[0]", "[0,8,8]", "[]", "8", "null", "{}", "[0,8.0]",
            "[0,8e0]", "[-0,8]", "[-8,0]", "[0,08]", "[\"0\",8]", "[null,8]", "[0,18446744073709551624]",
            "[18446744073709551608,18446744073709551615]", "[18446744073709551608,8]",
            "[9223372036854775808,9223372036854775816]",
        ].map { .init("S10/S12 offsets \($0)", .invalidOffsets, FileBytes.one(offsets: $0)) }
        + [
            .init("S10 file cut", .invalidOffsets, FileBytes.one(data: 7)),
            .init("S10 file without data", .invalidOffsets, FileBytes.one(data: 0)),
            .init("S10 bytes for an empty tensor", .invalidOffsets, FileBytes.one(shape: "[0]")),
            .init(
                "S10 empty tensor past the data", .invalidOffsets,
                FileBytes.one(shape: "[0]", offsets: "[9,9]")),
            .init(
                "S12 empty tensor at 2^64 - 8", .invalidOffsets,
                FileBytes.one(shape: "[0]", offsets: "[18446744073709551608,18446744073709551608]")),
            two("S11 overlap", .offsetsNotContiguous, "[0,8]", "[4,12]", data: 12),
            two("S11 same bytes", .offsetsNotContiguous, "[0,8]", "[0,8]", data: 8),
            two("S11 hole", .offsetsNotContiguous, "[0,8]", "[12,20]", data: 20),
            two("S11 gap at the start", .offsetsNotContiguous, "[4,12]", "[12,20]", data: 20),
            .init("S11 trailing byte", .trailingBytes, FileBytes.one(data: 9)),
            .init("S11 data of no tensor", .trailingBytes, FileBytes.file("{}", data: 8)),
        ]

    static func two(
        _ description: String, _ code: IngotError.Code, _ first: String, _ second: String, data count: Int
    ) -> Malformed {
        let entries = [FileBytes.entry("\"b\"", offsets: second), FileBytes.entry("\"a\"", offsets: first)]
        return .init(description, code, FileBytes.file("{" + entries.joined(separator: ",") + "}", data: count))
    }

    // MARK: - Limits and places

    @Test("S13 tensors") func tooManyTensors() throws {
        var limits = Limits()
        limits.tensorsPerFile = 3
        let names = ["a", "b", "c", "d"]
        let error = try SafetensorsRejectionTests.failure(FileBytes.shard(names), limits: limits)
        #expect(error.code == .tooManyTensors)
        let three = FileBytes.shard(Array(names.prefix(3)))
        _ = try SafetensorsHeader.parse(three, byteCount: UInt64(three.count), path: "", limits: limits)
    }

    @Test("S13 metadata entries") func tooManyMetadataEntries() throws {
        var limits = Limits()
        limits.tensorsPerFile = 1
        let bytes = FileBytes.file(#"{"__metadata__":{"a":"","b":""}}"#)
        #expect(try SafetensorsRejectionTests.failure(bytes, limits: limits).code == .headerTooLarge)
    }

    @Test("S13 names", arguments: ["n", "\\u006e"]) func longNames(_ letter: String) throws {
        func file(_ count: Int) -> [UInt8] {
            FileBytes.one(name: "\"" + String(repeating: letter, count: count) + "\"")
        }
        #expect(try SafetensorsRejectionTests.failure(file(1025)).code == .nameTooLong)
        let longest = file(1024)
        _ = try SafetensorsHeader.parse(longest, byteCount: UInt64(longest.count), path: "")
    }

    @Test("The error says which tensor, where, what was found and what is allowed") func errorIsComplete() throws {
        let bytes = FileBytes.one(name: "\"lm_head\"", shape: "[2,-3]")
        let error = try SafetensorsRejectionTests.failure(bytes)
        #expect(error.tensor == TensorName("lm_head"))
        let minus = try #require(bytes.firstIndex(of: UInt8(ascii: "-")))
        #expect(error.offset == UInt64(minus))
        #expect(error.found.contains("-3"))
        #expect(error.expected != nil)

        let hole = try SafetensorsRejectionTests.failure(
            SafetensorsRejectionTests.two("", .offsetsNotContiguous, "[0,8]", "[12,20]", data: 20).bytes)
        #expect(hole.tensor == TensorName("b"))
        #expect(hole.found.contains("4 bytes"))
    }

    @Test("A header that is cut anywhere is an error, and no trap") func everyPrefix() throws {
        let entries = [
            #""__metadata__":{"format":"pt","k\u00e9":"\ud83d\ude00"}"#,
            FileBytes.entry(extra: #","x":[1,{"y":-1.5e3}]"#),
        ]
        let header = Array(("{" + entries.joined(separator: ",") + "}").utf8)
        for count in 0..<header.count {
            _ = try SafetensorsRejectionTests.failure(FileBytes.file(raw: Array(header.prefix(count)), data: 8))
        }
    }

    @Test("Any byte of a header may be any other: an error or not, never a trap") func everyByte() throws {
        let file = FileBytes.file("{" + FileBytes.entry() + #","__metadata__":{"a":"\u00e9"}}"#, data: 8)
        for index in 0..<file.count - 8 {
            for value in UInt8.min...UInt8.max {
                var changed = file
                changed[index] = value
                do {
                    _ = try SafetensorsHeader.parse(changed, byteCount: UInt64(file.count), path: "")
                } catch is IngotError {}
            }
        }
    }
}
