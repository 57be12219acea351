import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Foundation
import Inspection
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Which sources are taken, what is copied beside the shards, and what is refused.
@Suite struct SourceTests {
    private static let matrix = [SampleTensor("a.weight", .f16, [4, 64])]

    // MARK: - Forms

    @Test func singleFile() async throws {
        let directory = try TemporaryDirectory()
        try SampleSource.writeShard(SourceTests.matrix, to: directory.at("weights.safetensors"))
        try Files.write("not copied", to: directory.at("config.json"))
        let source = directory.at("weights.safetensors")
        try await Verbs.convert(source, to: directory.at("sealed"))
        #expect(Files.names(directory.at("sealed")) == [Manifest.fileName, "model.safetensors"])
        #expect(try await Verbs.verify(directory.at("sealed"), against: source).holds)
    }

    @Test func directoryWithOneShard() async throws {
        let directory = try TemporaryDirectory()
        try Directory.create(directory.at("source"))
        try SampleSource.writeShard(SourceTests.matrix, to: directory.at("source").appending("strange.safetensors"))
        try await Verbs.convert(directory.at("source"), to: directory.at("sealed"))
        #expect(Files.names(directory.at("sealed")) == [Manifest.fileName, "model.safetensors"])
    }

    /// A hub cache: every file is a link into a folder of blobs.
    @Test func symbolicLinks() async throws {
        let directory = try TemporaryDirectory()
        let plain = try SampleSource.write(SampleSource.small(), to: directory.at("plain"))
        try Directory.create(directory.at("blobs"))
        try Directory.create(directory.at("snapshot"))
        for (number, name) in Files.names(plain).enumerated() {
            let blob = directory.at("blobs").appending("b\(number)")
            try Files.write(Files.read(plain.appending(name)), to: blob)
            try FileManager.default.createSymbolicLink(
                atPath: directory.at("snapshot").appending(name).string, withDestinationPath: "../blobs/b\(number)")
        }
        try FileManager.default.createSymbolicLink(
            atPath: directory.at("snapshot").appending("dangling.json").string, withDestinationPath: "nowhere")
        let report = try await Verbs.convert(directory.at("snapshot"), to: directory.at("sealed"))
        #expect(report.skipped.map(\.name) == ["dangling.json"])
        try await Verbs.convert(plain, to: directory.at("expected"))
        #expect(try Files.snapshot(directory.at("sealed")) == Files.snapshot(directory.at("expected")))
        #expect(try Directory.entries(directory.at("sealed")).allSatisfy { !$0.isLink })
    }

    /// Names a terminal or a file system could choke on are names like any other.
    @Test func strangeNames() async throws {
        let directory = try TemporaryDirectory()
        let names = [
            "\u{1B}[31mred\u{1B}[0m.weight", "new\nline", "quote\"back\\slash", "e\u{301}", "\u{E9}", " ", "🙂.weight",
        ]
        let tensors = names.map { SampleTensor($0, .f16, [2, 40]) }
        let source = try SampleSource.write([tensors], to: directory.at("so\nurce \u{1B}[31m"))
        let target = directory.at("sea\nled \u{1B}[0m")
        try await Verbs.convert(source, to: target)
        let report = try await Verbs.verify(target, against: source)
        #expect(report.holds && report.tensors.map(\.name) == names.map { TensorName($0) })
        try await Verbs.export(target, to: directory.at("out"))
        #expect(try Set(Verbs.tensors(directory.at("out")).keys) == Set(names.map { TensorName($0) }))
    }

    // MARK: - Companions

    @Test func companions() async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            [SourceTests.matrix], to: directory.at("source"),
            companions: [
                "config.json": "{\"torch_dtype\": \"float16\", \"x\": [1, 2]}", "tokenizer.json": "{}",
                "LICENSE": "free", "pytorch_model.bin": "weights", "model.GGUF": "weights", ".hidden": "x",
                "pytorch_model.bin.index.json": "{}", "empty.txt": "",
            ])
        try Directory.create(source.appending("original"))
        try Files.write("weights", to: source.appending("original").appending("consolidated.pth"))
        try Directory.create(source.appending("code"))
        try Files.write("pass", to: source.appending("code").appending("modeling.py"))
        let report = try await Verbs.convert(source, to: directory.at("sealed"))
        #expect(
            report.skipped.map(\.name).sorted() == [
                ".hidden", "model.GGUF", "original/", "pytorch_model.bin", "pytorch_model.bin.index.json",
            ])
        let files = try Files.snapshot(directory.at("sealed"))
        #expect(
            files.keys.sorted() == [
                "LICENSE", "code/modeling.py", "config.json", "empty.txt", Manifest.fileName, "model.safetensors",
                "tokenizer.json",
            ])
        #expect(files["code/modeling.py"] == Array("pass".utf8))
        let text = String(decoding: files["config.json"] ?? [], as: UTF8.self)
        #expect(text.hasPrefix("{\"torch_dtype\": \"float16\", \"x\": [1, 2],"))
        let quantization = try JSONValue.parse(Array(text.utf8))["quantization_config"]
        #expect(quantization?["quant_method"]?.string == "ingot" && quantization?["bits"]?.unsigned == 4)
        // An export is a checkpoint without quantization again.
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"))
        #expect(
            try Files.read(directory.at("out").appending("config.json"))
                == Files.read(source.appending("config.json")))
        try await Verbs.export(directory.at("sealed"), to: directory.at("bf16"), as: .bf16)
        let typed = try JSONValue.parse(Files.read(directory.at("bf16").appending("config.json")))
        #expect(typed["torch_dtype"]?.string == "bfloat16")
    }

    /// The choice of scales decides the bytes: it is on record, but where it is the default, so that older records stay true.
    @Test func scalesAreOnRecord() throws {
        func record(_ scheme: EncodingOptions.Scheme, _ scales: UniformScales) -> [String] {
            Verbs.options(scheme, scales: scales).encoding.record.map { $0.key }
        }
        let plain = ["scheme", "bits", "group_size", "symmetric", "codec", "on_nonfinite"]
        #expect(record(.uniform, .searched) == plain)
        #expect(record(.uniform, .minmax) == plain[..<4] + ["scales"] + plain[4...])
        #expect(record(.lossless, .minmax) == ["scheme", "codec", "on_nonfinite"])
        let member = Verbs.options(.uniform, scales: .minmax).encoding.record.first { $0.key == "scales" }
        #expect(member?.value.string == "minmax")
    }

    // MARK: - Refused

    private func refusal(_ source: FilePath, _ directory: TemporaryDirectory) async throws -> IngotError? {
        let before = Files.names(directory.path)
        let error = try await Verbs.failure { try await Verbs.convert(source, to: directory.at("sealed")) }
        #expect(Files.names(directory.path) == before)
        return error
    }

    @Test(arguments: ["__ingot_seal__", "__ingot_", "__ingot_pad_0"])
    func reservedNames(name: String) async throws {
        let directory = try TemporaryDirectory()
        let tensors = SourceTests.matrix + [SampleTensor(name, .f16, [3])]
        let error = try await refusal(SampleSource.write([tensors], to: directory.at("source")), directory)
        #expect(error?.code == .reservedName && error?.tensor == TensorName(name))
        #expect(error?.file != nil)
    }

    @Test(arguments: [
        ("{\"quantization_config\": {\"quant_method\": \"gptq\"}}", IngotError.Code.unsupportedSource),
        ("{\"quantization_config\": {}}", .unsupportedSource), ("[]", .headerSyntax), ("{", .headerSyntax),
        ("", .headerSyntax),
        ("{\"a\":1,\"a\":2}", .duplicateKey),
    ])
    func configurations(text: String, code: IngotError.Code) async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            [SourceTests.matrix], to: directory.at("source"), companions: ["config.json": text])
        let error = try await refusal(source, directory)
        #expect(error?.code == code && error?.code.kind == .badData)
        #expect(error?.file?.hasSuffix("config.json") == true)
    }

    /// Our own checkpoints are quantized already.
    @Test func sealedSource() async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write([SourceTests.matrix], to: directory.at("source"), companions: [:])
        try await Verbs.convert(source, to: directory.at("first"))
        let error = try await refusal(directory.at("first"), directory)
        #expect(error != nil)
        #expect(error?.code.kind == .badData)
    }

    @Test func nothingThere() async throws {
        let directory = try TemporaryDirectory()
        #expect(try await refusal(directory.at("missing"), directory)?.code == .noInput)
        try Directory.create(directory.at("empty"))
        #expect(try await refusal(directory.at("empty"), directory)?.code == .unsupportedSource)
        #expect(try await refusal(FilePath("/dev/null"), directory)?.code == .notARegularFile)
    }
}
