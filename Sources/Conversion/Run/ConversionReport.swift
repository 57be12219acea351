import Checkpoints
package import Container
import FileAccess
import Quantization
package import TensorModel
package import Work

/// What a conversion saved and what it lost.
package struct ConversionReport: Sendable {
    /// A quantized tensor.
    package struct Tensor: Sendable {
        /// Its name.
        package let name: TensorName
        /// Its description, with the certificate.
        package let descriptor: TensorDescriptor
        /// Bytes of its payload.
        package let byteCount: UInt64

        /// Bits per weight, all side information in the payload counted.
        package var bitsPerWeight: Double { Double(byteCount) * 8 / Double(descriptor.shape.elementCount) }
    }

    /// Bytes of the source's shards, headers included.
    package let sourceBytes: UInt64
    /// Bytes of our shards, headers and seals included.
    package private(set) var outputBytes: UInt64 = 0
    /// Bytes of the other files of the output.
    package var companionBytes: UInt64 = 0
    /// The tensors with a payload.
    package private(set) var tensors: [Tensor] = []
    /// How many tensors were kept as they are, and their bytes.
    package private(set) var keptCount = 0, keptBytes: UInt64 = 0
    /// Number of shards.
    package private(set) var shardCount = 0
    /// How many of them an earlier run had finished.
    package internal(set) var resumedShards = 0
    /// Wall-clock seconds of the conversion.
    package var seconds: Double = 0
    /// Chunks that were worked on at the same time.
    package var jobs = 0
    /// How often a matrix was encoded again because it missed its rate.
    package internal(set) var repeats = 0
    /// What the workers spent their time on.
    package internal(set) var usage = PipelineUsage()
    /// Files of the source that were left behind, with the reasons.
    package let skipped: [(name: String, reason: String)]
    /// What is odd but stopped nothing.
    package internal(set) var warnings: [IngotWarning]

    init(sourceBytes: UInt64, skipped: [(name: String, reason: String)], warnings: [IngotWarning]) {
        self.sourceBytes = sourceBytes
        self.skipped = skipped
        self.warnings = warnings
    }

    mutating func add(_ shard: FinishedShard) {
        shardCount += 1
        outputBytes += shard.byteCount
        tensors += shard.payloads
        keptCount += shard.kept.count
        keptBytes += shard.kept.reduce(0) { $0 + $1.byteCount }
        warnings += shard.warnings
    }

    /// What the shards lost in size, as a share of the source.
    package var reduction: Double { sourceBytes == 0 ? 0 : 1 - Double(outputBytes) / Double(sourceBytes) }

    /// Number of weights in payloads.
    package var weights: Int { tensors.reduce(0) { $0 + $1.descriptor.shape.elementCount } }

    /// Bits per weight over all payloads; nil where there are none.
    package var bitsPerWeight: Double? {
        weights == 0 ? nil : Double(tensors.reduce(0) { $0 + $1.byteCount }) * 8 / Double(weights)
    }

    /// The tensor with the largest relative MSE; nil where there are none.
    package var worst: Tensor? {
        tensors.max { $0.descriptor.sums.relativeMSE < $1.descriptor.sums.relativeMSE }
    }

    /// Bytes of all tensors' data: payloads, and tensors kept.
    package var dataBytes: UInt64 { tensors.reduce(keptBytes) { $0 + $1.byteCount } }

    /// The report as JSON, schema `ingot.convert` version 1 (Specs/json.md).
    package var json: JSONValue {
        .object([
            .init("schema", .string("ingot.convert")), .init("schema_version", .unsigned(1)),
            .init("source_bytes", .unsigned(sourceBytes)), .init("output_bytes", .unsigned(outputBytes)),
            .init("companion_bytes", .unsigned(companionBytes)), .init("reduction", .number(reduction)),
            .init("shards", .unsigned(UInt64(shardCount))),
            .init("resumed_shards", .unsigned(UInt64(resumedShards))), .init("weights", .unsigned(UInt64(weights))),
            .init("bits_per_weight", bitsPerWeight.map(JSONValue.number) ?? .null),
            .init("kept_tensors", .unsigned(UInt64(keptCount))), .init("kept_bytes", .unsigned(keptBytes)),
            .init("seconds", .number(seconds)), .init("jobs", .unsigned(UInt64(jobs))),
            .init("peak_resident_bytes", .unsigned(ProcessUsage.peakResidentBytes)),
            .init("repeated_tensors", .unsigned(UInt64(repeats))),
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
            .init(
                "tensors",
                .array(
                    tensors.map { tensor in
                        .object(
                            [
                                .init("name", .string(tensor.name.text)),
                                .init("scheme", .string(tensor.descriptor.scheme.summary)),
                                .init("bytes", .unsigned(tensor.byteCount)),
                                .init("bits_per_weight", .number(tensor.bitsPerWeight)),
                            ] + tensor.descriptor.sums.json)
                    })),
            .init(
                "skipped",
                .array(skipped.map { .object([.init("name", .string($0.name)), .init("reason", .string($0.reason))]) })),
            .init("warnings", .array(warnings.map { .string(IngotErrorRenderer.text($0)) })),
        ])
    }
}
