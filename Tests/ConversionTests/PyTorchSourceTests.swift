import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

private typealias P = PickleBytes

/// Checkpoints of PyTorch through a whole conversion.
@Suite struct PyTorchSourceTests {
    static func write(_ tensors: [SampleTensor], to path: FilePath) throws {
        try Files.write(PyTorchImage.stateDictionary(tensors).bytes, to: path)
    }

    /// The payloads of a checkpoint of ours, by name.
    static func payloads(_ path: FilePath) throws -> [TensorName: [UInt8]] {
        var payloads: [TensorName: [UInt8]] = [:]
        for shard in try SealedCheckpoint(path).shards {
            for payload in shard.payloads { payloads[payload.name] = try shard.file.bytes(payload.range) }
        }
        return payloads
    }

    @Test(arguments: [EncodingOptions.Scheme.uniform, .lossless, .trellis])
    func payloadsAreThoseOfSafetensors(_ scheme: EncodingOptions.Scheme) async throws {
        let directory = try TemporaryDirectory()
        var tensors = SampleSource.small().flatMap { $0 }.filter { $0.name != "model.empty" }
        tensors.append(SampleTensor("model.layers.1.wide.weight", .f16, [64, 300]))
        try Directory.create(directory.at("bin"))
        try PyTorchSourceTests.write(tensors, to: directory.at("bin").appending("pytorch_model.bin"))
        try Files.write("{}\n", to: directory.at("bin").appending("config.json"))
        try SampleSource.write([tensors], to: directory.at("safetensors"))
        for kind in ["bin", "safetensors"] {
            let report = try await Verbs.convert(
                directory.at(kind), to: directory.at(kind + "-sealed"), Verbs.options(scheme))
            #expect(report.warnings.isEmpty && report.skipped.isEmpty)
            #expect(
                Files.names(directory.at(kind + "-sealed")) == ["config.json", Manifest.fileName, "model.safetensors"])
            #expect(try await Verbs.verify(directory.at(kind + "-sealed"), against: directory.at("bin")).holds)
            #expect(try await Verbs.verify(directory.at(kind + "-sealed"), against: directory.at("safetensors")).holds)
        }
        let ours = try PyTorchSourceTests.payloads(directory.at("bin-sealed"))
        #expect(try ours == PyTorchSourceTests.payloads(directory.at("safetensors-sealed")) && ours.count >= 4)
    }

    @Test("A transposed weight becomes the payload of its copy in order") func transposed() async throws {
        let directory = try TemporaryDirectory()
        let (rows, columns) = (96, 160)
        let plain = SampleTensor("a.weight", .bf16, [rows, columns])
        var turned: [UInt8] = []
        for column in 0..<columns {
            for row in 0..<rows {
                turned += plain.bytes[(row * columns + column) * 2..<(row * columns + column) * 2 + 2]
            }
        }
        let storage = P.storage("0", type: "BFloat16Storage", count: Int64(rows * columns))
        let view = P.tensor(storage, [Int64(rows), Int64(columns)], strides: [1, Int64(rows)])
        try Files.write(
            PyTorchImage.archive(P.pickle(P.dictionary([("a.weight", view)])), storages: [("0", turned)]).bytes,
            to: directory.at("x.pt"))
        try SampleSource.writeShard([plain], to: directory.at("x.safetensors"))
        try await Verbs.convert(directory.at("x.pt"), to: directory.at("one"))
        try await Verbs.convert(directory.at("x.safetensors"), to: directory.at("other"))
        #expect(
            try PyTorchSourceTests.payloads(directory.at("one")) == PyTorchSourceTests.payloads(directory.at("other")))
        #expect(try await Verbs.verify(directory.at("one"), against: directory.at("x.pt")).holds)
    }

    @Test("Output and index have the names of the hub, whatever the source is called") func shards() async throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("source")
        try Directory.create(source)
        var map: [JSONValue.Member] = []
        for (index, tensors) in SampleSource.small().enumerated() {
            let name = "pytorch_model-0000\(index + 1)-of-00002.bin"
            try PyTorchSourceTests.write(tensors, to: source.appending(name))
            map += tensors.map { .init($0.name, .string(name)) }
        }
        let index = JSONValue.object([.init("metadata", .object([])), .init("weight_map", .object(map))]).text()
        try Files.write(index, to: source.appending("pytorch_model.bin.index.json"))
        let report = try await Verbs.convert(source, to: directory.at("sealed"))
        #expect(report.shardCount == 2 && report.skipped.isEmpty)
        #expect(
            Files.names(directory.at("sealed")) == [
                Manifest.fileName, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
            ])
        #expect(try await Verbs.verify(directory.at("sealed"), against: source).holds)
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"))
        #expect(try Checkpoint.open(directory.at("out")).tensorCount == SampleSource.small().flatMap { $0 }.count)
    }

    @Test("P14 the warning of a tied weight is in the report") func tied() async throws {
        let directory = try TemporaryDirectory()
        let weights = SampleTensor("embed.weight", .f16, [8, 64])
        let tensor = P.tensor(P.storage("0", type: "HalfStorage", count: 512), [8, 64])
        let body = P.dictionary([("embed.weight", tensor), ("lm_head.weight", tensor)])
        try Files.write(
            PyTorchImage.archive(P.pickle(body), storages: [("0", weights.bytes)]).bytes, to: directory.at("x.bin"))
        let report = try await Verbs.convert(directory.at("x.bin"), to: directory.at("sealed"))
        #expect(report.tensors.map(\.name.text) == ["embed.weight"])
        #expect(report.warnings.map(\.tensor?.text) == ["lm_head.weight"])
        #expect(try await Verbs.verify(directory.at("sealed"), against: directory.at("x.bin")).holds)
    }

    /// A training checkpoint with the weights twice: those of the last step, and their moving average.
    static func writeTraining(_ last: SampleTensor, _ average: SampleTensor, to path: FilePath) throws {
        func dictionary(_ tensor: SampleTensor, _ storage: String) -> [UInt8] {
            let storage = P.storage(storage, type: "HalfStorage", count: Int64(tensor.shape.reduce(1, *)))
            return P.dictionary([(tensor.name, P.tensor(storage, tensor.shape.map(Int64.init)))])
        }
        let body = P.dictionary([
            ("step", P.int(9)), ("state_dict", dictionary(last, "0")),
            ("ema", P.dictionary([("model", dictionary(average, "1"))])),
        ])
        try Files.write(
            PyTorchImage.archive(P.pickle(body), storages: [("0", last.bytes), ("1", average.bytes)]).bytes, to: path)
    }

    @Test("P15 a key names the dict with the weights") func key() async throws {
        let directory = try TemporaryDirectory()
        let (last, average) = (
            SampleTensor("a.weight", .f16, [8, 64]), SampleTensor("a.weight", .f16, [8, 64], seed: 2)
        )
        try PyTorchSourceTests.writeTraining(last, average, to: directory.at("x.pt"))
        try SampleSource.writeShard([average], to: directory.at("x.safetensors"))
        var options = Verbs.options()
        try await Verbs.convert(directory.at("x.safetensors"), to: directory.at("plain"), options)
        options.encoding.key = "ema.model"
        try await Verbs.convert(directory.at("x.pt"), to: directory.at("sealed"), options)
        #expect(
            try PyTorchSourceTests.payloads(directory.at("sealed"))
                == PyTorchSourceTests.payloads(directory.at("plain")))
        #expect(options.encoding.record.contains(.init("key", .string("ema.model"))), "resuming compares it")
        let checkpoint = try SealedCheckpoint(directory.at("sealed"))
        let ambiguous = #expect(throws: IngotError.self) { try Checkpoint.open(directory.at("x.pt")) }
        #expect(ambiguous?.found == "weights under more than one key: `state_dict`, `ema`")
        for (key, holds) in [("state_dict", false), ("ema.model", true)] {
            let source = try Checkpoint.open(directory.at("x.pt"), key: key)
            let report = try await Verifier(checkpoint, against: source, memory: Verbs.minimumMemory, jobs: 1).run()
            #expect(report.holds == holds)
        }
        let error = try await Verbs.failure {
            try await Verbs.convert(directory.at("x.safetensors"), to: directory.at("other"), options)
        }
        #expect(error?.code == .usage && !Files.names(directory.path).contains("other"))
    }

    @Test("P05 a damaged storage is found before anything is published") func damage() async throws {
        let directory = try TemporaryDirectory()
        let tensors = [SampleTensor("a.weight", .f16, [8, 64]), SampleTensor("b.weight", .f16, [8, 64], seed: 2)]
        let image = PyTorchImage.stateDictionary(tensors).with { $0["archive/data/1"].data[9] ^= 1 }
        try Files.write(image.bytes, to: directory.at("x.bin"))
        let error = try await Verbs.failure {
            try await Verbs.convert(directory.at("x.bin"), to: directory.at("sealed"))
        }
        #expect(error?.code == .checksum && error?.found.contains("archive/data/1") == true)
        #expect(!Files.names(directory.path).contains("sealed"))
        var report = try CheckpointReport(directory.at("x.bin"))
        let reader = try StatisticsReader(memory: Verbs.minimumMemory, jobs: 1)
        #expect(try await Verbs.failure { try await report.readWeights(by: reader) }?.code == .checksum)
        // What is asked about the other tensor alone is answered.
        var half = try CheckpointReport(directory.at("x.bin"))
        half.select([try #require(NamePattern("a.*"))])
        try await half.readWeights(by: reader)
        #expect(half.weightsRead)
    }

    @Test("Every byte of an archive is accounted for") func account() throws {
        let directory = try TemporaryDirectory()
        let tensors = SampleSource.small().flatMap { $0 }
        var image = PyTorchImage.stateDictionary(tensors)
        image["archive/data/0"].local.extra = [0x46, 0x42, 9, 0] + [UInt8](repeating: 0x5A, count: 9)
        let bytes = image.bytes
        try Files.write(bytes, to: directory.at("x.pt"))
        let report = try CheckpointReport(directory.at("x.pt"))
        #expect(report.formatName == "pytorch" && report.account.total == UInt64(bytes.count))
        #expect(report.account.bytes[.tensors] == UInt64(tensors.reduce(0) { $0 + $1.bytes.count }))
        #expect(report.account.bytes[.padding] == 13)
    }
}
