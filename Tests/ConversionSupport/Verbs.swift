import Checkpoints
package import Container
package import Conversion
import Export
import FileAccess
package import Inspection
package import Quantization
package import SystemPackage
package import TensorModel
package import TestSupport
import Weights
import Work

/// Verbs of the command as functions, for tests without a process.
package enum Verbs {
    /// Smallest memory budget in bytes.
    package static let minimumMemory = MemoryBudget.minimumBytes

    /// Options with 64 MiB of memory.
    package static func options(
        _ scheme: EncodingOptions.Scheme = .uniform, bits: Int = 4, group: Int = 32, symmetric: Bool = false,
        scales: UniformScales = .searched, codec: Codec = .zstd, jobs: Int = 1
    ) -> ConversionOptions {
        var options = ConversionOptions()
        options.encoding.scheme = scheme
        options.encoding.parameters =
            UniformParameters(bits: bits, groupSize: group, symmetric: symmetric, scales: scales) ?? .standard
        options.encoding.codec = codec
        options.run.jobs = jobs
        options.run.memory = 64 << 20
        return options
    }

    /// Converts a source into a directory.
    @discardableResult
    package static func convert(
        _ source: FilePath, to target: FilePath, _ options: ConversionOptions = options()
    ) async throws -> ConversionReport {
        try await whenUnlocked { try await Converter(source, to: target, options).run() }
    }

    /// Tries again for a second while the target is locked, unless a hook makes calls fail. Another test may be starting a process: until
    /// its program runs, that process holds the lock of a run that has ended.
    package static func whenUnlocked<Value>(_ body: () async throws -> Value) async throws -> Value {
        for _ in 0..<6000 {
            do {
                return try await body()
            } catch let error as IngotError where error.code == .locked && SystemCallHook.current == nil {
                try await Task.sleep(for: .milliseconds(10))
            }
        }
        return try await body()
    }

    /// Verifies a directory, with a source or without.
    @discardableResult
    package static func verify(_ path: FilePath, against source: FilePath? = nil) async throws -> VerificationReport {
        let checkpoint = try SealedCheckpoint(path)
        let original = try source.map {
            try Checkpoint.open($0, quantized: checkpoint.keepsCodes ? .asStored : .decoded)
        }
        return try await Verifier(checkpoint, against: original, memory: minimumMemory, jobs: 1).run()
    }

    /// Exports a directory.
    package static func export(
        _ path: FilePath, to target: FilePath, as format: FloatFormat? = nil, force: Bool = false,
        keepsNames: Bool = false
    ) async throws {
        let exporter = try SafetensorsExporter(
            OpenedCheckpoint(path), as: format, memory: minimumMemory, jobs: 1, force: force, keepsNames: keepsNames)
        _ = try await exporter.run(to: target)
    }

    /// The `IngotError` that `body` threw; nil if it threw nothing. Rethrows other errors.
    package static func failure(_ body: () async throws -> Void) async throws -> IngotError? {
        do {
            try await body()
            return nil
        } catch let error as IngotError {
            return error
        }
    }

    /// Tensors of a plain safetensors checkpoint, by name.
    package static func tensors(_ path: FilePath) throws -> [TensorName: SampleTensor] {
        var tensors: [TensorName: SampleTensor] = [:]
        for shard in try Checkpoint.open(path, quantized: .asStored).shards {
            for tensor in shard.header.tensors {
                tensors[tensor.name] = SampleTensor(
                    tensor.name.text, tensor.elementType, tensor.shape.dimensions,
                    bytes: try shard.bytes(of: tensor).all())
            }
        }
        return tensors
    }
}
