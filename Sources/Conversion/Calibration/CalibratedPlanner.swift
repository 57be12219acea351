import Architectures
import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel
import Weights
import Work

/// Chooses the steps of calibrated tensors: of the linear layers together, so that they have the bits per weight that were asked for on
/// average; of heads, and of tensors with bits of their own, one by one.
struct CalibratedPlanner {
    private let options: EncodingOptions
    private let cache: FactorCache
    private let budget: MemoryBudget

    /// A calibrated tensor.
    struct Item: Sendable {
        /// Positions of its shard and of its payload.
        let shard: Int, payload: Int
        let tensor: StoredTensor
        let file: MappedFile
        let descriptor: TensorDescriptor
        let input: LinearInput
        /// Bits per weight of this tensor alone; nil if it shares those of the linear layers.
        let ownBits: Double?
        /// Octaves of its steps above those of other tensors, if all share one step.
        var octaves = 0.0
        /// A scale byte for each row; empty if rows have none.
        var rowBytes: [UInt8] = []

        var weights: Int { tensor.shape.elementCount }
        var bytes: TensorBytes { tensor.bytes(in: file) }
    }

    /// Prepares to plan; reads nothing.
    init(_ options: EncodingOptions, _ cache: FactorCache, _ budget: MemoryBudget) {
        (self.options, self.cache, self.budget) = (options, cache, budget)
    }

    /// The plan aims at this share of the bytes, because sizes of large tensors are known from samples.
    private static let aim = 0.997
    /// Trials of each tensor at most, and how near the last one must be to the aim, in bits per weight.
    private static let rounds = 6, tolerance = 0.002

    /// The trial of a tensor that is under way.
    fileprivate struct Candidate: Sendable {
        var rate: TensorRate
        /// log2 of the step.
        var octaves: Double
        var bits = 0.0
        var last: (octaves: Double, bits: Double)?
    }

    /// Plans all items.
    ///
    /// - Parameter bytes: bytes of the payloads that share their bits.
    /// - Returns: a finding for each item, in order.
    /// - Throws: `momentsInvalid`; errors of reading.
    func findings(_ items: [Item], bytes: Double) async throws -> [RatePlanner.Finding] {
        let shared = items.indices.filter { items[$0].ownBits == nil }
        let sharedWeights = shared.reduce(0.0) { $0 + Double(items[$1].weights) }
        func fixedBits(_ index: Int) -> Double {
            Double(prologue(items[index], options.states).fixedBytes) * 8 / Double(items[index].weights)
        }
        // Bits per weight of the streams of each tensor alone, and of all that share.
        let fixed = shared.reduce(0.0) { $0 + fixedBits($1) * Double(items[$1].weights) / 8 }
        let common = sharedWeights > 0 ? (bytes * CalibratedPlanner.aim - fixed) * 8 / sharedWeights : 0
        func target(_ index: Int) -> Double {
            items[index].ownBits.map { max(0.05, $0 * CalibratedPlanner.aim - fixedBits(index)) } ?? max(0.05, common)
        }
        var candidates = try await first(items, target)
        guard candidates.allSatisfy({ $0 != nil }) else {
            return candidates.map { $0.map { .rate($0.rate) } ?? .notFinite }
        }
        for round in 0..<CalibratedPlanner.rounds {
            let isLast = round == CalibratedPlanner.rounds - 1
            let trials = try await trials(items, candidates)
            var missing = 0.0
            for (index, trial) in trials.enumerated() {
                guard let trial else {
                    candidates[index] = nil
                    continue
                }
                candidates[index]?.take(trial)
            }
            guard candidates.allSatisfy({ $0 != nil }) else { break }
            // One shift for all that share a step; its own for each of the others.
            let taken = shared.reduce(0.0) { $0 + (candidates[$1]?.bits ?? 0) * Double(items[$1].weights) }
            let slope = shared.reduce(0.0) { $0 + (candidates[$1]?.rate.slope ?? 1) * Double(items[$1].weights) }
            let shift = sharedWeights > 0 ? (taken / sharedWeights - common) / (slope / sharedWeights) : 0
            if sharesStep(items) { missing = max(missing, (taken / sharedWeights - common).magnitude) }
            for index in items.indices {
                guard let candidate = candidates[index] else { continue }
                if items[index].ownBits == nil, sharesStep(items) {
                    if !isLast { candidates[index]?.move(by: shift) }
                } else {
                    let difference = candidate.bits - target(index)
                    missing = max(missing, difference.magnitude)
                    if !isLast { candidates[index]?.move(by: difference / candidate.rate.slope) }
                }
            }
            if missing < CalibratedPlanner.tolerance || isLast { break }
        }
        return zip(items, candidates).map { item, candidate in
            guard var rate = candidate?.rate else { return .notFinite }
            let fixed = prologue(item, options.states).fixedBytes
            rate.goal = .step(byteCount: Int(rate.expectedBytes(weights: item.weights, fixedBytes: fixed) / CalibratedPlanner.aim))
            return .rate(rate)
        }
    }

    /// Whether tensors share one step, moved by octaves of their own. Otherwise all have the same bits.
    private func sharesStep(_ items: [Item]) -> Bool { items.contains { $0.octaves != 0 } }

    /// The prologue of a tensor with scale bytes.
    private func prologue(_ item: Item, _ states: Int) -> PayloadPrologue {
        var descriptor = item.descriptor
        if case .trellis(var parameters) = descriptor.scheme {
            parameters.scaleBytes = item.rowBytes.isEmpty ? .columns : .columnsAndRows
            descriptor.scheme = .trellis(parameters)
        }
        return descriptor.prologue
    }

    /// First steps: a Gaussian of standard deviation sigma takes about log2(sigma / step) + 1.05 bits per weight.
    private func first(_ items: [Item], _ target: (Int) -> Double) async throws -> [Candidate?] {
        let (cache, options) = (cache, options)
        let targets = items.indices.map(target)
        var scales: [Double?] = []
        try await budget.pipeline { CalibratedProbe() }.run(items.indices) { index, probe -> Double? in
            let item = items[index]
            let encoding = try cache.encoding(of: item.input, rowBytes: item.rowBytes)
            return try probe.logScale(item.bytes, as: item.descriptor.prologue, encoding.columnBytes)
        } consume: {
            scales.append($1)
        }
        let isShared = sharesStep(items)
        // The common step at which the mean of log2(sigma / step) + 1.05 is the mean of the targets.
        var (sum, weights) = (0.0, 0.0)
        for (index, item) in items.enumerated() where item.ownBits == nil {
            sum += ((scales[index] ?? 0) - item.octaves + 1.05 - targets[index]) * Double(item.weights)
            weights += Double(item.weights)
        }
        return items.indices.map { index in
            guard let scale = scales[index] else { return nil }
            let octaves =
                items[index].ownBits == nil && isShared
                ? sum / weights + items[index].octaves : scale + 1.05 - targets[index]
            var parameters = AlphabetChoice.first(bits: targets[index], options)
            parameters.scaleBytes = items[index].rowBytes.isEmpty ? .columns : .columnsAndRows
            let rate = TensorRate(
                goal: .step(byteCount: 0), parameters: parameters,
                rule: TrellisRule(step: TrellisRule.representable(ExactMath.exp2(octaves))), bits: targets[index],
                slope: 1, relativeMSE: 0, minimumStep: Double(Float.leastNormalMagnitude))
            return Candidate(rate: rate, octaves: octaves)
        }
    }

    private func trials(_ items: [Item], _ candidates: [Candidate?]) async throws -> [CalibratedProbe.Trial?] {
        let cache = cache
        var found: [CalibratedProbe.Trial?] = []
        try await budget.pipeline { CalibratedProbe() }.run(items.indices) { index, probe -> CalibratedProbe.Trial? in
            guard let rate = candidates[index]?.rate else { return nil }
            let item = items[index]
            var descriptor = item.descriptor
            descriptor.scheme = .trellis(rate.parameters)
            return try probe.trial(
                item.bytes, as: descriptor.prologue, by: rate.rule,
                cache.encoding(of: item.input, rowBytes: item.rowBytes))
        } consume: {
            found.append($1)
        }
        return found
    }
}

extension CalibratedPlanner.Candidate {
    /// Takes the result of a trial at the current step.
    fileprivate mutating func take(_ trial: CalibratedProbe.Trial) {
        if let last, case let distance = octaves - last.octaves, distance.magnitude > 0.02 {
            rate.slope = min(max((last.bits - trial.bits) / distance, 0.1), 1.5)
        }
        last = (octaves, trial.bits)
        bits = trial.bits
        rate.bits = trial.bits
        rate.relativeMSE = trial.relativeMSE
    }

    /// Moves the step.
    fileprivate mutating func move(by distance: Double) {
        octaves += min(max(distance, -3), 3)
        rate.rule.step = TrellisRule.representable(ExactMath.exp2(octaves))
    }
}
