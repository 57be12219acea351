import Checkpoints
package import Container
import FileAccess
package import Quantization
package import TensorModel
package import Weights
package import Work

/// Sizes, errors and times of a finished conversion.
package struct ConversionReport: Sendable {
    /// A quantized tensor.
    package struct Tensor: Sendable {
        /// The name of the tensor.
        package let name: TensorName
        /// Scheme, codec, shape and certificate.
        package let descriptor: TensorDescriptor
        /// Bytes of its payload, padding included.
        package let byteCount: UInt64

        /// Bits per weight of the whole payload, side information included.
        package var bitsPerWeight: Double { Double(byteCount) * 8 / Double(descriptor.shape.elementCount) }
    }

    /// A tensor that was kept as it is.
    package struct KeptTensor: Sendable {
        /// The name, the element type, and the shape.
        package let name: TensorName, elementType: ElementType, shape: Shape
        /// Its bytes.
        package let byteCount: UInt64

        init(_ tensor: StoredTensor) {
            (name, elementType, shape, byteCount) = (tensor.name, tensor.elementType, tensor.shape, tensor.byteCount)
        }
    }

    /// The options that decided the bytes.
    package let options: EncodingOptions
    /// Bytes of the source's shards, headers included; of a PyTorch file, of the tensors that were read.
    package let sourceBytes: UInt64
    /// Bytes of the output's shards, headers and seals included.
    package private(set) var outputBytes: UInt64 = 0
    /// Bytes of the output besides its shards: companions, configuration, index and manifest.
    package var companionBytes: UInt64 = 0
    /// The quantized or losslessly encoded tensors.
    package private(set) var tensors: [Tensor] = []
    /// The kept tensors, which are unchanged.
    package private(set) var kept: [KeptTensor] = []
    /// Number of output shards.
    package private(set) var shardCount = 0
    /// Number of shards that an earlier run had finished.
    package internal(set) var resumedShards = 0
    /// Number of tensors that earlier runs had encoded in shards that they did not finish.
    package internal(set) var resumedTensors = 0
    /// Wall-clock seconds of the conversion.
    package var seconds: Double = 0
    /// Number of chunks that were encoded at the same time.
    package var jobs = 0
    /// Bytes of the source's shards that this run converted; shards and tensors of an earlier run do not count.
    package internal(set) var convertedBytes: UInt64 = 0
    /// Number of tensors that were encoded more than once because they missed their goal, and how many times they were encoded again.
    package internal(set) var repeatedTensors = 0, repeats = 0
    /// Time of the workers: encoding, and writing.
    package internal(set) var usage = PipelineUsage()
    /// Of that time, and of the time of the plan, what error feedback took; nil without calibration.
    package internal(set) var feedback: FeedbackTimes?
    /// Files of the source that were not copied, with the reasons.
    package let skipped: [(name: String, reason: String)]
    /// All warnings, those of earlier runs included.
    package internal(set) var warnings: [IngotWarning]
    /// The codes of other quantizers in the source; empty if it has none, and if shards of it were deleted or not all there at the start.
    package internal(set) var quantization: [SourceQuantization] = []
    /// What was calibrated; nil for a conversion without calibration.
    package internal(set) var calibration: CalibrationSummary?

    /// A report without shards; `add` adds them.
    init(
        _ options: EncodingOptions, sourceBytes: UInt64, skipped: [(name: String, reason: String)],
        warnings: [IngotWarning]
    ) {
        self.options = options
        self.sourceBytes = sourceBytes
        self.skipped = skipped
        self.warnings = warnings
    }

    /// Adds an output shard.
    mutating func add(_ shard: FinishedShard) {
        shardCount += 1
        if !shard.isResumed { convertedBytes += shard.sourceBytes }
        outputBytes += shard.byteCount
        tensors += shard.payloads
        kept += shard.kept
        warnings += shard.warnings
    }

    /// Number of the kept tensors.
    package var keptCount: Int { kept.count }

    /// Bytes of the kept tensors.
    package var keptBytes: UInt64 { kept.reduce(0) { $0 + $1.byteCount } }

    /// The rule that decided about an encoded tensor (`TensorChoice.rule`).
    package func rule(_ tensor: Tensor) -> String {
        tensor.descriptor.holdsCodes ? CodeTensors.rule : choice(tensor).rule
    }

    /// What the options choose for an encoded tensor.
    func choice(_ tensor: Tensor) -> TensorChoice {
        DefaultRecipe.choice(tensor.name, tensor.descriptor.elementType, tensor.descriptor.shape, options)
    }

    /// The rule that decided about a kept tensor.
    package func rule(_ tensor: KeptTensor) -> String {
        DefaultRecipe.choice(tensor.name, tensor.elementType, tensor.shape, options).ruleOfKept
    }

    /// 1 - outputBytes / sourceBytes; 0 for an empty source.
    package var reduction: Double { sourceBytes == 0 ? 0 : 1 - Double(outputBytes) / Double(sourceBytes) }

    /// The payloads of weights.
    package var weightTensors: [Tensor] { tensors.filter { !$0.descriptor.holdsCodes } }
    /// The payloads of codes and scales of a quantized source.
    private var codeTensors: [Tensor] { tensors.filter(\.descriptor.holdsCodes) }

    /// Number of all weights that the codes and other tensors of a quantized source stand for, if its codes are kept; otherwise nil.
    package var decodedWeights: Int? { codeTensors.isEmpty ? nil : SourceQuantization.weights(quantization) }

    /// Number of weights in all payloads; of a quantized source whose codes are kept, all weights that they stand for.
    package var weights: Int { decodedWeights ?? payloadWeights }

    private var payloadWeights: Int { weightTensors.reduce(0) { $0 + $1.descriptor.shape.elementCount } }

    /// Bits per weight over all payloads of weights; nil if there are none. Of a quantized source whose codes are kept, all shards count.
    package var bitsPerWeight: Double? {
        if let decodedWeights { return Double(outputBytes) * 8 / Double(max(1, decodedWeights)) }
        return weights == 0 ? nil : Double(weightTensors.reduce(0) { $0 + $1.byteCount }) * 8 / Double(weights)
    }

    /// The payloads of codes and scales of a quantized source.
    package struct Codes: Sendable, Hashable {
        /// Number of tensors; their bytes in the source; bytes of their payloads.
        package let tensors: Int, sourceBytes: UInt64, byteCount: UInt64

        /// 1 - byteCount / sourceBytes.
        package var reduction: Double { 1 - Double(byteCount) / Double(sourceBytes) }
    }

    /// What the codes and scales of a quantized source became; nil if none has a payload.
    package var codes: Codes? {
        let found = codeTensors
        return found.isEmpty
            ? nil
            : Codes(
                tensors: found.count, sourceBytes: found.reduce(0) { $0 + $1.descriptor.sourceBytes },
                byteCount: found.reduce(0) { $0 + $1.byteCount })
    }

    /// The tensor with the largest error; nil if there are no payloads. Of a conversion with calibrated tensors it is the one of them with the
    /// largest relative error over activations, otherwise the tensor with the largest relative MSE.
    package var worst: Tensor? {
        let calibrated = tensors.filter { $0.descriptor.calibrated != nil }
        func error(_ tensor: Tensor) -> Double {
            tensor.descriptor.calibrated?.sums.relativeError ?? tensor.descriptor.sums.relativeMSE
        }
        return (calibrated.isEmpty ? tensors : calibrated).max { error($0) < error($1) }
    }

    /// Bytes of all payloads and kept tensors.
    package var dataBytes: UInt64 { tensors.reduce(keptBytes) { $0 + $1.byteCount } }

    private static func json(_ codes: Codes) -> JSONValue {
        .object([
            .init("tensors", .unsigned(UInt64(codes.tensors))), .init("source_bytes", .unsigned(codes.sourceBytes)),
            .init("bytes", .unsigned(codes.byteCount)), .init("reduction", .number(codes.reduction)),
        ])
    }

    private static func json(_ times: FeedbackTimes) -> JSONValue {
        .object([
            .init("factors", .number(times.factors.seconds)), .init("search", .number(times.search.seconds)),
            .init("products", .number(times.products.seconds)), .init("sums", .number(times.sums.seconds)),
        ])
    }

    /// The report as JSON, schema `ingot.convert` version 1 (Specs/json.md).
    package var json: JSONValue {
        .object([
            .init("schema", .string("ingot.convert")), .init("schema_version", .unsigned(1)),
            .init("source_quantization", .array(quantization.map(\.json))),
            .init("source_bytes", .unsigned(sourceBytes)), .init("output_bytes", .unsigned(outputBytes)),
            .init("companion_bytes", .unsigned(companionBytes)), .init("reduction", .number(reduction)),
            .init("shards", .unsigned(UInt64(shardCount))),
            .init("resumed_shards", .unsigned(UInt64(resumedShards))),
            .init("resumed_tensors", .unsigned(UInt64(resumedTensors))), .init("weights", .unsigned(UInt64(weights))),
            .init("bits_per_weight", bitsPerWeight.map(JSONValue.number) ?? .null),
            .init("codes", codes.map(ConversionReport.json) ?? .null),
            .init("kept_tensors", .unsigned(UInt64(keptCount))), .init("kept_bytes", .unsigned(keptBytes)),
            .init("seconds", .number(seconds)), .init("jobs", .unsigned(UInt64(jobs))),
            .init("peak_resident_bytes", .unsigned(ProcessUsage.peakResidentBytes)),
            .init("repeated_tensors", .unsigned(UInt64(repeatedTensors))), .init("repeats", .unsigned(UInt64(repeats))),
            .init("processor_seconds", .number(ProcessUsage.processorSeconds)),
            .init(
                "worker_seconds",
                .object([
                    .init("quantizing", .number(usage.working.seconds)),
                    .init("writing", .number(usage.consuming.seconds)),
                    .init(
                        "waiting",
                        .number(max(0, seconds * Double(jobs) - usage.working.seconds - usage.consuming.seconds))),
                ])),
            .init("feedback_seconds", feedback.map(ConversionReport.json) ?? .null),
            .init(
                "tensors",
                .array(
                    tensors.map { tensor in
                        .object(
                            [
                                .init("name", .string(tensor.name.text)),
                                .init("scheme", .string(tensor.descriptor.scheme.summary)),
                                .init("rule", .string(rule(tensor))),
                                .init("bytes", .unsigned(tensor.byteCount)),
                                .init("bits_per_weight", .number(tensor.bitsPerWeight)),
                            ] + tensor.descriptor.sums.json + (tensor.descriptor.calibrated?.sums.json ?? []))
                    })),
            .init("calibration", calibration?.json ?? .null),
            .init(
                "kept",
                .array(
                    kept.map { DefaultRecipe.json(kept: $0.name, bytes: $0.byteCount, rule: rule($0)) })),
            .init(
                "skipped",
                .array(skipped.map { .object([.init("name", .string($0.name)), .init("reason", .string($0.reason))]) })),
            .init("warnings", .array(warnings.map { .string(IngotErrorRenderer.text($0)) })),
        ])
    }
}
