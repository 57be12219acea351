import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Chunk tables and seals of more entries than their file has room for, or than the format allows.
@Suite struct TableSizeTests {
    /// Under scheme `lossless`, F16: an entry of 64 bytes a chunk, and two streams of a byte each at least.
    @Test(
        arguments: [[600_000_000, 262_144], [1, 1 << 61], [1 << 61, 1], [2, 262_144]], [UInt64(64), 192])
    func shapeWithoutRoomForItsTable(shape: [Int], payload: UInt64) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("hollow")
        try HollowCheckpoint.write(shape: shape, frontBytes: 64, payloadBytes: payload, to: path)
        let error = try await Verbs.failure { try await Verbs.verify(path) }
        #expect(error?.code == .payloadInvalid && error?.code.kind == .badData)
        #expect(error?.tensor == TensorName(HollowCheckpoint.tensor))
    }

    /// 2^22 chunks are the most there can be, whatever room there is.
    @Test(arguments: [(2, false), (1 << 22, false), (1 << 22 + 1, true)])
    func tooManyChunks(count: Int, refused: Bool) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("hollow")
        let front = UInt64(64 + 64 * count)
        try HollowCheckpoint.write(
            shape: [count, 262_144], frontBytes: front, payloadBytes: front + UInt64(64 * count), to: path)
        let error = try await Verbs.failure { _ = try SealedCheckpoint(path) }
        #expect(error?.code == (refused ? .payloadInvalid : nil), "\(String(describing: error))")
        #expect(error == nil || error?.tensor == TensorName(HollowCheckpoint.tensor))
    }

    /// A file that is all seal, its own hash right: refused for the number of its records.
    @Test func sealOfTooManyRecords() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("sealed")
        let tensors = [SampleTensor("norm.weight", .f16, [5])]
        try await Verbs.convert(SampleSource.write([tensors], to: directory.at("source")), to: path)
        var shard = try ForgedShard(path.appending("model.safetensors"))
        let count = 1_000_002
        let trailer = Array(shard.bytes.suffix(64))
        shard.bytes = [UInt8](repeating: 0, count: count * 32) + trailer
        let end = count * 32
        shard.set(UInt64(count), at: end + 12, 4)
        shard.set(UInt64(end + 64), at: end + 16)
        shard.set(0, at: end + 24)
        try shard.publish()
        let error = try await Verbs.failure { try await Verbs.verify(path) }
        #expect(error?.code == .sealInvalid && error?.code.kind == .badData)
        #expect(error?.found.contains("\(count) records") == true)
    }
}
