import Container
import FileAccess
import Synchronization
import SystemPackage
import TensorModel
import TestSupport

/// A parser for the fuzzer, and the properties of every accepted input.
///
/// To add a target, add a case, its body, and its seeds (`FuzzSeeds`). `Tests/Fuzz/run.sh` and the replay of the corpus list the cases.
public enum FuzzTarget: String, Sendable, CaseIterable {
    case safetensorsHeader = "safetensors-header"
    case json
    case shardIndex = "shard-index"
    case journal
    case manifest
    case claims
    case namePattern = "name-pattern"
    case sealedShard = "sealed-shard"
    case chunkUniform = "chunk-uniform"
    case chunkTrellis = "chunk-trellis"
    case chunkRans = "chunk-rans"
    case chunkLossless = "chunk-lossless"
    case streamZstd = "stream-zstd"
    case streamLZ4 = "stream-lz4"
    case zipArchive = "zip-archive"
    case pickle
    case pytorchCheckpoint = "pytorch-checkpoint"
    case gguf
    case numpy
    case quantized
    case moments
    case imatrix
    case tokenizer
    case tokenizerGGUF = "tokenizer-gguf"
    case tokenIDs = "token-ids"
    case hyperparameters

    /// Parses the bytes. Bad bytes must throw an `IngotError`; anything else ends the process.
    public func run(_ bytes: [UInt8]) {
        do {
            try parse(bytes)
        } catch let error as IngotError {
            require(!IngotErrorRenderer.text(error).isEmpty, "an error without words")
        } catch {
            require(false, "the error \(error), which is none of ours")
        }
    }

    /// Whether the parser accepts the bytes.
    public func accepts(_ bytes: [UInt8]) -> Bool { (try? parse(bytes)) != nil }

    private func parse(_ bytes: [UInt8]) throws {
        switch self {
        case .safetensorsHeader: try TextTargets.header(bytes)
        case .json: try TextTargets.json(bytes)
        case .shardIndex: try TextTargets.shardIndex(bytes)
        case .journal: TextTargets.journal(bytes)
        case .manifest: try TextTargets.manifest(bytes)
        case .claims: try TextTargets.claims(bytes)
        case .namePattern: TextTargets.namePattern(bytes)
        case .sealedShard: try ContainerTargets.sealedShard(bytes)
        case .chunkUniform, .chunkTrellis, .chunkRans, .chunkLossless: try ContainerTargets.chunk(bytes, self)
        case .streamZstd: ContainerTargets.stream(bytes, .zstd)
        case .streamLZ4: ContainerTargets.stream(bytes, .lz4)
        case .zipArchive: try CheckpointTargets.zipArchive(bytes)
        case .pickle: try CheckpointTargets.pickle(bytes)
        case .pytorchCheckpoint: try CheckpointTargets.pytorch(bytes)
        case .gguf: try CheckpointTargets.gguf(bytes)
        case .numpy: try CheckpointTargets.numpy(bytes)
        case .quantized: try QuantizedTarget.run(bytes)
        case .moments: try MomentsTargets.moments(bytes)
        case .imatrix: try MomentsTargets.imatrix(bytes)
        case .tokenizer: try TokenizerTargets.json(bytes)
        case .tokenizerGGUF: try TokenizerTargets.gguf(bytes)
        case .tokenIDs: try TokenizerTargets.ids(bytes)
        case .hyperparameters: try HyperparameterTarget.configuration(bytes)
        }
    }
}

/// Ends the process if a property does not hold; the fuzzer looks for such ends.
func require(_ holds: Bool, _ message: @autoclosure () -> String) {
    if !holds { fatalError(message()) }
}

/// Writes inputs to files, for parsers that read files.
enum FuzzFiles {
    private static let directory: TemporaryDirectory = {
        guard let directory = try? TemporaryDirectory() else { fatalError("no directory for temporary files") }
        return directory
    }()
    private static let number = Atomic(0)

    /// Calls `body` with a new file for each call, because tests run targets at the same time.
    static func with(_ bytes: [UInt8], _ name: String = "x.safetensors", _ body: (FilePath) throws -> Void) throws {
        let place = directory.at("\(number.wrappingAdd(1, ordering: .relaxed).newValue)-\(name)")
        defer { try? Directory.removeFile(place) }
        try Files.write(bytes, to: place)
        try body(place)
    }

    /// Calls `body` with the path of a new directory, and removes it with its files.
    static func withDirectory(_ body: (FilePath) throws -> Void) throws {
        let place = directory.at("\(number.wrappingAdd(1, ordering: .relaxed).newValue)")
        try Directory.create(place)
        defer { try? Directory.removeTree(place) }
        try body(place)
    }
}

/// Reads bytes from the front of an input, and zeros after its end.
struct InputBytes {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func byte() -> Int {
        defer { position += 1 }
        return position < bytes.count ? Int(bytes[position]) : 0
    }

    mutating func pick<Value>(_ values: [Value]) -> Value { values[byte() % values.count] }

    mutating func take(_ count: Int) -> [UInt8] {
        let rest = bytes.dropFirst(position).prefix(count)
        position += count
        return rest + [UInt8](repeating: 0, count: count - rest.count)
    }

    var rest: [UInt8] { Array(bytes.dropFirst(position)) }
}
