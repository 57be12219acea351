import Checkpoints
import Conversion
import ConversionSupport
import Export
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// GGUF files that are made of sealed checkpoints.
@Suite struct SealedContentTests {
    private func names(_ content: GGUFContent) -> [String] { content.tensors.map { "\($0.name) \($0.shape)" } }

    @Test("A sealed checkpoint has the content of its source, from files that its manifest names") func sealed()
        async throws
    {
        let directory = try TemporaryDirectory()
        let files = [
            "tokenizer.json": ContentSample.byteLevel, "chat_template.jinja": "{{ a }}",
            "additional_chat_templates/tool.jinja": "{{ t }}",
        ]
        try Directory.create(directory.at("tiny"))
        try Directory.create(directory.at("tiny/additional_chat_templates"))
        for (name, text) in files { try Files.write(text, to: directory.at("tiny/\(name)")) }
        try Files.write(TinyModel.configuration(isMixture: true), to: directory.at("tiny/config.json"))
        try SampleSource.writeShard(
            TinyModel.tensors(isMixture: true), to: directory.at("tiny/model.safetensors"))
        try await Verbs.convert(directory.at("tiny"), to: directory.at("sealed"))
        let source = try GGUFContent(OpenedCheckpoint(directory.at("tiny")), name: "A")
        let sealed = try GGUFContent(OpenedCheckpoint(directory.at("sealed")), name: "A")
        #expect(
            sealed.metadata(fileType: 1, quantizationVersion: 2) == source.metadata(fileType: 1, quantizationVersion: 2)
        )
        #expect(names(sealed) == names(source) && sealed.tensors.count == 23)
        let reader = try ContentSample.write(sealed, to: directory.at("m.gguf"))
        #expect(try reader.strings("tokenizer.chat_templates") == ["tool"])
        #expect(try reader.string("tokenizer.chat_template.tool") == "{{ t }}")

        // A file that the manifest does not name does not count, and one that was changed is refused.
        try Files.write("{}", to: directory.at("sealed/generation_config.json"))
        _ = try GGUFContent(OpenedCheckpoint(directory.at("sealed")))
        try Files.write("{{ b }}", to: directory.at("sealed/chat_template.jinja"))
        let error = #expect(throws: IngotError.self) {
            _ = try GGUFContent(OpenedCheckpoint(directory.at("sealed")))
        }
        #expect(error?.code == .fileHash && error?.file?.hasSuffix("chat_template.jinja") == true)
    }

    @Test("A sealed checkpoint that was made of a GGUF file keeps its metadata and names") func sealedGGUF()
        async throws
    {
        let directory = try TemporaryDirectory()
        let metadata: [(String, UInt32, [UInt8])] = [
            ("general.architecture", 8, GGUFSample.text("gemma2")), ("general.name", 8, GGUFSample.text("N")),
        ]
        try GGUFSample.write(
            ["blk.0.attn_q.weight", "token_embd.weight"].map { GGUFSample.Tensor(SampleTensor($0, .f16, [64, 64])) },
            metadata: metadata + [("general.file_type", 4, GGUFSample.word(7, 4))], to: directory.at("m.gguf"))
        try await Verbs.convert(directory.at("m.gguf"), to: directory.at("sealed"), Verbs.options(.lossless))
        let source = try GGUFContent(OpenedCheckpoint(directory.at("m.gguf")))
        let sealed = try GGUFContent(OpenedCheckpoint(directory.at("sealed")))
        #expect(names(sealed) == names(source))
        let found = sealed.metadata(fileType: 0, quantizationVersion: nil)
        #expect(found == source.metadata(fileType: 0, quantizationVersion: nil) && found.count == 3)
    }
}
