import Checkpoints
import Export
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// The bytes of GGUF headers, read back by the reader of checkpoints.
@Suite struct GGUFHeaderTests {
    private static func shape(_ dimensions: Int...) throws -> Shape { try #require(Shape(dimensions)) }

    @Test("Values of every type are read as they were written") func values() throws {
        let directory = try TemporaryDirectory()
        var entries = GGUFKeyValues()
        let numbers: [(GGUFValueType, UInt64)] = [
            (.u8, 255), (.i8, 0x80), (.u16, 65_535), (.i16, 0x8000), (.u32, 1 << 31), (.i32, 0xFFFF_FFFF),
            (.u64, 1 << 63), (.i64, .max), (.f32, UInt64(Float(1e-5).bitPattern)), (.f64, (0.1).bitPattern),
            (.bool, 1),
        ]
        for (type, bits) in numbers { entries.append("number.\(type)", .number(type, bits)) }
        entries.append("text", .text("Grüße\u{0}"))
        entries.append("texts", .texts((0..<10).map { "t\($0)" }))
        entries.append("floats", .numbers(.f32, (0..<9).map { UInt64(Float($0).bitPattern) }))
        entries.append("wholes", .numbers(.u16, Array(0..<12)))
        let header = try GGUFFileHeader(entries, [])
        #expect(UInt64(header.bytes.count) == header.byteCount && header.byteCount == header.fileBytes)
        try Files.write(header.bytes, to: directory.at("m.gguf"))
        let file = try MappedFile.open(directory.at("m.gguf"))
        let found = try GGUFFile.readHeader(file).metadata
        #expect(
            found.map(\.value).prefix(numbers.count) == [
                "255", "-128", "65535", "-32768", "2147483648", "-1", "9223372036854775808", "-1", "1e-05", "0.1",
                "true",
            ])
        let reader = try GGUFMetadataReader(directory.at("m.gguf"))
        #expect(try reader.string("text") == "Grüße\u{0}")
        #expect(try reader.strings("texts") == (0..<10).map { "t\($0)" })
        #expect(try reader.floats("floats") == (0..<9).map { Float($0) })
        #expect(try reader.unsigneds("wholes") == Array(0..<12))
        #expect(entries.count == 15)
    }

    @Test("Tensors follow each other, each padded to 32 bytes; names and shapes that ggml refuses are errors")
    func tensors() throws {
        let directory = try TemporaryDirectory()
        var entries = GGUFKeyValues()
        entries.append("general.architecture", .text("llama"))
        let tensors: [GGUFFileHeader.Tensor] = [
            .init(TensorName("a.weight"), try GGUFHeaderTests.shape(3), type: 0, byteCount: 12),
            .init(TensorName("b.weight"), try GGUFHeaderTests.shape(5, 32), type: 8, byteCount: 170),
            .init(TensorName("c.weight"), try GGUFHeaderTests.shape(2, 3, 16), type: 1, byteCount: 192),
        ]
        let header = try GGUFFileHeader(entries, tensors)
        #expect(header.offsets == [0, 32, 224] && header.byteCount % 32 == 0)
        #expect(header.fileBytes == header.byteCount + 224 + 192)
        let bytes = header.bytes
        #expect(UInt64(bytes.count) == header.byteCount)
        let data = [UInt8](repeating: 0, count: Int(header.fileBytes - header.byteCount))
        try Files.write(bytes + data, to: directory.at("m.gguf"))
        let checkpoint = try Checkpoint.open(directory.at("m.gguf"))
        let found = checkpoint.shards[0].header.tensors
        #expect(found.map(\.name) == tensors.map(\.name) && found.map(\.shape) == tensors.map(\.shape))
        #expect(found.map(\.encoding) == [nil, "Q8_0", nil])

        func error(_ name: String, _ shape: Shape, twice: Bool = false) -> IngotError.Code? {
            let tensor = GGUFFileHeader.Tensor(TensorName(name), shape, type: 0, byteCount: 4)
            return #expect(throws: IngotError.self) {
                _ = try GGUFFileHeader(entries, twice ? [tensor, tensor] : [tensor])
            }?.code
        }
        let row = try GGUFHeaderTests.shape(1)
        #expect(error(String(repeating: "n", count: 64), row) == .nameTooLong)
        #expect(error("n", try GGUFHeaderTests.shape(1, 1, 1, 1, 1)) == .invalidShape)
        #expect(error("n", row, twice: true) == .duplicateKey)
        _ = try GGUFFileHeader(
            entries, [.init(TensorName(String(repeating: "n", count: 63)), row, type: 0, byteCount: 4)])
    }

    @Test("Parts of a file are as gguf-split makes them, and open as one checkpoint") func parts() throws {
        let directory = try TemporaryDirectory()
        var entries = GGUFKeyValues()
        entries.append("general.architecture", .text("llama"))
        let row = try GGUFHeaderTests.shape(8)
        let tensors = (0..<5).map {
            GGUFFileHeader.Tensor(TensorName("t\($0).weight"), row, type: 0, byteCount: 32)
        }
        let whole = try GGUFPart.parts(
            stem: "m", entries, byteCounts: tensors.map(\.byteCount), maximumBytes: nil)
        #expect(whole.map(\.name) == ["m.gguf"] && whole[0].metadata == entries && whole[0].tensors == 0..<5)
        let parts = try GGUFPart.parts(stem: "m", entries, byteCounts: tensors.map(\.byteCount), maximumBytes: 70)
        #expect(parts.map(\.tensors) == [0..<2, 2..<4, 4..<5])
        #expect(parts.map(\.name) == (1...3).map { "m-0000\($0)-of-00003.gguf" })
        #expect(parts.map(\.metadata.count) == [4, 3, 3])
        for part in parts {
            let header = try GGUFFileHeader(part.metadata, Array(tensors[part.tensors]))
            let data = [UInt8](repeating: 0, count: Int(header.fileBytes - header.byteCount))
            try Files.write(header.bytes + data, to: directory.at(part.name))
        }
        let checkpoint = try Checkpoint.open(directory.at(parts[1].name))
        #expect(checkpoint.shards.flatMap { $0.header.tensors.map(\.name) } == tensors.map(\.name))
        // A tensor larger than the limit is a part of its own.
        #expect(
            try GGUFPart.parts(stem: "m", entries, byteCounts: [100, 1, 1], maximumBytes: 64).map(\.tensors)
                == [0..<1, 1..<3])
    }
}
