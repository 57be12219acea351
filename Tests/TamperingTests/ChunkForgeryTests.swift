import Checkpoints
import Container
import ConversionSupport
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Chunks whose checksums hold and whose streams are not what a writer makes: refused, or harmless and noticed.
@Suite struct ChunkForgeryTests {
    typealias Sample = ForgeryTests.Sample

    /// A sample whose first payload's streams can be replaced.
    private static func sample(
        _ codec: Codec, bits: Int, symmetric: Bool = false, shape: [Int] = [2, 24], _ format: FloatFormat = .f16
    ) async throws -> Sample {
        try await Sample(
            codec, bits: bits, symmetric: symmetric, tensor: SampleTensor(Sample.matrix, format, shape))
    }

    /// Replaces a stream of the first chunk; the others move, the payload keeps its size.
    private static func replace(
        _ index: Int, of streams: Int, by bytes: [UInt8], codec: Codec, in sample: inout Sample
    ) throws {
        var chunk: [UInt8] = []
        for number in 0..<streams {
            let (offset, count, _) = sample.stream(number)
            chunk += number == index ? bytes : Array(sample.shard.bytes[offset..<offset + count])
        }
        let end = sample.payload + sample.shard.number(at: sample.payload + 56)
        let padding = end - sample.chunk - chunk.count
        try #require((0..<64).contains(padding), "the payload would need another size")
        sample.shard.bytes.replaceSubrange(sample.chunk..<end, with: chunk + [UInt8](repeating: 0, count: padding))
        sample.shard.set(UInt64(bytes.count), at: sample.entry + 48 + 8 * index, 4)
        sample.shard.set(UInt64(codec.rawValue), at: sample.entry + 52 + 8 * index, 4)
    }

    // MARK: - Frames

    /// One frame with one block that repeats a byte.
    private static func frame(_ byte: UInt8, count: Int, flags: UInt8 = 0x20, size: [UInt8]? = nil) -> [UInt8] {
        let block = UInt32(count) << 3 | 1 << 1 | 1
        let header = (0..<3).map { UInt8(truncatingIfNeeded: block >> (8 * UInt32($0))) }
        return [0x28, 0xB5, 0x2F, 0xFD, flags] + (size ?? [UInt8(count)]) + header + [byte]
    }

    /// What may stand where the codes of 48 weights at 5 bits belong: 48 bytes unpacked, 30 stored.
    static let frames: [(what: String, bytes: [UInt8], codec: Codec, accepted: Bool)] = [
        ("a frame like the writer's", frame(31, count: 48), .zstd, true),
        ("codes above the maximum", frame(32, count: 48), .zstd, false),
        ("codes of all ones", frame(255, count: 48), .zstd, false),
        ("a frame of one byte less", frame(3, count: 47), .zstd, false),
        ("a frame of one byte more", frame(3, count: 49), .zstd, false),
        ("a size that is not the block's", frame(3, count: 47, size: [48]), .zstd, false),
        ("a huge size", frame(3, count: 48, flags: 0xE0, size: [0, 0, 0, 0, 0, 0, 0, 16]), .zstd, false),
        ("the largest size", frame(3, count: 48, flags: 0xE0, size: Array(repeating: 255, count: 8)), .zstd, false),
        ("no size, a window instead", frame(3, count: 48, flags: 0x00, size: [0x00]), .zstd, false),
        ("a huge window", frame(3, count: 48, flags: 0x40, size: [0xFF, 48, 0]), .zstd, false),
        ("a checksum", frame(3, count: 48, flags: 0x24) + [0, 0, 0, 0], .zstd, false),
        ("a dictionary", frame(3, count: 48, flags: 0x21, size: [7, 48]), .zstd, false),
        ("a reserved bit", frame(3, count: 48, flags: 0x28), .zstd, false),
        ("a byte behind the frame", frame(3, count: 48) + [0], .zstd, false),
        ("two frames", frame(3, count: 24) + frame(3, count: 24), .zstd, false),
        ("an empty frame behind", frame(3, count: 48) + frame(3, count: 0), .zstd, false),
        ("a skippable frame", [0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4], .zstd, false),
        ("a skippable frame before", [0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0] + frame(3, count: 48), .zstd, false),
        ("a frame cut short", Array(frame(3, count: 48).dropLast()), .zstd, false),
        ("a frame header alone", Array(frame(3, count: 48).prefix(6)), .zstd, false),
        ("four bytes", [0x28, 0xB5, 0x2F, 0xFD], .zstd, false),
        ("nothing", [], .zstd, false),
        ("nothing, stored", [], .none, false),
        ("stored, one byte less", Array(repeating: 0x55, count: 29), .none, false),
        ("stored", Array(repeating: 0x55, count: 30), .none, true),
        ("stored, one byte more", Array(repeating: 0x55, count: 31), .none, false),
        ("an lz4 block of nothing", [], .lz4, false),
        ("an lz4 block that ends early", [0x10], .lz4, false),
        ("an lz4 block that reaches before its start", [0x1F, 7, 255, 255, 20, 0x00], .lz4, false),
        ("an lz4 block of more bytes", [0x1F, 7, 1, 0, 255, 255, 255, 0x50, 1, 2, 3, 4, 5], .lz4, false),
        ("an lz4 block", [0x1F, 7, 1, 0, 5, 0x50, 1, 2, 3, 4, 5], .lz4, true),
    ]

    /// C04: frames of other sizes, windows, options, or with more behind them.
    @Test(arguments: frames.indices)
    func codeStream(index: Int) async throws {
        let (what, bytes, codec, accepted) = ChunkForgeryTests.frames[index]
        let asked: Codec = codec == .lz4 ? .lz4 : .zstd
        var sample = try await ChunkForgeryTests.sample(asked, bits: 5)
        try ChunkForgeryTests.replace(0, of: 5, by: bytes, codec: codec, in: &sample)
        let error = try await sample.failure()
        if accepted {
            #expect(error == nil, "\(what)")
            let report = try await Verbs.verify(sample.path, against: sample.source)
            #expect(report.failures.map(\.code) == [.certificateMismatch], "\(what)")
        } else {
            #expect(error?.code == .chunkInvalid || error?.code == .payloadInvalid, "\(what)")
            #expect(error?.tensor == TensorName(Sample.matrix), "\(what)")
        }
    }

    /// A codec the header did not ask for.
    @Test func strayCodec() async throws {
        var sample = try await ChunkForgeryTests.sample(.none, bits: 5)
        try ChunkForgeryTests.replace(
            0, of: 5, by: ChunkForgeryTests.frame(3, count: 48), codec: .zstd, in: &sample)
        let error = try await sample.failure()
        #expect(error?.code.kind == .badData)
    }

    // MARK: - Codes, scales and biases

    /// C05: 3 x 33 codes of 3 bits are 37 bytes and one bit: the other seven bits are zero.
    @Test func bitsBehindTheLastCode() async throws {
        var sample = try await ChunkForgeryTests.sample(.none, bits: 3, shape: [3, 33])
        let (offset, count, _) = sample.stream(0)
        try #require(count == 38)
        let whole = sample.shard.bytes
        for bit in 1..<8 {
            sample.shard.bytes = whole
            sample.shard.bytes[offset + count - 1] |= 1 << UInt8(bit)
            #expect(try await sample.failure()?.code == .chunkInvalid, "bit \(bit)")
        }
    }

    /// Scales and biases stand in byte planes, least significant byte first.
    private func fail(_ format: FloatFormat, symmetric: Bool, bias: Bool, _ value: Float) async throws -> IngotError? {
        var sample = try await ChunkForgeryTests.sample(.none, bits: 4, symmetric: symmetric, shape: [2, 64], format)
        let bytes = FloatBytes.encode(value, format)
        for (plane, byte) in bytes.enumerated() {
            let (offset, count, _) = sample.stream(1 + plane + (bias ? format.byteWidth : 0))
            try #require(count == 4)
            sample.shard.bytes[offset + 2] = byte
        }
        return try await sample.failure(streams: 1 + format.byteWidth * (symmetric ? 1 : 2))
    }

    /// C05: scales and biases are finite.
    @Test(arguments: FloatFormat.allCases, [Float.nan, .infinity, -.infinity])
    func scalesAndBiasesAreFinite(format: FloatFormat, value: Float) async throws {
        #expect(try await fail(format, symmetric: false, bias: false, value)?.code == .chunkInvalid)
        #expect(try await fail(format, symmetric: false, bias: true, value)?.code == .chunkInvalid)
        #expect(try await fail(format, symmetric: true, bias: false, value)?.code == .chunkInvalid)
    }

    @Test(arguments: FloatFormat.allCases)
    func symmetricScalesAreNotNegative(format: FloatFormat) async throws {
        #expect(try await fail(format, symmetric: true, bias: false, -1)?.code == .chunkInvalid)
        #expect(try await fail(format, symmetric: true, bias: false, -0.0)?.code == .chunkInvalid)
        #expect(try await fail(format, symmetric: true, bias: false, 0.5) == nil)
        #expect(try await fail(format, symmetric: false, bias: false, -1) == nil)
    }

    // MARK: - All bytes

    private func decoded(_ sample: Sample) async throws -> [UInt8]? {
        let output = sample.directory.at("export")
        try await Verbs.export(sample.path, to: output, force: true)
        return try Verbs.tensors(output)[TensorName(Sample.matrix)]?.bytes
    }

    /// Every byte of a chunk changed under hashes that hold: never a crash, and a certificate that holds is a true one.
    @Test(arguments: [Codec.zstd, .lz4, .none], [4, 3])
    func everyByteOfAChunk(codec: Codec, bits: Int) async throws {
        var sample = try await Sample(
            codec, bits: bits,
            tensor: SampleTensor(
                Sample.matrix, .f16, [8, 100], values: (0..<800).map { Float($0 % 7 == 0 ? 3 : 1) * Float($0 % 5) / 8 })
        )
        let whole = sample.shard.bytes
        let expected = try await decoded(sample)
        let last = sample.stream(4)
        let all = sample.chunk..<last.offset + last.count
        let offsets = Share.of(all)
        for offset in offsets {
            sample.shard.bytes = whole
            sample.shard.bytes[offset] ^= 1 << UInt8(offset % 8)
            if let error = try await sample.failure() {
                #expect(error.code == .chunkInvalid, "byte \(offset - sample.chunk)")
            } else if try await Verbs.verify(sample.path, against: sample.source).holds {
                // Compressed forms of the same bytes there are many; of what is stored plainly, there is one.
                #expect(codec != .none, "byte \(offset - sample.chunk)")
                #expect(try await decoded(sample) == expected, "byte \(offset - sample.chunk)")
            }
        }
        Tally.print(
            offsets.count, of: all.count, "C05 bytes of a chunk forged under hashes that hold, \(codec.name)"
        )
    }

    // MARK: - Weights

    /// Scale, code and bias are finite, and the weight is not.
    @Test(arguments: [FloatFormat.f32, .bf16])
    func infiniteWeight(format: FloatFormat) async throws {
        let largest: Float = format == .f32 ? .greatestFiniteMagnitude : Float(bitPattern: 0x7F7F_0000)
        for (scale, bias) in [(largest, 0), (largest / 16, largest), (-largest / 16, -largest)] {
            var sample = try await ForgeryTests.Sample(
                .none, tensor: SampleTensor(ForgeryTests.Sample.matrix, format, [2, 64]))
            let bytes = FloatBytes.encode(scale, format) + FloatBytes.encode(bias, format)
            for (plane, byte) in bytes.enumerated() {
                let (offset, count, _) = sample.stream(1 + plane)
                try #require(count == 4)
                sample.shard.bytes[offset + 2] = byte
            }
            let error = try await sample.failure(streams: 1 + 2 * format.byteWidth)
            #expect(error?.code == .chunkInvalid && error?.code.kind == .badData, "\(scale), \(bias)")
            #expect(error?.tensor == TensorName(ForgeryTests.Sample.matrix))
        }
    }
}
