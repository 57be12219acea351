import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

extension ForgeryTests.Sample {
    /// A checkpoint of one calibrated matrix with scale bytes of columns, or of columns and rows, and `norm.weight`. Moments have blocks of
    /// 48 columns.
    init(calibrated shape: [Int], _ codec: Codec, rows hasRows: Bool, step: Float = 0.02) async throws {
        var generator = SeededGenerator(UInt64(shape[0]))
        let values = (0..<shape[0] * shape[1]).map { $0 % 997 == 5 ? 40 : generator.weight() }
        let tensor = SampleTensor(Self.matrix, .f16, shape, values: values)
        try await self.init(codec == .rans ? .zstd : codec, tensor: tensor)
        let place = path.appending("model.safetensors")
        try Directory.removeFile(place)
        try writeCalibrated(source, to: place, codec, hasRows: hasRows, step: step)
        try ForgedShard.rewriteManifest(path)
        shard = try ForgedShard(place)
    }

    /// Where the side information is, and how long it is.
    var side: Range<Int> {
        let streams = shard.number(at: payload + 18, 2)
        let start = payload + 64 + shard.number(at: payload + 20, 4) * (48 + 8 * streams)
        return start..<start + shard.number(at: payload + 48)
    }
}

/// Encodes the matrix of a source of one shard band by band, with made-up moments.
private func writeCalibrated(
    _ source: FilePath, to place: FilePath, _ codec: Codec, hasRows: Bool, step: Float
) throws {
    let original = try Checkpoint.open(source).shards[0]
    let scales: ScaleBytes = hasRows ? .columnsAndRows : .columns
    let calibration = ContentHash(high: 1, low: 2)
    let plans = try original.header.tensors.map { stored in
        guard stored.shape.isMatrix, let format = stored.elementType.quantizable else {
            return TensorPlan(tensor: stored, descriptor: nil)
        }
        let parameters = try #require(
            TrellisParameters(states: 16, alphabet: codec == .rans ? 256 : 32, scaleBytes: scales))
        return TensorPlan(
            tensor: stored,
            descriptor: TensorDescriptor(
                scheme: .trellis(parameters), codec: codec, format: format, shape: stored.shape,
                calibrated: .init(calibration: calibration)))
    }
    let layout = try ShardLayout(plans, sourceMetadata: [])
    var writer = try ShardWriter(place, layout: layout)
    var (encoder, chunks, scratch) = (BandEncoder(), [EncodedChunk](), [UInt8]())
    for plan in layout.payloads {
        guard let prologue = plan.descriptor?.prologue else { continue }
        let grid = prologue.grid
        let diagonal = (0..<grid.columns).map { Float(1 + $0 % 9) }
        let factors = try #require(
            FeedbackFactors(columns: grid.columns, width: 48, diagonal: diagonal, shrinkage: 0.1) { part in
                let range = part * 48..<min(grid.columns, part * 48 + 48)
                return range.flatMap { row in
                    (row..<range.upperBound).map { $0 == row ? diagonal[row] : 0.3 }
                }
            })
        let encoding = CalibratedEncoding(
            factors: factors, columnBytes: factors.columnBytes,
            rowBytes: hasRows ? (0..<grid.rows).map { UInt8(120 + $0 % 16) } : [])
        let bytes = original.bytes(of: plan.tensor)
        try writer.beginPayload(side: encoding.sideInformation)
        while chunks.count < grid.chunksPerBand { chunks.append(EncodedChunk()) }
        var sums = ActivationSums()
        for first in stride(from: 0, to: grid.count, by: grid.chunksPerBand) {
            let found = try encoder.encode(
                grid.chunksPerBand, firstRow: grid.place(of: first).row, as: prologue, by: TrellisRule(step: step),
                encoding, measures: true, into: &chunks
            ) { tile in
                try bytes.elements(grid.place(of: first + tile), grid.columns, prologue.elementType, scratch: &scratch)
            }
            sums = sums + found
            for tile in 0..<grid.chunksPerBand { try writer.append(chunk: chunks[tile]) }
        }
        try writer.finishPayload(sourceHash: bytes.hash(), calibrated: sums)
    }
    for plan in layout.kept {
        writer.beginKept()
        let bytes = try original.file.bytes(plan.tensor.range)
        try writer.append(kept: bytes.span)
        writer.finishKept()
    }
    _ = try writer.seal()
}

/// Payloads with scale bytes: what was written is read; what was changed is refused.
@Suite struct ScaleByteTests {
    typealias Sample = ForgeryTests.Sample

    /// Bands and tiles of several rows and columns, in every codec: the error of what is read is the certificate's.
    @Test(arguments: Codec.allCases, [false, true]) func roundTrip(codec: Codec, hasRows: Bool) async throws {
        for shape in [[12, 40], [700, 1300], [1, 70], [5000, 3]] {
            let sample = try await Sample(calibrated: shape, codec, rows: hasRows)
            let report = try await Verbs.verify(sample.path, against: sample.source)
            #expect(report.holds, "\(shape)")
            #expect(sample.side.count == shape[1] + (hasRows ? shape[0] : 0))
            let checkpoint = try SealedCheckpoint(sample.path)
            let descriptor = try #require(checkpoint.shards.first?.payloads.first?.descriptor)
            #expect(descriptor.calibrated?.calibration == ContentHash(high: 1, low: 2))
            let (sums, error) = (descriptor.sums, try #require(descriptor.calibrated?.sums))
            #expect(sums.relativeMSE < 0.1 && error.relativeError < 0.1 && error.signal > sums.signal, "\(shape)")
            try await Verbs.export(sample.path, to: sample.directory.at("out"), as: .f32)
            let exported = try #require(try Verbs.tensors(sample.directory.at("out"))[TensorName(Sample.matrix)])
            let original = try #require(try Verbs.tensors(sample.source)[TensorName(Sample.matrix)])
            #expect(exported.shape == original.shape && exported.bytes.count == 2 * original.bytes.count)
        }
    }

    /// C01: each bit of the side information, and bits everywhere else.
    @Test func flippedBits() async throws {
        let sample = try await Sample(calibrated: [24, 40], .zstd, rows: true)
        let place = sample.path.appending("model.safetensors")
        let bytes = sample.shard.bytes
        var flips = 0
        func check(_ offset: Int, _ bit: Int) async throws {
            flips += 1
            try Files.patch([bytes[offset] ^ 1 << UInt8(bit)], at: offset, in: place)
            let error = try await Verbs.failure { try await Verbs.verify(sample.path) }
            #expect(error?.code.kind == .badData, "byte \(offset), bit \(bit): \(String(describing: error))")
            try Files.patch([bytes[offset]], at: offset, in: place)
        }
        for offset in sample.side { for bit in 0..<8 { try await check(offset, bit) } }
        for offset in Share.of(bytes.indices) { try await check(offset, offset % 8) }
        try await Verbs.verify(sample.path)
        Tally.print(flips, of: bytes.count + 7 * sample.side.count, "C01 flipped bits of a calibrated shard")
    }

    /// A changed scale byte under right hashes is another weight: not what the certificate says.
    @Test func otherScales() async throws {
        for offset in [0, 39, 40, 63] {
            var sample = try await Sample(calibrated: [24, 40], .none, rows: true)
            sample.shard.bytes[sample.side.lowerBound + offset] ^= 8
            try sample.shard.publish()
            #expect(try await Verbs.failure { try await Verbs.verify(sample.path) } == nil)
            let report = try await Verbs.verify(sample.path, against: sample.source)
            #expect(report.failures.map(\.code) == [.certificateMismatch], "\(offset)")
        }
    }

    /// A step times the greatest scale is infinite, and so are weights.
    @Test func infiniteWeights() async throws {
        var sample = try await Sample(calibrated: [24, 40], .rans, rows: false)
        sample.shard.set(UInt64(Float(0x1p126).bitPattern), at: sample.entry + 40, 4)
        for offset in sample.side { sample.shard.bytes[offset] = 255 }
        try sample.shard.publish()
        let error = try await Verbs.failure { try await Verbs.verify(sample.path) }
        #expect(error?.code == .chunkInvalid && error?.tensor == TensorName(Sample.matrix))
    }

    private static let feature = #"\"required_features\":[\"scale_bytes\"]"#

    /// A shard names exactly the features that it uses.
    @Test(arguments: [
        (#"\"required_features\":[]"#, IngotError.Code.descriptorInvalid, "scale_bytes"),
        (#"\"required_features\":[\"scale-bytes\"]"#, .containerVersion, "scale-bytes"),
        (#"\"required_features\":[\"scale_bytes\",\"x\"]"#, .containerVersion, "features x"),
        (#"\"required_features\":[\"scale_bytes\",\"scale_bytes\"]"#, .descriptorInvalid, "scale_bytes, scale_bytes"),
    ])
    func otherFeatures(text: String, code: IngotError.Code, name: String) async throws {
        var sample = try await Sample(calibrated: [24, 40], .none, rows: true)
        sample.shard.replaceInHeader(ScaleByteTests.feature, text)
        try sample.shard.publish()
        let error = try await Verbs.failure { try await Verbs.verify(sample.path) }
        #expect(error?.code == code, "\(String(describing: error))")
        #expect(error.map { ($0.found + ($0.expected ?? "")).contains(name) } == true, "\(String(describing: error))")
    }

    @Test func featureWithoutUse() async throws {
        var sample = try await Sample()
        sample.shard.replaceInHeader(#"\"required_features\":[]"#, ScaleByteTests.feature)
        try sample.shard.publish()
        let error = try await Verbs.failure { try await Verbs.verify(sample.path) }
        #expect(error?.code == .descriptorInvalid && error?.found.contains("scale_bytes") == true)
    }

    /// Members of a description that are missing, in another place, or of another form.
    @Test(arguments: [
        (#"\"scale_bytes\":\"columns_rows\""#, #"\"scale_bytes\":\"rows\""#, IngotError.Code.descriptorInvalid),
        (#"\"scale_bytes\":\"columns_rows\""#, #"\"scale_bytes\":1"#, .descriptorInvalid),
        (#"\"scale_bytes\":\"columns_rows\","#, "", .descriptorInvalid),
        (#"\"scale_bytes\":\"columns_rows\""#, #"\"scale_bytes\":\"columns\""#, .sealInvalid),
        (#"\"h_signal\""#, #"\"h_Signal\""#, .descriptorInvalid), (#"\"h_noise\""#, #"\"noise2\""#, .descriptorInvalid),
        (#"\"calibration_xxh3_128\""#, #"\"calibration\""#, .descriptorInvalid),
        (#"\"h_noise\":\"3"#, #"\"h_noise\":\"b"#, .descriptorInvalid),
        (#"\"h_noise\":\"3"#, #"\"h_noise\":\"7ff"#, .descriptorInvalid),
        (
            #"\"calibration_xxh3_128\":\"00000000000000010000000000000002\","#, "",
            .descriptorInvalid
        ), (#"00000000000000010000000000000002"#, #"0000000000000001000000000000000g"#, .descriptorInvalid),
    ])
    func otherDescriptions(old: String, new: String, code: IngotError.Code) async throws {
        var sample = try await Sample(calibrated: [24, 40], .none, rows: true)
        sample.shard.replaceInHeader(old, new)
        try sample.shard.publish()
        let error = try await Verbs.failure { try await Verbs.verify(sample.path) }
        #expect(error?.code == code, "\(new): \(String(describing: error))")
        if code == .descriptorInvalid { #expect(error?.tensor == TensorName(Sample.matrix)) }
    }

    /// The prologue says another length of the side information.
    @Test(arguments: [0, 40, 63, 65, 1 << 40]) func otherLengths(length: UInt64) async throws {
        var sample = try await Sample(calibrated: [24, 40], .none, rows: true)
        sample.shard.set(length, at: sample.payload + 48)
        try sample.shard.publish()
        let error = try await Verbs.failure { try await Verbs.verify(sample.path) }
        #expect(error?.code == .payloadInvalid && error?.tensor == TensorName(Sample.matrix))
    }
}
