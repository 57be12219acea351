import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Quantization
import SystemPackage
import TensorModel
import TestSupport

/// Valid inputs of every target, made by Ingot's writers. The fuzzer starts from them.
public enum FuzzSeeds {
    /// Seeds of a target.
    public static func make(_ target: FuzzTarget) async throws -> [[UInt8]] {
        switch target {
        case .safetensorsHeader: try headers()
        case .json: documents.map { Array($0.utf8) }
        case .shardIndex: indexes.map { Array($0.utf8) }
        case .journal: try await journals()
        case .manifest: try await manifests()
        case .claims: claims.map { Array($0.utf8) }
        case .namePattern: patterns.map { Array($0.utf8) }
        case .sealedShard: try await shards().map(\.bytes)
        case .chunkUniform, .chunkTrellis, .chunkRans, .chunkLossless: try await chunks(target)
        case .streamZstd: try await streams(.zstd)
        case .streamLZ4: try await streams(.lz4)
        case .zipArchive: CheckpointSeeds.archives
        case .pickle: CheckpointSeeds.pickles
        case .pytorchCheckpoint: CheckpointSeeds.pytorch
        case .gguf: try CheckpointSeeds.gguf()
        case .numpy: CheckpointSeeds.numpy
        case .quantized: try QuantizedTarget.seeds()
        case .moments: try MomentsSeeds.moments()
        case .imatrix: try MomentsSeeds.imatrices()
        case .tokenizer: TokenizerTargets.jsonSeeds
        case .tokenizerGGUF: try TokenizerTargets.ggufSeeds()
        case .tokenIDs: try TokenizerTargets.idSeeds()
        case .hyperparameters: HyperparameterTarget.seeds
        }
    }

    private static func headers() throws -> [[UInt8]] {
        let directory = try TemporaryDirectory()
        let path = directory.at("seed.safetensors")
        var seeds = try SampleSource.small().map { tensors in
            try SampleSource.writeShard(tensors, to: path, metadata: [.init("format", "pt")])
            return try Files.read(path)
        }
        let text = #"{"a":{"dtype":"F16","shape":[1048576,4096],"data_offsets":[0,8589934592]}}"#
        let header = word(UInt64(text.utf8.count)) + Array(text.utf8)
        // The header of a file of 8 GB; the data is missing.
        seeds.append([1] + word(UInt64(header.count) + 8_589_934_592) + header)
        seeds.append(word(2) + Array("{}".utf8))
        seeds.append(word(4) + Array(" {} ".utf8))
        seeds.append(word(21) + Array(#"{"__metadata__":{}}  "#.utf8))
        return seeds
    }

    private static func word(_ value: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    private static let documents = [
        #"{"a":[1,-2.5e3,true,false,null,"\u00e9\n\ud83d\ude00"],"b":{"c":{}}}"#, "[[[[1]],[]]]",
        "18446744073709551615",
        "-0", "\"x\"", " { } ", "1e308", #"{"architectures":["LlamaForCausalLM"],"hidden_size":4096,"rope_theta":1e4}"#,
    ]
    private static let indexes = [
        #"{"metadata":{"total_size":16},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#,
        #"{"weight_map":{"a.weight":"model.safetensors"},"metadata":{"total_size":1.5e3},"x":[1]}"#,
    ]
    private static let claims = [
        #"{"schema":"ingot.claims","version":1,"claims":[{"claim":"max_total_bytes","limit":1000}]}"#,
        #"{"$schema":"x","schema":"ingot.claims","version":1,"claims":[{"claim":"max_relative_mse","tensors":["*.weight","a?[b-c]"],"limit":0.01,"level":"warning","note":"n"},{"claim":"min_snr_db","limit":20},{"claim":"no_nonfinite"},{"claim":"output_sha256","files":{"model.safetensors":"0000000000000000000000000000000000000000000000000000000000000000"}}]}"#,
    ]
    private static let patterns = [
        "model.layers.*.weight\nmodel.layers.0.q_proj.weight", "a?[b-d]*\naxcz", "[!a]*[]x]\nbx", "**a**b\naab", "*\n",
    ]

    private static func journals() async throws -> [[UInt8]] {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(SampleSource.small(), to: directory.at("source"))
        var seeds: [[UInt8]] = []
        for options in [Verbs.options(), Verbs.options(.trellis)] {
            let watch = CallWatch { _, call in
                call.name.hasPrefix("rename") && call.path.hasSuffix("/out") ? .ioError : nil
            }
            // A conversion that fails at its end leaves its journal.
            _ = try? await watch.run { try await Verbs.convert(source, to: directory.at("out"), options) }
            let journal = directory.at(".out.ingot-journal")
            if try Directory.kind(journal) != nil {
                let bytes = try Files.read(journal)
                seeds.append(bytes)
                seeds.append(Array(RecordFile.parse(bytes).lines.joined(separator: [UInt8(ascii: "\n")])))
            }
            try await Verbs.convert(source, to: directory.at("out"), options)
            try Directory.removeTree(directory.at("out"))
        }
        seeds += [
            #"{"event":"consuming","shard":1}"#,
            #"{"event":"sealed","shard":0,"bytes":9,"seal_xxh3_128":"00000000000000000000000000000000","warnings":[]}"#,
            #"{"event":"publishing","manifest_xxh3_128":"00000000000000000000000000000000"}"#,
        ].map { Array($0.utf8) }
        return seeds
    }

    private static func manifests() async throws -> [[UInt8]] {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(SampleSource.small(), to: directory.at("source"))
        try await Verbs.convert(source, to: directory.at("out"))
        let bytes = try Files.read(directory.at("out").appending(Manifest.fileName))
        // The target appends the line with the hash.
        let tail = ",\n  \"manifest_xxh3_128\": \"".utf8.count + 32 + "\"\n}\n".utf8.count
        return [bytes, bytes.dropLast(tail)]
    }

    /// Bytes of a shard, and the opened shard.
    private struct Shard {
        let bytes: [UInt8]
        let opened: SealedShard
    }

    private static func shards() async throws -> [Shard] {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(SampleSource.small(), to: directory.at("source"))
        var shards: [Shard] = []
        let schemes: [EncodingOptions.Scheme] = [.uniform, .trellis, .lossless]
        for scheme in schemes {
            for codec in Codec.allCases where codec != .rans || scheme == .trellis {
                let target = directory.at("out")
                var options = Verbs.options(scheme, codec: codec)
                // For these small matrices, rANS needs more than a goal in bits allows.
                if codec == .rans { options.encoding.goal = .relativeMSE(0.01) }
                try await Verbs.convert(source, to: target, options)
                for name in Files.names(target) where name.hasSuffix(".safetensors") {
                    let path = target.appending(name)
                    shards.append(Shard(bytes: try Files.read(path), opened: try SealedShard(path)))
                }
                try Directory.removeTree(target)
            }
        }
        return shards
    }

    private static func chunks(_ target: FuzzTarget) async throws -> [[UInt8]] {
        var seeds: [[UInt8]] = []
        for shard in try await shards() {
            for payload in shard.opened.payloads {
                guard let numbers = numbers(payload.descriptor.scheme, payload.descriptor.codec, target) else {
                    continue
                }
                let (prologue, shape) = (payload.prologue, payload.descriptor.shape)
                guard shape.rows <= 64, shape.columns <= 512, prologue.grid.count == 1 else { continue }
                let start = Int(payload.range.start)
                let codec = payload.descriptor.codec == .rans ? 0 : payload.descriptor.codec.rawValue
                let columns = shape.columns - 1
                let front = [
                    prologue.format.rawValue - 1, codec, UInt8(shape.rows - 1), UInt8(columns & 255),
                    UInt8(columns >> 8),
                ]
                // The prologue takes 64 bytes.
                let table = start + 64..<start + 64 + prologue.entryBytes
                seeds.append(
                    front + numbers + shard.bytes[table] + shard.bytes[table.upperBound..<Int(payload.range.end)])
            }
        }
        return seeds
    }

    private static func numbers(_ scheme: TensorScheme, _ codec: Codec, _ target: FuzzTarget) -> [UInt8]? {
        func place(_ value: Int, _ values: [Int]) -> UInt8 { UInt8(values.firstIndex(of: value) ?? 0) }
        switch (scheme, target) {
        case (.uniform(let parameters), .chunkUniform):
            return [
                place(parameters.bits, UniformParameters.supportedBits),
                place(parameters.groupSize, UniformParameters.supportedGroupSizes), parameters.symmetric ? 1 : 0, 0,
            ]
        case (.trellis(let parameters), .chunkTrellis) where codec != .rans,
            (.trellis(let parameters), .chunkRans) where codec == .rans:
            return [
                place(parameters.states, TrellisParameters.stateCounts),
                place(parameters.alphabet, TrellisParameters.alphabets),
                place(parameters.lowBits, TrellisParameters.lowBitCounts), UInt8(parameters.rowClasses - 1),
            ]
        case (.lossless, .chunkLossless): return [0, 0, 0, 0]
        default: return nil
        }
    }

    private static func streams(_ codec: Codec) async throws -> [[UInt8]] {
        let packer = StreamCodec()
        let inputs: [[UInt8]] = [
            [UInt8](repeating: 7, count: 300), (0..<2000).map { UInt8($0 % 5) },
            (0..<5000).map { UInt8(truncatingIfNeeded: ($0 * $0) >> 7 & 31) },
        ]
        return inputs.compactMap { input in
            var output = [UInt8](repeating: 0, count: input.count)
            guard let size = packer.compress(input.span, codec, below: input.count, into: &output, at: 0) else {
                return nil
            }
            return [UInt8(input.count & 255), UInt8(input.count >> 8)] + output[..<size]
        }
    }
}
