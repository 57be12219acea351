import Checkpoints
import Container
import FileAccess
import Publishing
import SystemPackage
import TensorModel
import Weights

/// What an export writes: what each tensor becomes, and the files beside the shards.
struct ExportContent {
    /// A file whose bytes the export makes.
    private struct Made {
        let name: String
        let bytes: [UInt8]
        let mode: NewFileMode
    }

    private let source: ExportSource
    /// The translation into the Hugging Face layout; nil if names and rows stay.
    private let translation: GGUFToHuggingFace?
    private let copied: [(name: String, hash: ContentHash)]
    private var made: [Made]
    /// What was left out.
    let warnings: [IngotWarning]

    /// Plans an export.
    ///
    /// - Parameters:
    ///   - format: element type of all weights; nil keeps the type of each.
    ///   - keepsNames: whether a GGUF source is not translated.
    /// - Throws: what `GGUFToHuggingFace` throws; errors of reading.
    init(_ source: ExportSource, as format: FloatFormat?, keepsNames: Bool) throws {
        self.source = source
        let opened = source.checkpoint
        // Files that only say how codes are to be read are not true of decoded weights.
        let left = ExportContent.untrueFiles(of: opened)
        let listed = source.companions.filter { !left.contains($0.name) }
        let metadata = keepsNames ? nil : try GGUFDecoder.metadata(of: opened)
        translation = try metadata.flatMap { try GGUFToHuggingFace(opened, $0) }
        var made: [Made] = []
        var warnings: [IngotWarning] = []
        var replaced: Set<String> = []
        if let translation, let metadata {
            let permissions = try Directory.permissions(metadata.path)
            let mode: NewFileMode = permissions.map { .copied(from: $0) } ?? .usual
            func add(_ name: String, _ bytes: [UInt8]) { made.append(Made(name: name, bytes: bytes, mode: mode)) }
            replaced = [GGUFMetadataBytes.fileName, CompanionFiles.configuration]
            if listed.contains(where: { $0.name == CompanionFiles.configuration }) {
                warnings.append(
                    IngotWarning(
                        file: source.directory.appending(CompanionFiles.configuration).string,
                        "replaced by a configuration from the metadata of the GGUF source"))
            }
            add(
                CompanionFiles.configuration,
                try translation.configuration(format ?? ExportContent.commonType(opened)))
            do {
                let tokenizer = try HuggingFaceTokenizer(metadata).files(context: translation.decoder.context)
                // A tokenizer that stood beside the GGUF file is the model's own.
                if !listed.contains(where: { file in tokenizer.contains { $0.name == file.name } }) {
                    for (name, bytes) in tokenizer { add(name, bytes) }
                }
            } catch let unknown as HuggingFaceTokenizer.Unknown {
                warnings.append(
                    IngotWarning(
                        file: metadata.path.string,
                        "no tokenizer is written: \(unknown.reason), which tokenizer.json cannot state exactly"))
            }
        } else if let metadata {
            warnings.append(
                IngotWarning(
                    file: metadata.path.string,
                    "names and rows are those of the GGUF source: \(try GGUFDecoder.reasonUnknown(metadata))"))
        }
        for file in listed where file.name == CompanionFiles.configuration && !replaced.contains(file.name) {
            let path = source.directory.appending(file.name)
            let permissions = try Directory.permissions(path)
            made.append(
                Made(
                    name: file.name, bytes: try ExportContent.configuration(path, format, isDecoded: !opened.isSealed),
                    mode: permissions.map { .copied(from: $0) } ?? .usual))
        }
        self.made = made
        self.warnings = warnings
        copied = listed.filter { $0.name != CompanionFiles.configuration && !replaced.contains($0.name) }
    }

    /// Tells a runtime in `config.json` how to read codes. Makes the file if there is none.
    ///
    /// - Throws: `headerSyntax` or a similar code if the configuration is not a JSON object.
    mutating func setQuantization(_ members: [JSONValue.Member]) throws {
        let path = source.directory.appending(CompanionFiles.configuration)
        let place = made.firstIndex { $0.name == CompanionFiles.configuration }
        var configuration =
            try place.map { try ConfigurationFile(made[$0].bytes, of: path) } ?? ConfigurationFile(emptyAt: path)
        try configuration.setQuantization(members)
        let mode = place.map { made[$0].mode } ?? .usual
        if let place { made.remove(at: place) }
        made.append(Made(name: CompanionFiles.configuration, bytes: configuration.bytes, mode: mode))
    }

    /// Files that other quantizers write beside their codes, which are not true of decoded weights.
    private static func untrueFiles(of checkpoint: OpenedCheckpoint) -> Set<String> {
        let files: Set = ["quantize_config.json", "quant_config.json", "hf_quant_config.json"]
        if let sealed = checkpoint.sealed { return sealed.keepsCodes ? [] : files }
        return checkpoint.tensors.contains { $0.quantized != nil } ? files.union(["recipe.yaml"]) : []
    }

    /// What a tensor becomes.
    func target(of name: TensorName, _ shape: Shape) -> ExportTarget {
        translation?.target(of: name) ?? ExportTarget(name, shape)
    }

    /// The element type of most weights.
    private static func commonType(_ checkpoint: OpenedCheckpoint) -> FloatFormat {
        var counts: [FloatFormat: Int] = [:]
        for tensor in checkpoint.tensors {
            if let format = tensor.format { counts[format, default: 0] += tensor.shape.elementCount / 2 }
        }
        return FloatFormat.allCases.max { counts[$0, default: 0] < counts[$1, default: 0] } ?? .f32
    }

    /// Bytes of a `config.json` of the checkpoint: without Ingot's quantization, with the new element type. That of a quantized source stays
    /// if its codes do.
    ///
    /// - Parameter isDecoded: whether codes of another quantizer were decoded, or there are none.
    private static func configuration(
        _ path: FilePath, _ format: FloatFormat?, isDecoded: Bool
    ) throws -> [UInt8] {
        var configuration = try ConfigurationFile(reading: path)
        if isDecoded { try configuration.removeQuantization() } else { try configuration.removeOwnQuantization() }
        if let format { try configuration.setElementType(format) }
        return configuration.bytes
    }

    /// Files of the export as a JSON object, with hashes of files other than shards and index. Each shard carries it, so that `--force`
    /// recognizes an export.
    var fileList: String {
        var members = source.shards.map { JSONValue.Member($0.name, .null) }
        if let index = source.indexName { members.append(.init(index, .null)) }
        members += copied.map { .init($0.name, .string($0.hash.description)) }
        members += made.map { .init($0.name, .string(ContentHash(of: $0.bytes.span).description)) }
        members.sort { TensorName($0.key) < TensorName($1.key) }
        return JSONValue.object(members).text()
    }

    /// Writes the files other than shards and index.
    func writeFiles(into directory: FilePath) throws {
        for file in CompanionFiles(names: copied.map(\.name), in: source.directory).copied {
            _ = try CompanionFiles.copy(file, into: directory)
        }
        for file in made { try WholeFile.write(file.bytes, to: directory.appending(file.name), mode: file.mode) }
    }
}
