import Checkpoints
import Container
import FileAccess
import Quantization
import Synchronization
import TensorModel

/// Decides, for every tensor of scheme `trellis`, what it is to hold and how it will be encoded.
struct RatePlanner {
    let options: ConversionOptions
    private let tensors: [Item]
    private let shardCount: Int
    private let pipeline: OrderedPipeline<ChunkWorkspace>
    private let otherBytes: UInt64

    /// A tensor and the place of its payload.
    private struct Item: Sendable {
        let shard: Int, payload: Int
        let tensor: StoredTensor
        let file: MappedFile
        let descriptor: TensorDescriptor
        let isEmbedding: Bool

        var weights: Int { tensor.shape.elementCount }
        var prologue: PayloadPrologue { descriptor.prologue }
        /// What this tensor's error is of the others'.
        var errorFactor: Double { isEmbedding ? RateGoal.embeddingErrorFactor : 1 }
    }

    /// Collects the tensors of some shards.
    ///
    /// - Parameter otherBytes: bytes of the output that are no payload of scheme `trellis`; only a goal of total bytes asks.
    init(
        _ shards: [ConversionPlan.ShardPlan], _ options: ConversionOptions, otherBytes: UInt64,
        _ pipeline: OrderedPipeline<ChunkWorkspace>
    ) {
        self.options = options
        self.pipeline = pipeline
        self.otherBytes = otherBytes
        shardCount = shards.count
        var tensors: [Item] = []
        for (shard, part) in shards.enumerated() {
            for (index, payload) in part.layout.payloads.enumerated() {
                guard let descriptor = payload.descriptor, case .trellis = descriptor.scheme else { continue }
                tensors.append(
                    Item(
                        shard: shard, payload: index, tensor: payload.tensor, file: part.source.file,
                        descriptor: descriptor, isEmbedding: DefaultRecipe.isEmbeddingOrHead(payload.tensor.name)))
            }
        }
        self.tensors = tensors
    }

    /// What was found for a tensor.
    enum Finding: Sendable {
        case rate(TensorRate)
        /// A weight is NaN or infinite: the conversion goes over the tensor, counts, and fails.
        case notFinite
        /// So small that no step in binary32 suits: the tensor is stored lossless.
        case tooSmall

        var rate: TensorRate? { if case .rate(let rate) = self { rate } else { nil } }
    }

    /// What was found, by shard and payload.
    func findings() async throws -> [[Int: Finding]] {
        let rates: [Finding]
        switch options.goal {
        case .bits(let bits):
            rates = try await probe { item in
                .bits(
                    DefaultRecipe.bits(bits, isEmbeddingOrHead: item.isEmbedding), weights: item.weights,
                    fixedBytes: item.prologue.fixedBytes)
            }
        case .relativeMSE(let error):
            rates = try await probe { .error(error * $0.errorFactor) }
        case .averageBits(let bits):
            let weights = tensors.reduce(0) { $0 + $1.weights }
            rates = try await share(Double(weights) * bits / 8)
        case .totalBytes(let bytes):
            guard bytes > otherBytes else { throw unreachable(bytes) }
            rates = try await share(Double(bytes - otherBytes))
        }
        var result = [[Int: Finding]](repeating: [:], count: shardCount)
        for (item, finding) in zip(tensors, rates) { result[item.shard][item.payload] = finding }
        return result
    }

    // MARK: - One error for all

    private static let rounds = 4

    /// Shares bytes out so that all tensors have one relative MSE, embeddings and heads 1/16 of it.
    private func share(_ bytes: Double) async throws -> [Finding] {
        let weights = Double(tensors.reduce(0) { $0 + $1.weights })
        guard weights > 0 else { return [] }
        // Where a Gaussian would be with so many bits; embeddings have two more.
        let embeddings = Double(tensors.filter(\.isEmbedding).reduce(0) { $0 + $1.weights })
        let bits = bytes * 8 / weights - 2 * embeddings / weights
        guard RateGoal.bitsRange.contains(bits + 2 * embeddings / weights) else {
            throw unreachable(UInt64(max(bytes, 0)) + otherBytes)
        }
        var error = ExactMath.exp2(-2 * (max(bits, 0.6) - 0.1))
        var rates: [Finding] = []
        var last: (error: Double, bytes: Double)?
        for round in 1...RatePlanner.rounds {
            let asked = error
            rates = try await probe { .error(min(asked * $0.errorFactor, 0.9)) }
            // Of every octave more of error, half goes into each tensor's step.
            var expected = 0.0
            var saved = 0.0
            for (item, finding) in zip(tensors, rates) {
                guard let rate = finding.rate else {
                    expected += Double(item.tensor.range.count) + Double(item.prologue.fixedBytes)
                    continue
                }
                expected += rate.expectedBytes(weights: item.weights, fixedBytes: item.prologue.fixedBytes)
                saved += rate.slope * Double(item.weights) / 16
            }
            // Two rounds far apart tell what an octave saves.
            if let last, case let octaves = ExactMath.log2(asked / last.error), octaves.magnitude > 0.5 {
                saved = min(saved, max((last.bytes - expected) / octaves, saved / 16))
            }
            last = (asked, expected)
            let octaves = saved > 0 ? (expected - bytes * RatePlanner.aim) / saved : 0
            error = asked * ExactMath.exp2(min(max(octaves, -8), 8))
            // What is left, or missing, goes to all alike.
            let rated = zip(tensors, rates).reduce(0) { $0 + ($1.1.rate == nil ? 0 : $1.0.weights) }
            let bits = rated == 0 ? 0 : (bytes * RatePlanner.aim - expected) * 8 / Double(rated)
            guard bits.magnitude < 0.04 || round == RatePlanner.rounds else { continue }
            let shared = zip(tensors, rates).map { item, finding in finding.rate.map { fixed($0, plus: bits, item) } }
            guard bits.magnitude < 0.15 else { return try await probe(shared.map { $0?.goal ?? .error(1) }) }
            return zip(shared, rates).map { rate, finding in rate.map { .rate($0) } ?? finding }
        }
        return rates
    }

    /// Aimed at of what there is, so that the whole is never above.
    private static let aim = 0.9985

    /// A rate that holds so many bits a weight more than are expected, instead of an error.
    private func fixed(_ rate: TensorRate, plus bits: Double, _ item: Item) -> TensorRate {
        let fixedBytes = item.prologue.fixedBytes
        let expected = rate.expectedBytes(weights: item.weights, fixedBytes: fixedBytes)
        let aim = max(expected + bits * Double(item.weights) / 8, Double(fixedBytes))
        var rate = rate.shifted(by: min(max(-bits / rate.slope, -8), 8))
        // Within 0.15 % above: together with the aim, never more than was asked for.
        rate.goal = TensorGoal(quantity: .bytes, most: aim * 1.0015, aim: aim, least: aim * 0.9975)
        return rate
    }

    private func unreachable(_ bytes: UInt64) -> IngotError {
        let weights = UInt64(tensors.reduce(0) { $0 + $1.weights })
        func size(_ bits: Double) -> UInt64 { otherBytes + UInt64(Double(weights) * bits / 8) }
        return IngotError(
            .usage, found: "a size of \(bytes) bytes for \(weights) weights and \(otherBytes) other bytes",
            expected: "from \(size(RateGoal.bitsRange.lowerBound)) to \(size(RateGoal.bitsRange.upperBound)) bytes")
    }

    // MARK: - Probing

    private func probe(_ goal: (Item) -> TensorGoal) async throws -> [Finding] { try await probe(tensors.map(goal)) }

    /// Probes every tensor for its goal, as many at a time as there are jobs.
    private func probe(_ goals: [TensorGoal]) async throws -> [Finding] {
        let options = options
        let tensors = tensors
        let found = Found()
        try await pipeline.run(tensors.indices) { index, workspace in
            let finding = try RatePlanner.probe(tensors[index], goals[index], options, workspace)
            found.findings.withLock { $0[index] = finding }
        } consume: { _, _ in
            try Interruption.check()
        }
        let findings = found.findings.withLock { $0 }
        return tensors.indices.map { findings[$0] ?? .notFinite }
    }

    private final class Found: Sendable {
        let findings = Mutex<[Int: Finding]>([:])
    }

    private static func probe(
        _ item: Item, _ goal: TensorGoal, _ options: ConversionOptions, _ workspace: ChunkWorkspace
    ) throws -> Finding {
        guard
            var probe = try TensorProbe(
                item.tensor, in: item.file, as: item.prologue, scans: goal.quantity == .error, workspace)
        else { return .notFinite }
        if probe.isTooSmall { return .tooSmall }
        let rate: TensorRate?
        if !options.codec.codesEntropy, case .bits(let bits) = options.goal {
            let width = UniformParameters.roundingUp(
                bits: Int(DefaultRecipe.bits(bits, isEmbeddingOrHead: item.isEmbedding)))
            rate = try probe.rate(width: width, options)
        } else {
            rate = try probe.rate(for: goal, options)
        }
        return rate.map { .rate($0) } ?? .notFinite
    }
}
