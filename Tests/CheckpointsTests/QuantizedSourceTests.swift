import Checkpoints
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Codes of other quantizers, opened as the weights that they stand for.
@Suite struct QuantizedSourceTests {
    static func write(_ sample: QuantizedSample, _ shards: [[SampleTensor]]? = nil) throws -> TemporaryDirectory {
        let directory = try TemporaryDirectory()
        try SampleSource.write(
            shards ?? [sample.tensors], to: directory.path.appending("c"),
            companions: sample.configuration.map { ["config.json": $0] } ?? [:])
        return directory
    }

    @Test("The weights are those of the layout, bit for bit", arguments: QuantizedSample.all)
    func values(sample: QuantizedSample) throws {
        let directory = try QuantizedSourceTests.write(sample)
        let checkpoint = try Checkpoint.open(directory.path.appending("c"))
        #expect(checkpoint.warnings.isEmpty && checkpoint.tensorCount == 1)
        let (shard, tensor) = try #require(checkpoint.tensor(named: TensorName(sample.name)))
        #expect(tensor.shape.dimensions == sample.shape && tensor.elementType == sample.format.elementType)
        #expect(try shard.bytes(of: tensor).all() == sample.bytes)
        let form = try #require(tensor.form)
        #expect(form.byteCount == tensor.storedByteCount && form.byteCount <= shard.storedByteCount)
    }

    @Test("Any piece has the bytes of the whole", arguments: QuantizedSample.all)
    func pieces(sample: QuantizedSample) throws {
        let directory = try QuantizedSourceTests.write(sample)
        let checkpoint = try Checkpoint.open(directory.path.appending("c"))
        let (shard, tensor) = try #require(checkpoint.tensor(named: TensorName(sample.name)))
        let (bytes, whole) = (shard.bytes(of: tensor), sample.bytes)
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = TestSupport.SeededGenerator(seed)
        for _ in 0..<40 {
            let start = Int(generator.next() % UInt64(whole.count))
            let count = Int(generator.next() % UInt64(whole.count - start + 1))
            #expect(try bytes.part(UInt64(start), count: count) == Array(whole[start..<start + count]), "seed \(seed)")
        }
        // Tiles of some columns.
        let (columns, width) = (sample.shape[sample.shape.count - 1], sample.format.byteWidth)
        for _ in 0..<20 {
            let rows = whole.count / width / columns
            let (row, column) = (Int(generator.next() & 0xFFFF) % rows, Int(generator.next() & 0xFFFF) % columns)
            let height = 1 + Int(generator.next() & 0xFFFF) % (rows - row)
            let length = 1 + Int(generator.next() & 0xFFFF) % (columns - column)
            var buffer = [UInt8](repeating: 0, count: height * length * width)
            try bytes.read(
                UInt64((row * columns + column) * width), count: length * width, rows: height, stride: columns * width,
                into: &buffer)
            var expected: [UInt8] = []
            for line in row..<row + height {
                let first = (line * columns + column) * width
                expected += whole[first..<first + length * width]
            }
            #expect(buffer == expected, "seed \(seed)")
        }
    }

    @Test("Parts may lie in different shards", arguments: QuantizedSample.all)
    func shards(sample: QuantizedSample) throws {
        let plain = SampleTensor("model.norm.weight", .f32, [4])
        let shards = [[plain, sample.tensors[0]], Array(sample.tensors.dropFirst())]
        let directory = try QuantizedSourceTests.write(sample, shards)
        let path = directory.path.appending("c")
        let checkpoint = try Checkpoint.open(path)
        #expect(checkpoint.shards.map(\.header.tensors.count) == [2, 0])
        let (shard, tensor) = try #require(checkpoint.tensor(named: TensorName(sample.name)))
        #expect(tensor.form?.spansFiles == true)
        #expect(try shard.bytes(of: tensor).all() == sample.bytes)
        // Alone, the shard with the codes is refused.
        let error = try #require(throws: IngotError.self) { try checkpoint.layout.open(0) }
        #expect(error.code == .unsupportedSource)
    }

    @Test("Codes as they are stored, on request", arguments: QuantizedSample.all)
    func stored(sample: QuantizedSample) throws {
        let directory = try QuantizedSourceTests.write(sample)
        let checkpoint = try Checkpoint.open(directory.path.appending("c"), quantized: .asStored)
        #expect(checkpoint.tensorCount == sample.tensors.count)
        for expected in sample.tensors {
            let (shard, tensor) = try #require(checkpoint.tensor(named: TensorName(expected.name)))
            #expect(tensor.form == nil && tensor.elementType == expected.type)
            #expect(try shard.bytes(of: tensor).all() == expected.bytes)
        }
    }

    @Test("Codes and scales are counted, in any number of parts", arguments: QuantizedSample.all)
    func counts(sample: QuantizedSample) throws {
        let directory = try QuantizedSourceTests.write(sample)
        let checkpoint = try Checkpoint.open(directory.path.appending("c"))
        let form = try #require(checkpoint.tensor(named: TensorName(sample.name))?.tensor.form)
        var (codes, scales) = (CodeHistogram(), ScaleHistogram())
        try codes.count(0, of: 1, form)
        try scales.take(0, of: 1, form)
        #expect(codes.counts.count == form.levels && codes.used > 1)
        let isAdditive = sample.description == "AQLM"
        let elements = sample.values.count
        #expect(Int(codes.counts.reduce(0, +)) == (isAdditive ? elements / 8 * 2 : elements))
        #expect(scales.notFinite == 0 && scales.zeros == 0 && (scales.count > 0) != isAdditive)
        for parts in [2, 3, 7] {
            var (allCodes, allScales) = (CodeHistogram(), ScaleHistogram())
            for part in 0..<parts {
                var (some, more) = (CodeHistogram(), ScaleHistogram())
                try some.count(part, of: parts, form)
                try more.take(part, of: parts, form)
                allCodes.add(some)
                allScales.add(more)
            }
            #expect(allCodes == codes && allScales == scales)
        }
    }

    @Test("FP8 weights without scales are a plain cast") func cast() throws {
        let directory = try TemporaryDirectory()
        try SampleSource.write(
            [[SampleTensor("m.weight", raw: .f8e4m3, [4, 8])]], to: directory.path.appending("c"), companions: [:])
        let checkpoint = try Checkpoint.open(directory.path.appending("c"))
        #expect(checkpoint.shards[0].header.tensors[0].elementType == .f8e4m3)
    }
}

extension QuantizedSourceTests {
    @Test("GPTQ without a configuration is read as version 1, with a warning; AWQ that states no zero points has 8")
    func assumptions() throws {
        var sample = QuantizedSample.gptq(bits: 4)
        sample.configuration = nil
        let directory = try QuantizedSourceTests.write(sample)
        let checkpoint = try Checkpoint.open(directory.path.appending("c"))
        #expect(checkpoint.warnings.count == 1 && checkpoint.warnings[0].message.contains("version 1"))
        let (shard, tensor) = try #require(checkpoint.tensor(named: TensorName(sample.name)))
        #expect(try shard.bytes(of: tensor).all() == sample.bytes)
        var symmetric = QuantizedSample.awq()
        symmetric.tensors.removeAll { $0.name == "m.qzeros" }
        symmetric.configuration = #"{"quantization_config": {"quant_method": "awq", "bits": 4, "zero_point": false}}"#
        let other = try QuantizedSourceTests.write(symmetric)
        #expect(try Checkpoint.open(other.path.appending("c")).tensorCount == 1)
    }

    @Test("A configuration that cannot be read matters to codes only") func brokenConfiguration() throws {
        var sample = QuantizedSample.mxfp4()
        sample.configuration = "{"
        let directory = try QuantizedSourceTests.write(sample)
        let error = try #require(throws: IngotError.self) { try Checkpoint.open(directory.path.appending("c")) }
        #expect(error.code == .headerSyntax && error.file?.hasSuffix("config.json") == true)
        #expect(try Checkpoint.open(directory.path.appending("c"), undecodable: .listed).warnings.count == 1)
        sample.tensors = [SampleTensor("m.weight", .f32, [2, 3])]
        let plain = try QuantizedSourceTests.write(sample)
        #expect(try Checkpoint.open(plain.path.appending("c")).warnings.isEmpty)
    }
}

extension QuantizedSourceTests {
    @Test("Names that quantizers use too, in a model without codes") func innocentNames() throws {
        let directory = try TemporaryDirectory()
        let tensors = [
            SampleTensor("attention.W_q", .f32, [8, 8]), SampleTensor("audio.codebooks", .f32, [2, 16, 4]),
            SampleTensor("mask.indices", raw: .i32, [5]), SampleTensor("audio.codes", raw: .i16, [3, 4, 2]),
            SampleTensor("m.trellis", raw: .i16, [4]), SampleTensor("m.scales", .f16, [4]),
            SampleTensor("bytes.weight", raw: .u8, [4, 4]), SampleTensor("words.weight", raw: .u32, [4, 4]),
            SampleTensor("signed.weight", raw: .i8, [4, 4]),
        ]
        try SampleSource.write([tensors], to: directory.path.appending("c"), companions: [:])
        let checkpoint = try Checkpoint.open(directory.path.appending("c"))
        #expect(checkpoint.tensorCount == tensors.count && checkpoint.warnings.isEmpty)
        #expect(checkpoint.shards[0].header.tensors.allSatisfy { $0.form == nil })
    }
}
