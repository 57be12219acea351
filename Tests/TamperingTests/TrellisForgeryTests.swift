import Checkpoints
import Container
import ConversionSupport
import FileAccess
import Inspection
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights
import Work

extension ForgeryTests.Sample {
    /// A checkpoint of one matrix in scheme `trellis` with the given parameters and step, and `norm.weight`, written without the
    /// planner, which would choose its own.
    init(_ parameters: TrellisParameters, _ codec: Codec, step: Float, _ tensor: SampleTensor) async throws {
        try await self.init(codec, tensor: tensor)
        let place = path.appending("model.safetensors")
        try Directory.removeFile(place)
        _ = try writeTrellis(source, to: place, parameters, codec, step: step)
        try ForgedShard.rewriteManifest(path)
        shard = try ForgedShard(place)
    }

    /// Symbols of a stream of the first chunk.
    func symbols(_ index: Int) -> Int { shard.number(at: entry + 53 + 8 * index, 3) }

    /// Replaces the streams of the only chunk by others; the payload keeps its size.
    mutating func replaceStreams(_ streams: [(bytes: [UInt8], codec: Codec, symbols: Int)]) throws {
        let end = payload + shard.number(at: payload + 56)
        let bytes = streams.flatMap(\.bytes)
        let padding = end - chunk - bytes.count
        try #require((0..<64).contains(padding), "the payload would need another size")
        shard.bytes.replaceSubrange(chunk..<end, with: bytes + [UInt8](repeating: 0, count: padding))
        for (index, stream) in streams.enumerated() {
            shard.set(UInt64(stream.bytes.count), at: entry + 48 + 8 * index, 4)
            shard.set(UInt64(stream.codec.rawValue) | UInt64(stream.symbols) << 8, at: entry + 52 + 8 * index, 4)
        }
    }

    /// The streams of the first chunk.
    func streams(_ count: Int) -> [(bytes: [UInt8], codec: Codec, symbols: Int)] {
        (0..<count).map { index in
            let (offset, count, codec) = stream(index)
            return (
                Array(shard.bytes[offset..<offset + count]), Codec(rawValue: UInt8(codec)) ?? .none, symbols(index)
            )
        }
    }
}

/// Encodes the matrices of a source of one shard with the given parameters.
private func writeTrellis(
    _ source: FilePath, to place: FilePath, _ parameters: TrellisParameters, _ codec: Codec, step: Float
) throws -> ShardWriter.Summary {
    let original = try Checkpoint.open(source).shards[0]
    let plans = original.header.tensors.map { stored in
        TensorPlan(
            tensor: stored,
            descriptor: stored.shape.isMatrix
                ? stored.elementType.quantizable.map {
                    TensorDescriptor(scheme: .trellis(parameters), codec: codec, format: $0, shape: stored.shape)
                } : nil)
    }
    let layout = try ShardLayout(plans, sourceMetadata: [])
    var writer = try ShardWriter(place, layout: layout)
    var (encoder, encoded, scratch) = (ChunkEncoder(), EncodedChunk(), [UInt8]())
    for plan in layout.payloads {
        guard let prologue = plan.descriptor?.prologue else { continue }
        let bytes = original.bytes(of: plan.tensor)
        try writer.beginPayload()
        for chunk in 0..<prologue.grid.count {
            let elements = try bytes.elements(
                prologue.grid.place(of: chunk), prologue.grid.columns, prologue.elementType, scratch: &scratch)
            encoder.encode(elements, as: prologue, by: TrellisRule(step: step), into: &encoded)
            try writer.append(chunk: encoded)
        }
        try writer.finishPayload(sourceHash: bytes.hash())
    }
    for plan in layout.kept {
        writer.beginKept()
        let bytes = try original.file.bytes(plan.tensor.range)
        try writer.append(kept: bytes.span)
        writer.finishKept()
    }
    return try writer.seal()
}

/// Checkpoints in scheme `trellis` whose hashes all hold, and which say what no writer says.
@Suite struct TrellisForgeryTests {
    typealias Sample = ForgeryTests.Sample
    typealias Streams = [(bytes: [UInt8], codec: Codec, symbols: Int)]

    /// A sample of rows of unlike size, with some outliers.
    private static func sample(
        _ alphabet: Int, low: Int = 0, classes: Int = 1, _ codec: Codec = .none, shape: [Int] = [12, 40],
        _ format: FloatFormat = .f16, step: Float = 0.03125, outliers: [Int: Float] = [:]
    ) async throws -> (sample: Sample, streams: Int) {
        let parameters = try #require(
            TrellisParameters(states: 8, alphabet: alphabet, lowBits: low, rowClasses: classes))
        var generator = SeededGenerator(UInt64(alphabet + low))
        let columns = shape[shape.count - 1]
        let values = (0..<shape.reduce(1, *)).map { index in
            outliers[index] ?? generator.weight() * Float(1 + index / columns % 3)
        }
        let tensor = SampleTensor(Sample.matrix, format, shape, values: values)
        return (try await Sample(parameters, codec, step: step, tensor), codec == .rans ? 2 : 2 * classes + 2)
    }

    /// A sample whose payload can take a few bytes more or fewer, with an escape in every alphabet that has one.
    private static func roomySample(
        _ alphabet: Int, low: Int = 0, classes: Int = 1, rows: Int = 12
    ) async throws -> (sample: Sample, streams: Int) {
        for columns in 40..<72 {
            let (sample, streams) = try await TrellisForgeryTests.sample(
                alphabet, low: low, classes: classes, shape: [rows, columns], step: 0.015625, outliers: [3: 1.5])
            let last = sample.stream(streams - 1)
            let padding = sample.payload + sample.shard.number(at: sample.payload + 56) - last.offset - last.count
            if (14..<50).contains(padding) { return (sample, streams) }
        }
        throw Errno.noSpace
    }

    /// What a sample of one chunk that was changed is refused with.
    private func failure(_ sample: (sample: Sample, streams: Int), _ change: (inout Streams) -> Void) async throws
        -> IngotError?
    {
        var forged = sample.sample
        var streams = forged.streams(sample.streams)
        change(&streams)
        try forged.replaceStreams(streams)
        return try await forged.failure(streams: sample.streams)
    }

    private func expectInvalid(
        _ error: IngotError?, _ why: DecodingFailure, _ what: String, _ location: SourceLocation = #_sourceLocation
    ) {
        #expect(error?.code == .chunkInvalid, "\(what)", sourceLocation: location)
        #expect(error?.found == "chunk 0: \(why.description)", "\(what)", sourceLocation: location)
        #expect(error?.tensor == TensorName(Sample.matrix), "\(what)", sourceLocation: location)
    }

    /// The writer of these tests writes what the reader takes, with every alphabet.
    @Test(arguments: TrellisParameters.alphabets, Codec.allCases)
    func unchanged(alphabet: Int, codec: Codec) async throws {
        for low in alphabet == 256 ? TrellisParameters.lowBitCounts : [0] {
            for classes in 1...4 where codec != .rans || alphabet == 256 && classes == 1 {
                var sample = try await TrellisForgeryTests.sample(
                    alphabet, low: low, classes: classes, codec, step: 0.0625, outliers: [77: 60000, 101: -300])
                let error = try await sample.sample.failure(streams: sample.streams, against: true)
                #expect(error == nil, "\(alphabet), \(low), \(classes), \(codec)")
                let report = try await Verbs.verify(sample.sample.path, against: sample.sample.source)
                #expect(report.holds, "\(alphabet), \(low), \(classes), \(codec)")
            }
        }
    }

    // MARK: - The chunk table

    @Test(arguments: [
        Float(0), -0.0, -0.03125, .nan, -.nan, .infinity, -.infinity, .leastNonzeroMagnitude,
        Float.leastNormalMagnitude.nextDown,
    ])
    func impossibleSteps(step: Float) async throws {
        var (sample, streams) = try await TrellisForgeryTests.sample(16)
        sample.shard.set(UInt64(step.bitPattern), at: sample.entry + 40, 4)
        let error = try await sample.failure(streams: streams)
        #expect(error?.code == .payloadInvalid && error?.tensor == TensorName(Sample.matrix))
        #expect(error?.found == "entry 0 of the chunk table is not one")
    }

    @Test func bitsBesideTheStep() async throws {
        for bit in 32..<64 {
            var (sample, streams) = try await TrellisForgeryTests.sample(16)
            sample.shard.bytes[sample.entry + 40 + bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(try await sample.failure(streams: streams)?.code == .payloadInvalid, "bit \(bit)")
        }
    }

    /// Numbers of symbols that the table itself shows to be wrong, and codecs where there can be none.
    @Test(arguments: [
        ("a symbol more", 0, 1, 0), ("a symbol less", 1, -1, 0), ("2^23 symbols more", 0, 1 << 23, 0),
        ("more escapes than weights", 2, 481, 0), ("symbols among the extras", 3, 1, 0),
        ("compressed extras", 3, 0, 2), ("extras in lz4", 3, 0, 1), ("a codec that there is not", 0, 0, 3),
        ("a codec that was not asked for", 0, 0, 2),
    ])
    func impossibleStreams(what: String, stream: Int, symbols: Int, codec: Int) async throws {
        var (sample, streams) = try await TrellisForgeryTests.sample(16)
        let count = max(0, sample.symbols(stream) + symbols)
        sample.shard.set(UInt64(codec | count << 8), at: sample.entry + 52 + 8 * stream, 4)
        let error = try await sample.failure(streams: streams)
        #expect(error?.code == .payloadInvalid, "\(what)")
        #expect(error?.found == "entry 0 of the chunk table is not one", "\(what)")
    }

    // MARK: - Counts

    /// Bytes and counts that agree with each other, but not with the trellis.
    @Test(arguments: [256, 16, 6, 4], [1, 3])
    func countsOfAnotherTrellis(alphabet: Int, classes: Int) async throws {
        let sample = try await TrellisForgeryTests.roomySample(alphabet, classes: classes)
        let parameters = try #require(TrellisParameters(states: 8, alphabet: alphabet, rowClasses: classes))
        func resize(_ streams: inout Streams, _ index: Int, by change: Int) {
            streams[index].symbols += change
            let bytes = SymbolPacking.byteCount(parameters, .stored, streams[index].symbols)
            // The last byte is zero, so that no bit behind the last symbol is set.
            streams[index].bytes = Array((streams[index].bytes + [0]).prefix(bytes).dropLast()) + [0]
        }
        for from in 0..<2 * classes {
            let error = try await failure(sample) { streams in
                resize(&streams, from, by: -1)
                resize(&streams, (from + 1) % (2 * classes), by: 1)
            }
            expectInvalid(error, .miscounted, "a symbol of stream \(from) in the next")
        }
        let escapes = 2 * classes
        let more = try await failure(sample) { streams in
            streams[escapes].bytes.append(100)
            streams[escapes].symbols += 1
        }
        expectInvalid(more, .miscounted, "an escape more")
        guard alphabet < 256 else { return }
        let less = try await failure(sample) { streams in
            streams[escapes].bytes.removeLast()
            streams[escapes].symbols -= 1
        }
        expectInvalid(less, .miscounted, "an escape less")
    }

    /// Streams whose bytes are more or fewer than their symbols take.
    @Test func bytesOfNoSymbol() async throws {
        for alphabet in TrellisParameters.alphabets {
            let sample = try await TrellisForgeryTests.roomySample(alphabet)
            for stream in 0..<(alphabet == 256 ? 2 : 3) {
                let more = try await failure(sample) { $0[stream].bytes.append(0) }
                #expect(more?.code == .chunkInvalid, "\(alphabet): a byte more in stream \(stream)")
                let less = try await failure(sample) { $0[stream].bytes.removeLast() }
                #expect(less?.code == .chunkInvalid, "\(alphabet): a byte less in stream \(stream)")
            }
        }
    }

    /// One row of two columns: both start in state 0, so the stream of parity 1 is empty.
    @Test(arguments: [Codec.zstd, .lz4])
    func emptyStreams(codec: Codec) async throws {
        let sample = try await TrellisForgeryTests.sample(16, codec, shape: [1, 2])
        try #require(sample.sample.symbols(1) == 0 && sample.sample.stream(1).count == 0)
        #expect(try await failure(sample) { $0[1].codec = codec }?.code == .chunkInvalid)
        #expect(try await failure(sample) { $0[1].bytes = [0] }?.code == .chunkInvalid)
        let frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x20, 0, 1, 0, 0]
        #expect(try await failure(sample) { $0[1] = (frame, codec, 0) }?.code == .chunkInvalid)
    }

    // MARK: - Codes

    /// Bits behind the last code, and codes above the alphabet.
    @Test(arguments: [4, 8, 16, 32, 64])
    func bitsOfNoCode(alphabet: Int) async throws {
        let sample = try await TrellisForgeryTests.sample(alphabet, shape: [7, 41])
        let width = alphabet.trailingZeroBitCount
        for stream in 0..<2 {
            let used = sample.sample.symbols(stream) * width % 8
            guard used > 0 else { continue }
            for bit in used..<8 {
                let error = try await failure(sample) {
                    $0[stream].bytes[$0[stream].bytes.count - 1] |= 1 << UInt8(bit)
                }
                expectInvalid(error, .tailNotZero, "bit \(bit) of the last byte of stream \(stream)")
            }
        }
    }

    /// A frame of one block that repeats a byte, in place of a stream; the extras take up what is left.
    @Test(arguments: [(8, 0x40, true), (8, 0x3f, false), (32, 0x20, true), (32, 0x1f, false), (64, 0x40, true)])
    func codesAboveTheAlphabet(alphabet: Int, byte: Int, refused: Bool) async throws {
        let sample = try await TrellisForgeryTests.sample(alphabet, .zstd, shape: [1, 60], step: 1)
        let parameters = try #require(TrellisParameters(states: 8, alphabet: alphabet))
        // All in state 0: one row of one stream.
        try #require(sample.sample.symbols(0) == 60)
        let count = SymbolPacking.byteCount(parameters, .coded, 60)
        let block = UInt32(count) << 3 | 1 << 1 | 1
        let frame =
            [0x28, 0xB5, 0x2F, 0xFD, 0x20, UInt8(count)] + (0..<3).map { UInt8(truncatingIfNeeded: block >> (8 * $0)) }
            + [UInt8(byte)]
        let error = try await failure(sample) { streams in
            streams[0] = (frame, .zstd, 60)
            // Escapes, should the byte stand for them: none but where all bits are set.
            streams[2] = ([], .none, 0)
        }
        if refused {
            expectInvalid(error, .codeTooLarge, "\(byte)")
        } else {
            expectInvalid(error, .miscounted, "\(byte)")
        }
    }

    /// A frame that is shorter than what it holds, but not than the stored form.
    @Test func compressedButNotShorter() async throws {
        let sample = try await TrellisForgeryTests.sample(32, .zstd, shape: [1, 15], step: 1)
        try #require(sample.sample.symbols(0) == 15)
        // Fifteen codes of 15 (zero): 15 bytes aligned, 10 dense.
        let block = UInt8(15 << 3 | 1 << 1 | 1)
        let frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x20, 15, block, 0, 0, 15]
        try #require(frame.count == 10)
        let error = try await failure(sample) { streams in
            streams[0] = (frame, .zstd, 15)
            streams[2] = ([], .none, 0)
        }
        #expect(error?.code == .chunkInvalid)
        #expect(error?.found == "chunk 0: stream 0 is compressed, but not shorter for it")
        let stored = try await failure(sample) { streams in
            streams[0] = (Reference.pack([UInt8](repeating: 15, count: 15), .dense, bits: 5), .none, 15)
            streams[2] = ([], .none, 0)
        }
        #expect(stored == nil)
    }

    @Test func thirdsOfNoSymbol() async throws {
        let sample = try await TrellisForgeryTests.sample(6, shape: [7, 41])
        for byte in 216...255 {
            expectInvalid(try await failure(sample) { $0[0].bytes[1] = UInt8(byte) }, .symbolTooLarge, "\(byte)")
        }
        for stream in 0..<2 {
            let rest = sample.sample.symbols(stream) % 3
            guard rest > 0 else { continue }
            let error = try await failure(sample) { streams in
                let last = streams[stream].bytes.count - 1
                streams[stream].bytes[last] += rest == 1 ? 6 : 36
            }
            expectInvalid(error, .tailNotZero, "stream \(stream)")
        }
    }

    // MARK: - Extras

    @Test(arguments: [2, 3])
    func classesOfNoStream(classes: Int) async throws {
        let sample = try await TrellisForgeryTests.sample(16, classes: classes, shape: [11, 40])
        let extras = 2 * classes + 1
        for row in 0..<11 {
            for wrong in classes..<4 {
                let error = try await failure(sample) { streams in
                    let shift = UInt8(2 * (row % 4))
                    streams[extras].bytes[row / 4] &= ~(3 << shift)
                    streams[extras].bytes[row / 4] |= UInt8(wrong) << shift
                }
                expectInvalid(error, .classOutOfRange(row: row), "class \(wrong)")
            }
        }
        for bit in [6, 7] {
            let error = try await failure(sample) { $0[extras].bytes[2] |= 1 << UInt8(bit) }
            expectInvalid(error, .tailNotZero, "bit \(bit) behind the classes")
        }
    }

    /// 3 x 33 low bits of 3 bits are 37 bytes and one bit.
    @Test func bitsBehindTheLowBits() async throws {
        let sample = try await TrellisForgeryTests.sample(256, low: 3, shape: [3, 33])
        for bit in 1..<8 {
            let error = try await failure(sample) { $0[3].bytes[37] |= 1 << UInt8(bit) }
            expectInvalid(error, .tailNotZero, "bit \(bit)")
        }
    }

    @Test func extrasOfAnotherLength() async throws {
        for (low, classes) in [(0, 1), (0, 2), (3, 1), (3, 4)] {
            let sample = try await TrellisForgeryTests.roomySample(256, low: low, classes: classes, rows: 9)
            let extras = 2 * classes + 1
            let bytes = sample.sample.stream(extras).count
            for more in 1...13 where more % 6 != 0 {
                let error = try await failure(sample) { $0[extras].bytes += [UInt8](repeating: 0, count: more) }
                expectInvalid(error, .miscounted, "\(more) bytes more")
            }
            for less in 1...6 where less <= bytes {
                let error = try await failure(sample) { $0[extras].bytes.removeLast(less) }
                expectInvalid(error, .miscounted, "\(less) bytes less")
            }
        }
    }

    private func patch(_ index: UInt32, _ value: Float, _ format: FloatFormat) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: index >> (8 * $0)) } + FloatBytes.encode(value, format)
    }

    @Test(arguments: FloatFormat.allCases)
    func patchesNoWriterWrites(format: FloatFormat) async throws {
        let sample = try await TrellisForgeryTests.sample(16, shape: [3, 50], format)
        func found(_ patches: [(UInt32, Float)]) async throws -> IngotError? {
            try await failure(sample) { $0[3].bytes = patches.flatMap { patch($0, $1, format) } }
        }
        #expect(try await found([(0, 1), (149, -0.0)]) == nil)
        expectInvalid(try await found([(150, 1)]), .patchOutOfRange, "beyond the chunk")
        expectInvalid(try await found([(.max, 1)]), .patchOutOfRange, "the largest index")
        expectInvalid(try await found([(1 << 31, 1)]), .patchOutOfRange, "an index with the highest bit")
        expectInvalid(try await found([(7, 1), (7, 1)]), .patchOutOfRange, "one index twice")
        expectInvalid(try await found([(7, 1), (6, 1)]), .patchOutOfRange, "falling indices")
        expectInvalid(try await found([(7, .nan)]), .patchNotFinite(index: 7), "NaN")
        expectInvalid(try await found([(7, .infinity)]), .patchNotFinite(index: 7), "infinity")
        expectInvalid(try await found([(0, 1), (149, -.infinity)]), .patchNotFinite(index: 149), "minus infinity")
    }

    // MARK: - Weights

    /// A step so large that the weight of some level is infinite: refused, but where it is patched.
    @Test(arguments: [0, 2, 6])
    func infiniteWeights(low: Int) async throws {
        let sample = try await TrellisForgeryTests.sample(256, low: low, shape: [1, 40], .f32, step: 0.015625)
        let unit = 1 << low
        // The least code, and all low bits zero, is the level of the largest magnitude, 256 * 2^b.
        func forged(_ step: Float, patched: Bool) async throws -> IngotError? {
            var forged = sample
            forged.sample.shard.set(UInt64(step.bitPattern), at: sample.sample.entry + 40, 4)
            return try await failure(forged) { streams in
                // The code 255 stands for -128.
                streams[0].bytes = [UInt8](repeating: 127, count: 39) + [255]
                streams[3].bytes = low == 0 ? [] : [UInt8](repeating: 0, count: 40 * low / 8)
                if patched { streams[3].bytes += patch(39, 3, .f32) }
            }
        }
        // Just below, and at, what the least level makes infinite.
        let infinite = Float.greatestFiniteMagnitude / Float(256 * unit) * 1.00390625
        #expect(try await forged(infinite / 1.0078125, patched: false) == nil)
        expectInvalid(try await forged(infinite, patched: false), .weightNotFinite, "\(low) low bits")
        #expect(try await forged(infinite, patched: true) == nil)
        expectInvalid(try await forged(0x1p127, patched: false), .weightNotFinite, "\(low) low bits")
    }

    /// Another step than the writer's is no damage, but not what the certificate says.
    @Test func anotherStep() async throws {
        var (sample, streams) = try await TrellisForgeryTests.sample(16)
        sample.shard.set(UInt64(Float(0.03125).nextUp.bitPattern), at: sample.entry + 40, 4)
        #expect(try await sample.failure(streams: streams) == nil)
        let report = try await Verbs.verify(sample.path, against: sample.source)
        #expect(report.failures.map(\.code) == [.certificateMismatch])
    }

    // MARK: - rANS

    @Test(arguments: [
        ("a symbol more", 0, 1, 3), ("a symbol less", 0, -1, 3), ("no symbols", 0, -480, 3),
        ("stored symbols", 0, 0, 0),
        ("zstd", 0, 0, 2), ("symbols among the extras", 1, 1, 0), ("extras in rANS", 1, 0, 3),
        ("a codec that there is not", 0, 0, 4),
    ])
    func impossibleStreamsOfRans(what: String, stream: Int, symbols: Int, codec: Int) async throws {
        var (sample, streams) = try await TrellisForgeryTests.sample(256, .rans)
        let count = sample.symbols(stream) + symbols
        sample.shard.set(UInt64(codec | count << 8), at: sample.entry + 52 + 8 * stream, 4)
        let error = try await sample.failure(streams: streams)
        #expect(error?.code == .payloadInvalid, "\(what)")
        #expect(error?.found == "entry 0 of the chunk table is not one", "\(what)")
    }

    /// Bytes missing, or too many, at the end of the stream: refused, whatever their number.
    @Test(arguments: [0, 2])
    func cutStreamsOfRans(low: Int) async throws {
        let sample = try await TrellisForgeryTests.sample(256, low: low, .rans, shape: [10, 70])
        let whole = sample.sample.streams(2)
        // What is cut off goes to the extras, as patches of nothing, or makes them too long.
        for less in 1...whole[0].bytes.count {
            let error = try await failure(sample) { streams in
                streams[1].bytes = streams[0].bytes.suffix(less) + streams[1].bytes
                streams[0].bytes.removeLast(less)
            }
            #expect(error?.code == .chunkInvalid, "\(less) bytes less")
        }
        let padding =
            sample.sample.payload + sample.sample.shard.number(at: sample.sample.payload + 56)
            - sample.sample.chunk - whole.reduce(0) { $0 + $1.bytes.count }
        for more in 1..<max(2, padding) {
            let error = try await failure(sample) { $0[0].bytes += [UInt8](repeating: 0, count: more) }
            #expect(error?.code == .chunkInvalid, "\(more) bytes more")
        }
    }

    /// Under rANS an alphabet of 256 and one class are the only ones, and there is no other scheme.
    @Test(arguments: [
        ("\\\"alphabet\\\":256", "\\\"alphabet\\\":64"), ("\\\"row_classes\\\":1", "\\\"row_classes\\\":2"),
        ("\\\"scheme\\\":\\\"trellis\\\"", "\\\"scheme\\\":\\\"lossless\\\""),
        ("\\\"codec\\\":\\\"rans\\\"", "\\\"codec\\\":\\\"rANS\\\""),
        (
            "\\\"scheme\\\":\\\"trellis\\\",\\\"states\\\":8,\\\"alphabet\\\":256,\\\"low_bits\\\":0,\\\"row_classes\\\":1",
            "\\\"scheme\\\":\\\"lossless\\\""
        ),
    ])
    func descriptionsOfRans(old: String, new: String) async throws {
        var (sample, streams) = try await TrellisForgeryTests.sample(256, .rans)
        sample.shard.replaceInHeader(old, new)
        #expect(try await sample.failure(streams: streams)?.code == .descriptorInvalid)
    }

    /// Random bytes as a stream: refused, or weights that are finite.
    @Test func randomStreamsOfRans() async throws {
        let sample = try await TrellisForgeryTests.sample(256, .rans, shape: [10, 70])
        for seed in UInt64(0)..<100 {
            var generator = SeededGenerator(seed)
            let error = try await failure(sample) { streams in
                let first = seed % 2 == 0 ? 0 : Int(generator.next() % UInt64(streams[0].bytes.count))
                for index in first..<streams[0].bytes.count {
                    streams[0].bytes[index] = UInt8(truncatingIfNeeded: generator.next())
                }
            }
            #expect(error == nil || error?.code == .chunkInvalid, "seed \(seed)")
        }
    }

    // MARK: - Descriptions

    @Test(arguments: [
        ("\\\"states\\\":8", "\\\"states\\\":4"), ("\\\"states\\\":8", "\\\"states\\\":08"),
        ("\\\"alphabet\\\":16", "\\\"alphabet\\\":5"), ("\\\"alphabet\\\":16", "\\\"alphabet\\\":128"),
        ("\\\"alphabet\\\":16", "\\\"alphabet\\\":0"), ("\\\"low_bits\\\":0", "\\\"low_bits\\\":2"),
        ("\\\"low_bits\\\":0", "\\\"low_bits\\\":-1"), ("\\\"row_classes\\\":1", "\\\"row_classes\\\":0"),
        ("\\\"row_classes\\\":1", "\\\"row_classes\\\":5"), ("\\\"row_classes\\\":1", "\\\"row_classes\\\":1.0"),
        ("\\\"states\\\":8,\\\"alphabet\\\":16", "\\\"alphabet\\\":16,\\\"states\\\":8"),
        ("\\\"scheme\\\":\\\"trellis\\\"", "\\\"scheme\\\":\\\"uniform\\\""),
    ])
    func strangeDescriptions(old: String, new: String) async throws {
        var (sample, streams) = try await TrellisForgeryTests.sample(16)
        sample.shard.replaceInHeader(old, new)
        #expect(try await sample.failure(streams: streams)?.code == .descriptorInvalid)
    }

    @Test(arguments: [
        ("\\\"states\\\":8", "\\\"states\\\":16"), ("\\\"alphabet\\\":16", "\\\"alphabet\\\":32"),
        ("\\\"row_classes\\\":1", "\\\"row_classes\\\":2"), ("\\\"shape\\\":[12,40]", "\\\"shape\\\":[40,12]"),
        ("\\\"shape\\\":[12,40]", "\\\"shape\\\":[12,41]"), ("\\\"dtype\\\":\\\"F16\\\"", "\\\"dtype\\\":\\\"BF16\\\""),
        ("\\\"codec\\\":\\\"none\\\"", "\\\"codec\\\":\\\"zstd\\\""),
        ("\\\"shape\\\":[12,40]", "\\\"shape\\\":[2147483648,2147483648]"),
        ("\\\"shape\\\":[12,40]", "\\\"shape\\\":[4194305,262144]"),
    ])
    func contradictoryDescriptions(old: String, new: String) async throws {
        var (sample, streams) = try await TrellisForgeryTests.sample(16)
        sample.shard.replaceInHeader(old, new)
        let error = try await sample.failure(streams: streams)
        #expect(error?.code == .payloadInvalid || error?.code == .sealInvalid, "\(String(describing: error))")
    }

    // MARK: - All bytes

    /// Every byte of prologue and chunk table: refused, but for sums that the certificate repeats and other steps.
    @Test func everyByteOfTheFront() async throws {
        var (sample, streams) = try await TrellisForgeryTests.sample(6, classes: 2, .zstd, shape: [20, 40])
        let whole = sample.shard.bytes
        let step = sample.entry - sample.payload + 40
        for offset in sample.payload..<sample.chunk {
            for bit in [offset % 8, (offset + 3) % 8] {
                sample.shard.bytes = whole
                sample.shard.bytes[offset] ^= 1 << UInt8(bit)
                try sample.shard.publish()
                let error = try await Verbs.failure { try await Verbs.verify(sample.path) }
                let place = offset - sample.payload
                let expected: Set<IngotError.Code> = [.payloadInvalid, .checksum, .chunkInvalid]
                let isStep = (step..<step + 4).contains(place)
                #expect(error.map { expected.contains($0.code) } ?? isStep, "byte \(place), bit \(bit)")
            }
        }
        sample.shard.bytes = whole
        #expect(try await sample.failure(streams: streams) == nil)
    }

    private func decoded(_ sample: Sample) async throws -> [UInt8]? {
        let output = sample.directory.at("export")
        try await Verbs.export(sample.path, to: output, force: true)
        return try Verbs.tensors(output)[TensorName(Sample.matrix)]?.bytes
    }

    /// Every byte of a chunk changed under hashes that hold: never a crash, and a certificate that holds is a true one.
    @Test(arguments: [0, 3])
    func everyByteOfAChunkOfRans(low: Int) async throws {
        try await everyByteOfAChunk(codec: .rans, parameters: (256, low, 1))
    }

    @Test(arguments: [Codec.zstd, .none], [(16, 0, 2), (6, 0, 1), (256, 3, 3)])
    func everyByteOfAChunk(codec: Codec, parameters: (alphabet: Int, low: Int, classes: Int)) async throws {
        var (sample, streams) = try await TrellisForgeryTests.sample(
            parameters.alphabet, low: parameters.low, classes: parameters.classes, codec, shape: [9, 70],
            step: 0.0234375, outliers: [7: 500, 450: -500])
        let whole = sample.shard.bytes
        let expected = try await decoded(sample)
        let last = sample.stream(streams - 1)
        try #require(last.count >= 6)
        let all = sample.chunk..<last.offset + last.count
        let offsets = Share.of(all)
        for offset in offsets {
            sample.shard.bytes = whole
            sample.shard.bytes[offset] ^= 1 << UInt8(offset % 8)
            if let error = try await sample.failure(streams: streams) {
                #expect(error.code == .chunkInvalid, "byte \(offset - sample.chunk)")
            } else if try await Verbs.verify(sample.path, against: sample.source).holds {
                // Other bytes for the same weights: another compressed form, or another level under a patch.
                #expect(try await decoded(sample) == expected, "byte \(offset - sample.chunk)")
            }
        }
        Tally.print(
            offsets.count, of: all.count, "C05 bytes of a trellis chunk forged under hashes that hold, \(codec.name)")
    }
}
