import Checkpoints
import TensorModel
import Testing

/// Headers as large as models have them, and larger.
@Suite(.serialized) struct LargeHeaderTests {
    /// A header as a model with `count` tensors has it, in the order of the file or backwards.
    static func file(_ count: Int, backwards: Bool = false) -> [UInt8] {
        var entries = (0..<count).map { index in
            FileBytes.entry(
                "\"model.layers.\(index / 9).self_attn.q_proj.\(index % 9).weight\"", dtype: "\"BF16\"", shape: "[2,2]",
                offsets: "[\(8 * index),\(8 * index + 8)]")
        }
        if backwards { entries.reverse() }
        return FileBytes.file("{" + entries.joined(separator: ",") + "}")
    }

    static func parse(_ bytes: [UInt8], count: Int) throws -> SafetensorsHeader {
        try SafetensorsHeader.parse(bytes, byteCount: UInt64(bytes.count + 8 * count), path: "", limits: .standard)
    }

    // How long it takes is `make bench`'s matter: 50 and 500 ms are the bars.
    @Test("435 tensors, as a model of 34B parameters has") func modelSized() throws {
        #expect(try LargeHeaderTests.parse(LargeHeaderTests.file(435), count: 435).tensors.count == 435)
    }

    @Test("100,000 tensors", arguments: [false, true]) func many(backwards: Bool) throws {
        let header = try LargeHeaderTests.parse(LargeHeaderTests.file(100_000, backwards: backwards), count: 100_000)
        #expect(header.tensors.count == 100_000)
        #expect(header.tensors.map(\.range.start) == (0..<100_000).map { header.dataStart + UInt64(8 * $0) })
    }
}
