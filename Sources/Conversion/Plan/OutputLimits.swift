import Checkpoints
import Container
import FileAccess
import Publishing
import SystemPackage
import TensorModel

/// Checks that readers will accept the output, before the first shard is written and before each shard of the source is deleted.
///
/// Specs/journal.md, "Limits of readers", lists all limits.
struct OutputLimits {
    private let layout: CheckpointLayout
    private let options: ConversionOptions
    private let destination: FilePath
    private let outputNames: [String]

    /// Prepares the checks of a conversion. `outputNames` are the file names of the output shards, by position.
    init(_ layout: CheckpointLayout, _ options: ConversionOptions, to destination: FilePath, outputNames: [String]) {
        self.layout = layout
        self.options = options
        self.destination = destination
        self.outputNames = outputNames
    }

    /// Bytes of a path at most on Linux and macOS, the NUL at its end included.
    private static let pathBytes = 4096
    /// A size that is not known yet is counted with as many digits as this one.
    private static let widest: UInt64 = 9_999_999_999_999_999

    private func failure(_ path: FilePath, _ found: String, _ expected: String, _ remedy: Remedy) -> IngotError {
        IngotError(.cannotCreate, file: path.string, found: found, expected: expected, remedy: remedy)
    }

    // MARK: - Files beside the shards

    /// Requires that every reader accepts the files beside the shards, and the manifest.
    ///
    /// - Throws: `cannotCreate` for a name or a path that the output cannot have, or a file that is too large for its readers.
    func check(_ companions: CompanionFiles) throws {
        let index = CheckpointNames.index(of: outputNames)
        let others = [index ?? ShardName.index, Manifest.fileName, GGUFMetadataBytes.fileName]
        let own = Set((outputNames + others).map { TensorName($0) })
        let staging = DirectoryBuilder.stagingPath(destination)
        var files = outputNames.map {
            Manifest.File(
                name: $0, byteCount: OutputLimits.widest, hash: ContentHash(high: 0, low: 0), isShard: true)
        }
        func add(_ name: String, _ byteCount: UInt64) {
            files.append(
                Manifest.File(name: name, byteCount: byteCount, hash: ContentHash(high: 0, low: 0), isShard: false))
        }
        for file in companions.copied {
            let first = file.name.utf8.prefix { $0 != UInt8(ascii: "/") }
            guard !own.contains(TensorName(String(decoding: first, as: UTF8.self))) else {
                throw failure(
                    file.path, "a name that the output needs for a file of its own",
                    "names other than those of the output's shards, index, metadata and manifest",
                    "rename it, or move it out of the source")
            }
            // A file is written under a temporary name, which is twelve bytes longer.
            let place = staging.pushing(FilePath(file.name)).string.utf8.count + 12
            guard place < OutputLimits.pathBytes else {
                throw failure(
                    file.path, "a path of \(place) bytes in the output", "at most \(OutputLimits.pathBytes - 1)",
                    "choose an output with a shorter path, or move the file out of the source")
            }
            add(file.name, FileIdentity(file.path)?.byteCount ?? 0)
        }
        if let first = layout.shardNames.first, TensorName.hasSuffix(first, ".gguf") {
            add(GGUFMetadataBytes.fileName, OutputLimits.widest)
        }
        if let index { add(index, OutputLimits.widest) }
        let manifest = Manifest(
            files: files, options: options.encoding.record, sourceBytes: OutputLimits.widest,
            codecs: CodecLibraries.versions)
        try checkManifest(manifest.encoded().count, files: files.count)
        try checkConfiguration(companions)
    }

    /// Requires that every reader accepts a manifest of `byteCount` bytes.
    ///
    /// - Throws: `cannotCreate`.
    func checkManifest(_ byteCount: Int, files: Int) throws {
        let maximum = ContainerFormat.maximumManifestBytes
        guard UInt64(byteCount) <= maximum else {
            throw failure(
                layout.path, "\(files) files, whose list takes \(byteCount) bytes in the manifest",
                "at most \(maximum) bytes, which readers accept",
                "move files that are no part of the model out of the source, such as data sets and samples")
        }
    }

    private func checkConfiguration(_ companions: CompanionFiles) throws {
        guard let file = companions.copied.first(where: { $0.name == CompanionFiles.configuration }) else { return }
        var configuration: ConfigurationFile
        do {
            configuration = try ConfigurationFile(reading: file.path)
            try configuration.addQuantization(options.encoding.record, keepsSource: options.encoding.keepsCodes)
        } catch  where options.run.follows {
            // A followed source may have half of the file; it is read again at the end.
            return
        }
        guard UInt64(configuration.bytes.count) <= ConfigurationFile.maximumBytes else {
            throw failure(
                file.path, "\(configuration.bytes.count) bytes, with the description of the quantization",
                "at most \(ConfigurationFile.maximumBytes) bytes, which readers accept", "shorten the configuration")
        }
    }

    // MARK: - Tensors

    /// Requires that every reader accepts the index of the output, and that no tensor has a reserved name.
    ///
    /// - Throws: `cannotCreate`, `reservedName`.
    func check(_ tensors: [TensorName]) throws {
        if let reserved = tensors.first(where: ContainerFormat.isReserved) {
            throw IngotError(
                .reservedName, file: layout.path.string, tensor: reserved, found: "a name Ingot uses itself",
                expected: "names other than `__metadata__` that do not begin with `__ingot_`",
                remedy: "rename the tensor in the source")
        }
        guard outputNames.count > 1 else { return }
        let shard = outputNames.map(\.utf8.count).max() ?? 0
        // An index entry adds at most 16 bytes to both names: quotes, colon, spaces, comma and newline.
        let bytes = tensors.reduce(UInt64(256)) {
            $0 + UInt64(JSONValue.string($1.text).text().utf8.count + shard + 16)
        }
        let maximum = Limits.standard.documentBytes
        guard bytes <= maximum else {
            throw failure(
                layout.path, "an index of about \(bytes) bytes for \(tensors.count) tensors",
                "at most \(maximum) bytes, which readers accept", "split the model, or shorten its tensors' names")
        }
    }

    /// Requires that every reader accepts a shard, whichever alphabets its matrices get later.
    ///
    /// - Throws: `headerTooLarge`, `invalidShape`.
    static func check(_ shard: ConversionPlan.ShardPlan) throws {
        let (path, layout) = (shard.source.file.path.string, shard.layout)
        for plan in layout.payloads {
            guard let grid = plan.descriptor?.prologue.grid, grid.count > ContainerFormat.maximumChunks else {
                continue
            }
            throw IngotError(
                .invalidShape, file: path, tensor: plan.tensor.name, found: "a matrix of \(grid.count) chunks",
                expected: "at most \(ContainerFormat.maximumChunks), which readers accept",
                remedy: "split the matrix in the source")
        }
        // Alphabets, low bits and row classes are chosen later; their numbers may have a few digits more.
        let maximum = Limits.standard.headerBytes
        let bytes = layout.dataStart + UInt64(layout.payloads.count * 8)
        guard bytes <= maximum else {
            throw IngotError(
                .headerTooLarge, file: path,
                found: "a header of up to \(bytes) bytes for \(layout.payloads.count + layout.kept.count) tensors",
                expected: "at most \(maximum) bytes, which readers accept", remedy: "split the source into more shards")
        }
    }
}
