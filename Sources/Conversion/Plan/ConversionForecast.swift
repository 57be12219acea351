import Checkpoints
package import Container
import FileAccess
import Publishing
import Quantization
package import TensorModel
package import Weights

/// The sizes and errors that a conversion would have, without carrying it out.
package struct ConversionForecast: Sendable {
    /// A tensor that would be encoded.
    package struct Tensor: Sendable {
        /// The name of the tensor.
        package let name: TensorName
        /// Element type and shape of the original.
        package let elementType: ElementType, shape: Shape
        /// The scheme it would be stored in.
        package let scheme: TensorScheme
        /// The rule that decided (`TensorChoice.rule`).
        package let rule: String
        /// Bytes of its payload.
        package let byteCount: UInt64
        /// Expected relative MSE; nil if no weights were read, or if the scheme is `lossless`.
        package let relativeMSE: Double?
        /// Whether it would be calibrated.
        package let isCalibrated: Bool

        /// Bits per weight of the whole payload, side information included.
        package var bitsPerWeight: Double { Double(byteCount) * 8 / Double(shape.elementCount) }
    }

    /// Bytes of the source's shards.
    package let sourceBytes: UInt64
    /// The codes of other quantizers in the source; empty if it has none.
    package let quantization: [SourceQuantization]
    /// Bytes of the output's shards, headers and seals included.
    package private(set) var outputBytes: UInt64 = 0
    /// Bytes of the files that would be copied, and of the metadata of a GGUF source; index and manifest are not counted.
    package let companionBytes: UInt64
    /// The tensors that would be encoded.
    package private(set) var tensors: [Tensor] = []
    /// A tensor that would be kept.
    package struct KeptTensor: Sendable {
        /// The name.
        package let name: TensorName
        /// Its bytes.
        package let byteCount: UInt64
        /// The rule that decided.
        package let rule: String
    }

    /// The tensors that would be kept, unchanged.
    package private(set) var kept: [KeptTensor] = []
    /// Whether a sample of the weights was read.
    package let isSampled: Bool
    /// Whether all weights were searched for NaN and infinity.
    package let isScanned: Bool
    /// Whether a conversion with these options fails at NaN and infinity.
    package let failsOnNonFinite: Bool
    /// Upper bound of the buffers in bytes; the program itself is not counted.
    package let memoryBytes: UInt64
    /// The smallest memory limit that is enough, in bytes.
    package let leastMemoryBytes: UInt64
    /// Whether the conversion would be calibrated.
    package let isCalibrated: Bool

    /// Forecasts a conversion.
    ///
    /// With a goal in bits per weight and an entropy coder, headers are enough: the size then is exact within 0.5 %. Otherwise a sample of
    /// the weights is encoded. Of a calibrated conversion, headers tell the size of all linear layers together, and not of each.
    ///
    /// - Parameter sampling: whether a sample is encoded in any case, so that errors are known, and all weights are searched for NaN and
    ///   infinity.
    /// - Throws: `nonFinite` if the conversion would refuse them; `usage` if the codec cannot give the rate, or the memory budget is too small; what planning the rates throws.
    package init(_ plan: ConversionPlan, sampling: Bool) async throws {
        try plan.options.encoding.requireReachable()
        sourceBytes = plan.openShards.reduce(0) { $0 + $1.source.sizeBefore }
        // Codes that are kept are described as what they stand for.
        let decoded =
            plan.options.encoding.keepsCodes
            ? try? Checkpoint.open(plan.source.path, key: plan.source.key, undecodable: .listed) : nil
        quantization = SourceQuantization.kinds(of: decoded?.shards ?? plan.openShards.map(\.source))
        companionBytes = try CompanionFiles(of: plan.source).copied.reduce(plan.metadata?.byteCount ?? 0) {
            $0 + (FileIdentity($1.path)?.byteCount ?? 0)
        }
        let bands = plan.moments?.bands
        isCalibrated = bands != nil
        leastMemoryBytes = bands.map(MemoryBudget.leastBytes) ?? MemoryBudget.minimumBytes
        let budget = try MemoryBudget(bytes: plan.options.run.memory, jobs: plan.options.run.jobs, bands: bands)
        isScanned = sampling || plan.options.encoding.nonFinite == .keep
        failsOnNonFinite = plan.options.encoding.nonFinite == .fail
        isSampled = sampling || !plan.options.encoding.sizeFollowsFromShapes
        var planned = plan
        if isSampled { try await planned.addRates(budget) }
        if sampling, plan.options.encoding.nonFinite == .fail { try planned.requireFinite() }
        let workspace = ProbeWorkspace()
        for shard in planned.openShards {
            let layout = isSampled ? shard.layout : try planned.calibrated(shard.layout)
            var bytes =
                layout.dataStart + UInt64(Seal.byteCount(records: layout.payloads.count + layout.kept.count + 1))
            for (index, payload) in layout.payloads.enumerated() {
                guard let descriptor = payload.descriptor else { continue }
                let tensor =
                    if isSampled {
                        try shard.encodings[index].form.map { ConversionForecast.known(payload, $0, plan.options) }
                            ?? ConversionForecast.sampled(
                                payload, descriptor, shard, shard.encodings[index].rate, plan.options, workspace)
                    } else {
                        ConversionForecast.computed(payload, descriptor, plan.options)
                    }
                bytes += tensor.byteCount
                tensors.append(tensor)
            }
            bytes += layout.kept.reduce(0) { $0 + $1.tensor.byteCount }
            kept += layout.kept.map {
                KeptTensor(
                    name: $0.tensor.name, byteCount: $0.tensor.byteCount,
                    rule: ConversionForecast.choice($0, plan.options).ruleOfKept)
            }
            outputBytes += bytes
        }
        memoryBytes = budget.maximumBytes
    }

    private static func rule(_ plan: TensorPlan, _ options: ConversionOptions) -> String {
        plan.descriptor?.holdsCodes == true ? CodeTensors.rule : choice(plan, options).rule
    }

    private static func choice(_ plan: TensorPlan, _ options: ConversionOptions) -> TensorChoice {
        DefaultRecipe.choice(plan.tensor.name, plan.tensor.elementType, plan.tensor.shape, options.encoding)
    }

    /// The size by shape and options.
    private static func computed(
        _ plan: TensorPlan, _ descriptor: TensorDescriptor, _ options: ConversionOptions
    ) -> Tensor {
        let prologue = descriptor.prologue
        let weights = plan.tensor.shape.elementCount
        var bytes = 0.0
        if case .bits(let bits) = options.encoding.goal {
            let own = choice(plan, options).bits(bits)
            bytes = TensorGoal.bits(own, weights: weights, fixedBytes: prologue.fixedBytes).aim
        }
        return Tensor(
            name: plan.tensor.name, elementType: plan.tensor.elementType, shape: plan.tensor.shape,
            scheme: descriptor.scheme, rule: rule(plan, options), byteCount: UInt64(bytes.rounded()),
            relativeMSE: nil, isCalibrated: descriptor.calibrated != nil)
    }

    /// The size and the error of a tensor that was encoded completely.
    private static func known(_ plan: TensorPlan, _ form: StoredForm, _ options: ConversionOptions) -> Tensor {
        Tensor(
            name: plan.tensor.name, elementType: plan.tensor.elementType, shape: plan.tensor.shape,
            scheme: form.scheme, rule: choice(plan, options).rule, byteCount: UInt64(form.byteCount),
            relativeMSE: form.scheme == .lossless ? nil : form.relativeMSE, isCalibrated: false)
    }

    /// Chunks that are encoded of a tensor in a scheme other than `trellis`.
    private static let sampledChunks = 4

    /// The size and the error by the rate; in schemes other than `trellis`, by a few encoded chunks.
    private static func sampled(
        _ plan: TensorPlan, _ descriptor: TensorDescriptor, _ shard: ConversionPlan.ShardPlan, _ rate: TensorRate?,
        _ options: ConversionOptions, _ workspace: ProbeWorkspace
    ) throws -> Tensor {
        let prologue = descriptor.prologue
        let weights = plan.tensor.shape.elementCount
        let bytes: Double
        var error: Double?
        if let rate {
            bytes =
                rate.goal.maximumBytes != nil
                ? rate.goal.aim : rate.expectedBytes(weights: weights, fixedBytes: prologue.fixedBytes)
            error = rate.relativeMSE
        } else {
            let grid = prologue.grid
            let chunks = Set((0..<sampledChunks).map { (2 * $0 + 1) * grid.count / (2 * sampledChunks) })
            var sizes = (bytes: 0, weights: 0)
            var sums = ErrorSums.zero
            for chunk in chunks {
                let encoded = try workspace.encode(chunk, of: shard.source.bytes(of: plan.tensor), as: prologue)
                sizes.bytes += encoded.byteCount
                sizes.weights += grid.place(of: chunk).count
                sums = sums + encoded.entry.sums
            }
            bytes = Double(sizes.bytes) / Double(sizes.weights) * Double(weights) + Double(prologue.fixedBytes)
            if descriptor.scheme != .lossless { error = sums.relativeMSE }
        }
        return Tensor(
            name: plan.tensor.name, elementType: plan.tensor.elementType, shape: plan.tensor.shape,
            scheme: descriptor.scheme, rule: rule(plan, options), byteCount: UInt64(bytes.rounded()),
            relativeMSE: error, isCalibrated: descriptor.calibrated != nil)
    }

    /// 1 - outputBytes / sourceBytes; 0 for an empty source.
    package var reduction: Double { sourceBytes == 0 ? 0 : 1 - Double(outputBytes) / Double(sourceBytes) }

    /// The tensors that hold weights, not codes of a quantized source.
    package var weightTensors: [Tensor] { tensors.filter { $0.elementType.quantizable != nil } }

    /// Number of all weights that the codes and other tensors of a quantized source stand for, if its codes are kept; otherwise nil.
    package var decodedWeights: Int? {
        tensors.contains { $0.elementType.quantizable == nil } ? SourceQuantization.weights(quantization) : nil
    }

    /// Number of weights that would be encoded; of a quantized source whose codes are kept, all weights that they stand for.
    package var weights: Int { decodedWeights ?? payloadWeights }

    private var payloadWeights: Int { weightTensors.reduce(0) { $0 + $1.shape.elementCount } }

    /// Bits per weight over all payloads of weights; nil if there are none. Of a quantized source whose codes are kept, all shards count.
    package var bitsPerWeight: Double? {
        if let decodedWeights { return Double(outputBytes) * 8 / Double(max(1, decodedWeights)) }
        return weights == 0 ? nil : Double(weightTensors.reduce(0) { $0 + $1.byteCount }) * 8 / Double(weights)
    }

    /// The forecast as JSON, schema `ingot.plan` version 1 (Specs/json.md).
    package var json: JSONValue {
        .object([
            .init("schema", .string("ingot.plan")), .init("schema_version", .unsigned(1)),
            .init("source_quantization", .array(quantization.map(\.json))),
            .init("source_bytes", .unsigned(sourceBytes)), .init("output_bytes", .unsigned(outputBytes)),
            .init("companion_bytes", .unsigned(companionBytes)), .init("reduction", .number(reduction)),
            .init("weights", .unsigned(UInt64(weights))),
            .init("bits_per_weight", bitsPerWeight.map(JSONValue.number) ?? .null),
            .init("kept_tensors", .unsigned(UInt64(kept.count))), .init("sampled", .bool(isSampled)),
            .init("scanned", .bool(isScanned)),
            .init("memory_bytes", .unsigned(memoryBytes)), .init("least_memory_bytes", .unsigned(leastMemoryBytes)),
            .init("calibrated", .bool(isCalibrated)),
            .init(
                "tensors",
                .array(
                    tensors.map { tensor in
                        .object([
                            .init("name", .string(tensor.name.text)), .init("scheme", .string(tensor.scheme.summary)),
                            .init("rule", .string(tensor.rule)),
                            .init("bytes", .unsigned(tensor.byteCount)),
                            .init("bits_per_weight", .number(tensor.bitsPerWeight)),
                            .init("relative_mse", tensor.relativeMSE.map(JSONValue.number) ?? .null),
                            .init("calibrated", .bool(tensor.isCalibrated)),
                        ])
                    })),
            .init(
                "kept",
                .array(
                    kept.map { DefaultRecipe.json(kept: $0.name, bytes: $0.byteCount, rule: $0.rule) })),
        ])
    }
}
