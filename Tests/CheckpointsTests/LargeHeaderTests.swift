import Checkpoints
import TensorModel
import Testing

/// Large headers take time in proportion to their length, and not much of it.
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

    static func time(_ bytes: [UInt8], count: Int) throws -> Duration {
        var best = Duration.seconds(1_000)
        for _ in 0..<3 {
            let taken = try ContinuousClock().measure {
                let header = try SafetensorsHeader.parse(
                    bytes, byteCount: UInt64(bytes.count + 8 * count), path: "", limits: .standard)
                #expect(header.tensors.count == count)
            }
            best = min(best, taken)
        }
        return best
    }

    // The bars are 50 ms and 500 ms; ten times as much is allowed on a machine busy with other work.
    @Test("435 tensors, as a model of 34B parameters has") func modelSized() throws {
        let taken = try LargeHeaderTests.time(LargeHeaderTests.file(435), count: 435)
        #expect(taken < .milliseconds(500))
    }

    @Test("100,000 tensors", arguments: [false, true]) func many(backwards: Bool) throws {
        let bytes = LargeHeaderTests.file(100_000, backwards: backwards)
        let taken = try LargeHeaderTests.time(bytes, count: 100_000)
        #expect(taken < .seconds(5))
    }
}
