import Checkpoints
import Foundation
import TensorModel
import Testing

/// Headers written in any spelling the format allows read back as what they say.
@Suite struct RoundTripTests {
    /// A valid header as a list of what it says.
    struct Model {
        var tensors: [SafetensorsWriter.Entry] = []
        var metadata: [SafetensorsHeader.MetadataEntry] = []

        /// Data in the order of `tensors`.
        var dataLength: UInt64 { tensors.reduce(0) { $0 + $1.byteCount } }

        init(_ random: inout SeededGenerator) {
            var names: Set<TensorName> = []
            for _ in 0..<Int.random(in: 0...12, using: &random) {
                let name = TensorName(Model.text(&random, longest: 30))
                guard name.text != "__metadata__", names.insert(name).inserted else { continue }
                let type = ElementType.allCases.randomElement(using: &random) ?? .u8
                var dimensions = (0..<Int.random(in: 0...4, using: &random)).map { _ in
                    Int.random(in: 0...5, using: &random)
                }
                // A multiple of four elements fills whole bytes with every type.
                if type.bitWidth < 8 { dimensions.append(4) }
                guard let shape = Shape(dimensions), let size = type.byteCount(of: shape) else { continue }
                tensors.append(.init(name: name, elementType: type, shape: shape, byteCount: size))
            }
            var keys: Set<TensorName> = []
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let key = Model.text(&random, longest: 10)
                if keys.insert(TensorName(key)).inserted {
                    metadata.append(.init(key, Model.text(&random, longest: 60)))
                }
            }
        }

        /// Some text without two normalizations of one string, which would warn.
        static func text(_ random: inout SeededGenerator, longest: Int) -> String {
            let letters: [Character] = Array("abcXYZ019._-/\\\"{}[]:, \t\n\r\u{8}\u{C}\u{1}\u{7F}é\u{2028}日\u{1F600}")
            return String(
                (0..<Int.random(in: 0...longest, using: &random)).map { _ in
                    letters.randomElement(using: &random) ?? "a"
                })
        }

        /// The header in a random spelling: order, spaces, escapes.
        func spelled(_ random: inout SeededGenerator) -> String {
            var offset: UInt64 = 0
            var members: [String] = []
            for tensor in tensors {
                let end = offset + tensor.byteCount
                let dimensions = tensor.shape.dimensions.map(String.init)
                let fields = [
                    "\(Model.quoted("dtype", &random)):\(Model.quoted(tensor.elementType.rawValue, &random))",
                    "\"shape\":[\(dimensions.joined(separator: Model.space(&random) + ","))]",
                    "\"data_offsets\":[\(Model.space(&random))\(offset),\(end)\(Model.space(&random))]",
                ].shuffled(using: &random)
                members.append(
                    Model.quoted(tensor.name.text, &random) + Model.space(&random) + ":{"
                        + fields.joined(separator: "," + Model.space(&random)) + "}")
                offset = end
            }
            if !metadata.isEmpty || random.once(in: 4) {
                let entries = metadata.map { "\(Model.quoted($0.key, &random)):\(Model.quoted($0.value, &random))" }
                members.append("\"__metadata__\":{\(entries.joined(separator: ","))}")
            }
            members.shuffle(using: &random)
            return "{" + Model.space(&random) + members.joined(separator: Model.space(&random) + ",") + "}"
                + Model.space(&random)
        }

        static func space(_ random: inout SeededGenerator) -> String {
            ["", "", " ", "\n\t", "\r\n  "].randomElement(using: &random) ?? ""
        }

        static func quoted(_ text: String, _ random: inout SeededGenerator) -> String {
            var out = "\""
            for scalar in text.unicodeScalars {
                if scalar.value < 0x20 || scalar == "\"" || scalar == "\\" || random.once(in: 5) {
                    for unit in String(scalar).utf16 {
                        let hex = String(unit, radix: 16, uppercase: random.once(in: 2))
                        out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
                    }
                } else {
                    out.unicodeScalars.append(scalar)
                }
            }
            return out + "\""
        }
    }

    @Test(arguments: 0..<8) func anySpelling(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<100 {
            let model = Model(&random)
            let bytes = FileBytes.file(model.spelled(&random))
            try check(model, bytes, keepsEntryOrder: false)
        }
    }

    @Test(arguments: 0..<8) func ourWriter(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed ^ 0xFFFF)
        for _ in 0..<100 {
            let model = Model(&random)
            let bytes = try SafetensorsWriter.header(tensors: model.tensors, metadata: model.metadata)
            #expect(bytes.count % 8 == 0)
            try check(model, bytes, keepsEntryOrder: true)
        }
    }

    private func check(_ model: Model, _ bytes: [UInt8], keepsEntryOrder: Bool) throws {
        let header = try SafetensorsHeader.parse(
            bytes, byteCount: UInt64(bytes.count) + model.dataLength, path: "x", limits: .standard)
        #expect(header.warnings.isEmpty)
        #expect(header.dataStart == UInt64(bytes.count))
        #expect(header.metadata == model.metadata)
        #expect(header.tensors.count == model.tensors.count)

        // Tensors without bytes may change places with their neighbours at the same offset.
        let filled = header.tensors.filter { $0.range.count > 0 }
        #expect(filled.map(\.name) == model.tensors.filter { $0.byteCount > 0 }.map(\.name))
        if keepsEntryOrder { #expect(header.tensors.map(\.name) == model.tensors.map(\.name)) }
        let read = Dictionary(uniqueKeysWithValues: header.tensors.map { ($0.name, $0) })
        var offset = header.dataStart
        for tensor in model.tensors {
            let found = try #require(read[tensor.name])
            #expect(found.elementType == tensor.elementType)
            #expect(found.shape == tensor.shape)
            #expect(found.range == ByteRange(start: offset, count: tensor.byteCount))
            offset += tensor.byteCount
        }
    }

    @Test("The exact bytes of a small header") func goldenBytes() throws {
        let shape = try #require(Shape([2, 3]))
        let bytes = try SafetensorsWriter.header(
            tensors: [.init(name: TensorName("w\"\n"), elementType: .f16, shape: shape, byteCount: 12)],
            metadata: [.init("format", "pt")])
        let text =
            #"{"__metadata__":{"format":"pt"},"w\"\n":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}"#
        let padded = text + String(repeating: " ", count: (8 - text.utf8.count % 8) % 8)
        #expect(bytes == FileBytes.file(padded))
        #expect(try SafetensorsWriter.header(tensors: []) == FileBytes.file("{}      "))
    }

    @Test("S16 and other things that are not written") func refusals() throws {
        let shape = try #require(Shape([8]))
        func code(_ tensors: [SafetensorsWriter.Entry], _ metadata: [SafetensorsHeader.MetadataEntry] = []) throws
            -> IngotError.Code
        {
            try #require(throws: IngotError.self) {
                try SafetensorsWriter.header(tensors: tensors, metadata: metadata)
            }.code
        }
        func entry(_ name: String, byteCount: UInt64 = 8) -> SafetensorsWriter.Entry {
            .init(name: TensorName(name), elementType: .u8, shape: shape, byteCount: byteCount)
        }
        #expect(try code([entry("__metadata__")]) == .reservedName)
        #expect(try code([entry("a"), entry("a")]) == .duplicateKey)
        #expect(try code([entry("a\0")]) == .invalidText)
        #expect(try code([entry("a", byteCount: 9)]) == .invalidOffsets)
        #expect(try code([entry(String(repeating: "a", count: 1025))]) == .nameTooLong)
        #expect(try code([], [.init("k", "v"), .init("k", "w")]) == .duplicateKey)
        #expect(try code([], [.init("k", "\0")]) == .invalidText)
        let odd = try #require(Shape([3]))
        #expect(
            try code([.init(name: TensorName("a"), elementType: .f4, shape: odd, byteCount: 2)]) == .invalidShape)
        let half = try #require(Shape([1 << 60]))
        let huge = SafetensorsWriter.Entry(name: TensorName("a"), elementType: .u8, shape: half, byteCount: 1 << 60)
        let many = (0..<17).map {
            SafetensorsWriter.Entry(
                name: TensorName("a\($0)"), elementType: .u8, shape: half, byteCount: huge.byteCount)
        }
        #expect(try code(many) == .invalidOffsets)
    }
}
