import Checkpoints
import Export
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Weights

/// Small models as Hugging Face checkpoints, and GGUF files of their content.
enum ContentSample {
    /// A tokenizer of kind `gpt2` that llama.cpp knows as `gpt-2`; its vocabulary is smaller than that of `TinyModel`.
    static let byteLevel = TokenizerSample.byteLevel(
        members: #""pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"#)

    /// Writes a model and opens it. `changes` are members of its `config.json`.
    static func model(
        _ directory: TemporaryDirectory, _ name: String = "tiny-model", isMixture: Bool = false,
        changes: [String: String] = [:], tensors: [SampleTensor]? = nil, files: [String: String] = [:]
    ) throws -> OpenedCheckpoint {
        var companions = files
        companions["config.json"] = TinyModel.configuration(isMixture: isMixture, changes: changes)
        return try OpenedCheckpoint(
            SampleSource.write(
                [tensors ?? TinyModel.tensors(isMixture: isMixture)], to: directory.at(name), companions: companions))
    }

    /// The content that a model becomes, which lives longer than its directory.
    static func content(
        isMixture: Bool = false, changes: [String: String] = [:], tensors: [SampleTensor]? = nil,
        files: [String: String] = [:]
    ) throws -> GGUFContent {
        let directory = try TemporaryDirectory()
        return try withExtendedLifetime(directory) {
            try GGUFContent(
                model(directory, isMixture: isMixture, changes: changes, tensors: tensors, files: files))
        }
    }

    /// The header of a GGUF file of the content, with all tensors of type F32.
    static func header(_ content: GGUFContent, fileType: UInt32 = 0) throws -> GGUFFileHeader {
        try GGUFFileHeader(
            content.metadata(fileType: fileType, quantizationVersion: 2),
            content.tensors.map { tensor in
                .init(tensor.name, tensor.shape, type: 0, byteCount: UInt64(4 * tensor.elementCount))
            })
    }

    /// Writes a GGUF file of the content, whose tensors of the checkpoint are zeros of type F32.
    @discardableResult
    static func write(_ content: GGUFContent, to path: FilePath) throws -> GGUFMetadataReader {
        let header = try header(content)
        var bytes = header.bytes
        for (tensor, offset) in zip(content.tensors, header.offsets) {
            bytes += [UInt8](repeating: 0, count: Int(header.byteCount + offset) - bytes.count)
            if case .made(let made) = tensor.content { bytes += made }
        }
        bytes += [UInt8](repeating: 0, count: Int(header.fileBytes) - bytes.count)
        try Files.write(bytes, to: path)
        return try GGUFMetadataReader(path)
    }

    /// The metadata of the GGUF file that a model becomes.
    static func metadata(
        _ directory: TemporaryDirectory, changes: [String: String] = [:], files: [String: String] = [:]
    ) throws -> GGUFMetadataReader {
        let content = try GGUFContent(model(directory, changes: changes, files: files))
        return try write(content, to: directory.at("out.gguf"))
    }

    /// The directory of the model in this repository.
    static let weights = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
        .appending("SampleWeights")
}
