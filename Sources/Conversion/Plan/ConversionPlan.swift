public import Checkpoints
public import Container
import FileAccess
import Quantization
public import SystemPackage
public import TensorModel

/// What a conversion will do with every tensor and file, decided before the first byte is written.
public struct ConversionPlan: Sendable {
    /// One output shard.
    public struct ShardPlan: Sendable {
        /// The shard it comes from.
        public let source: Shard
        /// Name of the output file.
        public let outputName: String
        /// The tensors and their places.
        public internal(set) var layout: ShardLayout
        /// How the payloads of scheme `trellis` are encoded, by their index in the layout; empty until rates are planned.
        var rates: [Int: TensorRate] = [:]
    }

    /// The source.
    public let source: Checkpoint
    /// The options.
    public let options: ConversionOptions
    /// The shards, in the source's order.
    public private(set) var shards: [ShardPlan]
    /// The files copied and skipped beside the shards.
    public let companions: CompanionFiles
    /// What is odd but stops nothing.
    public private(set) var warnings: [IngotWarning]

    /// Opens a checkpoint that can be converted, or compared with a converted one.
    ///
    /// - Throws: `unsupportedSource` for one of our own; whatever `Checkpoint.open` throws.
    public static func openSource(_ path: FilePath) throws -> Checkpoint {
        guard try !SealedCheckpoint.isOne(path) else {
            throw IngotError(
                .unsupportedSource, file: path.string, found: "a checkpoint that ingot convert made",
                expected: "the original", remedy: "name the original, or turn this one back with ingot export first")
        }
        return try Checkpoint.open(path)
    }

    /// Plans a conversion: reads headers and, with `--on-nonfinite keep`, scans for NaN and infinity.
    public init(_ source: Checkpoint, _ options: ConversionOptions) throws {
        self.source = source
        self.options = options
        companions = try CompanionFiles(of: source)
        try companions.refuseQuantizedSource()
        var warnings = source.warnings
        var shards: [ShardPlan] = []
        for (index, shard) in source.shards.enumerated() {
            let plans = try shard.header.tensors.map { tensor in
                try ConversionPlan.plan(tensor, in: shard, options, &warnings)
            }
            do {
                shards.append(
                    ShardPlan(
                        source: shard, outputName: ConversionPlan.outputName(index, of: source.shards.count),
                        layout: try ShardLayout(plans)))
            } catch let error as IngotError {
                throw error.inFile(shard.file.path.string)
            }
        }
        self.shards = shards
        self.warnings = warnings
    }

    private static func plan(
        _ tensor: StoredTensor, in shard: Shard, _ options: ConversionOptions, _ warnings: inout [IngotWarning]
    ) throws -> TensorPlan {
        guard let format = tensor.elementType.quantizable,
            var scheme = DefaultRecipe.scheme(tensor.name, tensor.elementType, tensor.shape, options)
        else { return TensorPlan(tensor: tensor, descriptor: nil) }
        if options.nonFinite == .keep, scheme != .lossless,
            let found = try NonFiniteScan.scan(tensor, format, in: shard.file)
        {
            scheme = .lossless
            warnings.append(
                IngotWarning(file: shard.file.path.string, tensor: tensor.name, "\(found); stored lossless"))
        }
        return TensorPlan(
            tensor: tensor,
            descriptor: TensorDescriptor(
                scheme: scheme, codec: codec(options.codec, scheme), format: format, shape: tensor.shape))
    }

    /// rANS codes the symbols of a trellis; what is stored lossless beside them is left to zstd.
    private static func codec(_ asked: Codec, _ scheme: TensorScheme) -> Codec {
        if case .trellis = scheme { return asked }
        return asked == .rans ? .zstd : asked
    }

    /// Whether there is a tensor whose rate must be planned before it can be encoded.
    private var needsRates: Bool {
        shards.contains { shard in
            shard.rates.isEmpty
                && shard.layout.payloads.contains { if case .trellis = $0.descriptor?.scheme { true } else { false } }
        }
    }

    /// The plan with a rate for every tensor of scheme `trellis`: reads a sample of the weights, or all of them where a tensor is
    /// small or an error must be held.
    public func withRates() async throws -> ConversionPlan {
        try options.requireReachable()
        guard needsRates else { return self }
        let budget = try MemoryBudget(bytes: options.memory, jobs: options.jobs)
        var plan = self
        for (index, findings) in try await RatePlanner(self, budget).findings().enumerated() {
            var payloads = shards[index].layout.payloads
            for (payload, finding) in findings {
                switch finding {
                case .rate(let rate):
                    payloads[payload].descriptor?.scheme = .trellis(rate.parameters)
                    plan.shards[index].rates[payload] = rate
                case .tooSmall:
                    payloads[payload].descriptor?.scheme = .lossless
                    payloads[payload].descriptor?.codec = ConversionPlan.codec(options.codec, .lossless)
                    plan.warnings.append(
                        IngotWarning(
                            file: shards[index].source.file.path.string, tensor: payloads[payload].tensor.name,
                            "weights too small for a step in binary32; stored lossless"))
                case .notFinite: plan.shards[index].rates[payload] = TensorRate.zeros(.error(1), options)
                }
            }
            plan.shards[index].layout = try ShardLayout(payloads + shards[index].layout.ordinary)
        }
        return plan
    }

    /// Bytes of the output that are no payload of scheme `trellis`, hardly more than they will be: headers, seals, tensors kept, other
    /// files.
    func bytesBesideTrellis() throws -> UInt64 {
        // Numbers that are not known yet have as many digits as this one.
        let widest: UInt64 = 9_999_999_999
        var files: [Manifest.File] = []
        func add(_ name: String, _ byteCount: UInt64, isShard: Bool = false) {
            files.append(
                Manifest.File(name: name, byteCount: byteCount, hash: ContentHash(high: 0, low: 0), isShard: isShard))
        }
        for file in companions.copied {
            guard file.name == CompanionFiles.configuration else {
                add(file.name, FileIdentity(file.path)?.byteCount ?? 0)
                continue
            }
            var configuration = try ConfigurationFile(reading: file.path)
            try configuration.addQuantization(options.record)
            add(file.name, UInt64(configuration.bytes.count))
        }
        if shards.count > 1 {
            let names = shards.map { shard in
                (shard.outputName, (shard.layout.payloads + shard.layout.ordinary).map(\.tensor.name))
            }
            add(
                ShardIndexWriter.fileName, UInt64(ShardIndexWriter.text(totalBytes: widest, shards: names).count))
        }
        var bytes = files.reduce(UInt64(0)) { $0 + $1.byteCount }
        for shard in shards {
            let layout = shard.layout
            let payloads = layout.payloads.count
            // The alphabets may have a digit more each than those of the plan; two paddings of up to 63 bytes.
            bytes += layout.dataStart + UInt64(payloads + 126)
            bytes += Seal.byteCount(records: payloads + layout.ordinary.count + 1)
            bytes += layout.ordinary.reduce(0) { $0 + $1.tensor.range.count }
            for payload in layout.payloads {
                guard let descriptor = payload.descriptor else { continue }
                if case .trellis = descriptor.scheme { continue }
                bytes += payload.tensor.range.count + UInt64(descriptor.prologue.fixedBytes)
            }
            add(shard.outputName, widest, isShard: true)
        }
        let manifest = Manifest(
            files: files, options: options.record, sourceBytes: shards.reduce(0) { $0 + $1.source.file.byteCount },
            codecs: CodecLibraries.versions)
        return bytes + UInt64(manifest.encoded().count)
    }

    /// The name of shard `index` of `count`, as the Hugging Face hub names them.
    static func outputName(_ index: Int, of count: Int) -> String {
        func padded(_ number: Int) -> String {
            String(repeating: "0", count: max(0, 5 - "\(number)".count)) + "\(number)"
        }
        return count == 1 ? "model.safetensors" : "model-\(padded(index + 1))-of-\(padded(count)).safetensors"
    }
}

/// Finds NaN and infinity in a whole tensor.
enum NonFiniteScan {
    /// What was found, with the row and column of the first; nil where every value is finite.
    static func scan(_ tensor: StoredTensor, _ format: FloatFormat, in file: MappedFile) throws -> String? {
        let width = format.byteWidth
        var found = NonFiniteCount()
        try file.forEachPiece(of: tensor.range) { bytes, piece in
            found.add(bytes, format, firstElement: Int(piece.start - tensor.range.start) / width)
        }
        return found.description(columns: tensor.shape.columns)
    }
}
