import Checkpoints
import TensorModel
import Testing

/// Headers that are right, among them those that look odd.
@Suite struct SafetensorsHeaderTests {
    static func parse(_ bytes: [UInt8]) throws -> SafetensorsHeader {
        try SafetensorsHeader.parse(bytes, byteCount: UInt64(bytes.count), path: "x.safetensors")
    }

    /// Parses a file that must be accepted without warning.
    static func accept(_ bytes: [UInt8]) throws -> SafetensorsHeader {
        let header = try parse(bytes)
        #expect(header.warnings.isEmpty)
        return header
    }

    @Test func fieldsOfAPlainHeader() throws {
        let text = "{\"__metadata__\":{\"format\":\"pt\"}," + FileBytes.entry() + "}  "
        let header = try SafetensorsHeaderTests.accept(FileBytes.file(text, data: 8))
        #expect(header.headerLength == UInt64(text.utf8.count))
        #expect(header.dataStart == header.headerLength + 8)
        #expect(header.metadata == [.init("format", "pt")])
        #expect(header.metadata.value(of: "format") == "pt")
        #expect(header.metadata.value(of: "form") == nil)
        let tensor = try #require(header.tensors.first)
        #expect(tensor.name == TensorName("a"))
        #expect(tensor.elementType == .f32)
        #expect(tensor.shape.dimensions == [2])
        #expect(tensor.range == ByteRange(start: header.dataStart, count: 8))
    }

    @Test("Tensors come in the order of their bytes, whatever the header's order is") func order() throws {
        let entries = [
            FileBytes.entry("\"c\"", offsets: "[8,16]"), FileBytes.entry("\"z\"", shape: "[0]", offsets: "[8,8]"),
            FileBytes.entry("\"a\"", offsets: "[0,8]"), FileBytes.entry("\"y\"", shape: "[0]", offsets: "[8,8]"),
            FileBytes.entry("\"x\"", shape: "[3,0]", offsets: "[16,16]"),
        ]
        let header = try SafetensorsHeaderTests.accept(
            FileBytes.file("{" + entries.joined(separator: ",") + "}", data: 16))
        #expect(header.tensors.map(\.name.text) == ["a", "z", "y", "c", "x"])
    }

    @Test("S03 white space before the object is accepted, with a warning", arguments: [" ", "\n\r\n", "\t"])
    func leadingSpace(_ space: String) throws {
        let header = try SafetensorsHeaderTests.parse(FileBytes.file(space + "{" + FileBytes.entry() + "}", data: 8))
        #expect(header.warnings.count == 1)
        #expect(header.warnings.first?.file == "x.safetensors")
        #expect(header.tensors.count == 1)
    }

    @Test("S05 depth 8 is allowed") func depth() throws {
        let header = try SafetensorsHeaderTests.parse(FileBytes.one(extra: ",\"x\":[[[[[[]]]]]]"))
        #expect(header.warnings.count == 1)
    }

    @Test("S07 names that only normalization makes equal stay apart, with a warning") func normalization() throws {
        let names = [#""e\u0301""#, "\"\u{E9}\""]
        let entries = names.enumerated().map { FileBytes.entry($1, offsets: "[\(8 * $0),\(8 * $0 + 8)]") }
        let header = try SafetensorsHeaderTests.parse(
            FileBytes.file("{" + entries.joined(separator: ",") + "}", data: 16))
        #expect(header.tensors.count == 2)
        #expect(header.warnings.count == 1)
        #expect(header.warnings.first?.tensor == TensorName("\u{E9}"))
    }

    @Test("S07 the Kelvin sign is no K, though Swift's strings say so") func kelvin() throws {
        let header = try SafetensorsHeaderTests.parse(FileBytes.shard(["K", "\u{212A}"]))
        #expect(header.tensors.count == 2)
        #expect(header.warnings.count == 1)
    }

    @Test("S08 an unknown field is ignored, with one warning for all") func extraField() throws {
        let entries = ["a", "b"].enumerated().map {
            FileBytes.entry("\"\($1)\"", offsets: "[\(8 * $0),\(8 * $0 + 8)]", extra: ",\"note\":null")
        }
        let header = try SafetensorsHeaderTests.parse(
            FileBytes.file("{" + entries.joined(separator: ",") + "}", data: 16))
        #expect(header.warnings.count == 1)
        #expect(header.warnings.first?.message.contains("`note`") == true)
        #expect(header.warnings.first?.message.contains("2") == true)
    }

    @Test("S14 nothing, scalars and empty tensors") func empty() throws {
        #expect(try SafetensorsHeaderTests.accept(FileBytes.file("{}")).tensors.isEmpty)
        #expect(try SafetensorsHeaderTests.accept(FileBytes.file(#"{"__metadata__":{}}"#)).metadata.isEmpty)
        let scalar = try SafetensorsHeaderTests.accept(FileBytes.one(shape: "[]", offsets: "[0,4]", data: 4))
        #expect(scalar.tensors.first?.shape.dimensions == [])
        #expect(scalar.tensors.first?.shape.elementCount == 1)
        let none = try SafetensorsHeaderTests.accept(FileBytes.one(shape: "[0,3]", offsets: "[0,0]", data: 0))
        #expect(none.tensors.first?.range.count == 0)
    }

    @Test("S15 data may begin anywhere, tensors too") func misaligned() throws {
        let entries = [
            FileBytes.entry("\"a\"", dtype: "\"U8\"", shape: "[1]", offsets: "[0,1]"),
            FileBytes.entry("\"b\"", offsets: "[1,9]"),
        ]
        for padding in 0..<8 {
            let text = "{" + entries.joined(separator: ",") + "}" + String(repeating: " ", count: padding)
            let header = try SafetensorsHeaderTests.accept(FileBytes.file(text, data: 9))
            #expect(header.tensors.last?.range.start == header.dataStart + 1)
        }
    }

    @Test("S04 and S08 escapes are a spelling like any other") func escapes() throws {
        let name = #""\ud83d\ude00\"\\\/\b\f\n\r\t\u00E9""#
        let header = try SafetensorsHeaderTests.accept(FileBytes.one(name: name, dtype: #""F\u00332""#))
        #expect(header.tensors.first?.name == TensorName("\u{1F600}\"\\/\u{8}\u{C}\n\r\t\u{E9}"))
    }

    @Test("Every element type, at a length that fills whole bytes", arguments: ElementType.allCases)
    func elementTypes(_ type: ElementType) throws {
        let size = type.bitWidth
        let header = try SafetensorsHeaderTests.accept(
            FileBytes.one(dtype: "\"\(type.rawValue)\"", shape: "[2,4]", offsets: "[0,\(size)]", data: size))
        #expect(header.tensors.first?.elementType == type)
        #expect(type.byteCount(of: header.tensors[0].shape) == UInt64(size))
    }

    @Test("Rank 64 and the largest dimension") func extremes() throws {
        let ones = String(repeating: "1,", count: 63)
        #expect(
            try SafetensorsHeaderTests.accept(FileBytes.one(shape: "[\(ones)2]")).tensors[0].shape.dimensions.count
                == 64)
        let wide = try SafetensorsHeaderTests.accept(
            FileBytes.one(shape: "[0,9223372036854775807]", offsets: "[0,0]", data: 0))
        #expect(wide.tensors[0].shape.elementCount == 0)
    }
}
