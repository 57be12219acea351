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
        /// What its errors cost, over all tokens of the text (`CalibrationMoments.sensitivity`); nil if it is not known.
        var sensitivity: Double?
        /// The step and the parameters of the first phase, in the second; nil in any other conversion.
        var first: (step: Float, parameters: TrellisParameters)?
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
        /// log2 of the step that it should have beside those of other tensors; nil if sensitivities are not known.
        let offset: Double?
        var bits = 0.0
        var last: (octaves: Double, bits: Double)?
    }

    /// Plans all items.
    ///
    /// - Parameter bytes: bytes of the payloads that share their bits.
    /// - Returns: a finding for each item, in order; nil for one that no step suits, which is planned without calibration: not finite, zero,
    ///   or of few distinct values.
    /// - Throws: `momentsInvalid`; errors of reading.
    func findings(_ items: [Item], bytes: Double) async throws -> [RatePlanner.Finding?] {
        let shared = items.indices.filter { items[$0].ownBits == nil }
        let sharedWeights = shared.reduce(0.0) { $0 + Double(items[$1].weights) }
        func fixedBits(_ index: Int) -> Double {
            Double(prologue(items[index]).fixedBytes) * 8 / Double(items[index].weights)
        }
        // Bits per weight of the streams: of each tensor alone, and of all that share.
        let fixed = shared.reduce(0.0) { $0 + fixedBits($1) * Double(items[$1].weights) / 8 }
        let common = sharedWeights > 0 ? (bytes * CalibratedPlanner.aim - fixed) * 8 / sharedWeights : 0
        let targets = items.indices.map { index in
            max(0.05, items[index].ownBits.map { $0 * CalibratedPlanner.aim - fixedBits(index) } ?? common)
        }
        let begun = try await first(items, targets)
        var candidates = begun.compactMap(\.self)
        guard candidates.count == items.count else {
            let suited = items.indices.filter { begun[$0] != nil }
            var found = [RatePlanner.Finding?](repeating: nil, count: items.count)
            guard !suited.isEmpty else { return found }
            let weights = suited.reduce(0.0) { $0 + (items[$1].ownBits == nil ? Double(items[$1].weights) : 0) }
            let rest = try await findings(suited.map { items[$0] }, bytes: bytes * weights / max(sharedWeights, 1))
            for (index, finding) in zip(suited, rest) { found[index] = finding }
            return found
        }
        for round in 0..<CalibratedPlanner.rounds {
            let found = try await trials(items, candidates)
            let trials = found.compactMap(\.self)
            guard trials.count == items.count else {
                return zip(candidates, found).map { $1 == nil ? .notFinite : .rate($0.rate) }
            }
            for index in items.indices { candidates[index].take(trials[index]) }
            let wanted = steps(items, candidates, targets, common)
            let taken = shared.reduce(0.0) { $0 + candidates[$1].bits * Double(items[$1].weights) }
            let isMet =
                (sharedWeights == 0 || (taken / sharedWeights - common).magnitude < CalibratedPlanner.tolerance)
                && items.indices.allSatisfy { index in
                    let moved = (wanted[index] - candidates[index].octaves).magnitude
                    return moved < (items[index].ownBits == nil ? 0.1 : CalibratedPlanner.tolerance)
                }
            if isMet || round == CalibratedPlanner.rounds - 1 { break }
            for index in items.indices { candidates[index].move(to: wanted[index]) }
        }
        let maxima = zip(items, candidates).map { item, candidate in
            candidate.rate.expectedBytes(weights: item.weights, fixedBytes: prologue(item).fixedBytes)
                / CalibratedPlanner.aim
        }
        // The last trial may be a little off the aim. No tensor may take more than it was given.
        let part = min(1, bytes / shared.reduce(0.0) { $0 + maxima[$1] })
        return items.indices.map { index in
            var rate = candidates[index].rate
            let own = items[index].ownBits.map { $0 * Double(items[index].weights) / 8 }
            rate.goal = .step(byteCount: Int(own.map { min($0, maxima[index]) } ?? maxima[index] * part))
            return .rate(rate)
        }
    }

    /// Tensors with known sensitivities get at most this many bits per weight fewer than the average. Without a limit single tensors get almost
    /// none, and single sequences of the text are then far from the original.
    private static let reach = 1.25
    /// With fewer bits per weight, the noise of a tensor is more than half of its signal, the limit of a certificate.
    private static let leastBits = 0.6

    /// log2 of the steps at which the tensors should have their bits, by the last trials.
    ///
    /// With sensitivities the steps of all tensors that share are one common step times each tensor's own factor (`offset`). Without, each tensor has its own
    /// step, and all have the same bits.
    private func steps(
        _ items: [Item], _ candidates: [Candidate], _ targets: [Double], _ common: Double
    ) -> [Double] {
        /// The step of a tensor at a number of bits per weight.
        func step(_ index: Int, _ bits: Double) -> Double {
            candidates[index].octaves + (candidates[index].bits - bits) / candidates[index].rate.slope
        }
        let shared = items.indices.filter { items[$0].ownBits == nil }
        guard shared.allSatisfy({ candidates[$0].offset != nil }), !shared.isEmpty else {
            return items.indices.map { step($0, targets[$0]) }
        }
        let limits = items.indices.map { index in
            guard items[index].first == nil else { return Double.infinity }
            let least = max(targets[index] - CalibratedPlanner.reach, CalibratedPlanner.leastBits)
            return step(index, max(0.05, min(targets[index], least)))
        }
        func steps(_ level: Double) -> [Double] {
            items.indices.map { index in
                guard items[index].ownBits == nil, let offset = candidates[index].offset else {
                    return step(index, targets[index])
                }
                return min(level + offset, limits[index])
            }
        }
        let weights = shared.reduce(0.0) { $0 + Double(items[$1].weights) }
        func bits(_ steps: [Double]) -> Double {
            shared.reduce(0.0) { sum, index in
                let candidate = candidates[index]
                let bits = candidate.bits - (steps[index] - candidate.octaves) * candidate.rate.slope
                return sum + max(bits, 0) * Double(items[index].weights)
            } / weights
        }
        let bounds = shared.map { candidates[$0].octaves - (candidates[$0].offset ?? 0) }
        var (low, high) = ((bounds.min() ?? 0) - 24, (bounds.max() ?? 0) + 24)
        for _ in 0..<60 {
            let middle = (low + high) / 2
            if bits(steps(middle)) > common { low = middle } else { high = middle }
        }
        return steps(high)
    }

    /// The prologue of a tensor with scale bytes.
    private func prologue(_ item: Item) -> PayloadPrologue {
        var descriptor = item.descriptor
        if case .trellis(var parameters) = descriptor.scheme {
            parameters.scaleBytes = item.rowBytes.isEmpty ? .columns : .columnsAndRows
            descriptor.scheme = .trellis(parameters)
        }
        return descriptor.prologue
    }

    /// First steps: a Gaussian of standard deviation sigma takes about log2(sigma / step) + 1.05 bits per weight. Nil for a tensor that is not
    /// finite, zero, or of few distinct values.
    private func first(_ items: [Item], _ targets: [Double]) async throws -> [Candidate?] {
        let (cache, options) = (cache, options)
        var scales: [(own: Double?, middle: Double)] = []
        try await budget.pipeline { CalibratedProbe() }.run(items.indices) {
            index, probe -> (own: Double?, middle: Double) in
            let item = items[index]
            let encoding = try cache.encoding(of: item.input, item.tensor.name, rowBytes: item.rowBytes)
            let scale = try probe.logScale(item.bytes, as: item.descriptor.prologue, encoding.columnBytes)
            return (scale, encoding.factors.middle)
        } consume: {
            scales.append($1)
        }
        // A matrix without any gradient has the step of one with a very small sensitivity.
        let largest = items.compactMap(\.sensitivity).max() ?? 1
        return items.indices.map { index in
            guard let scale = scales[index].own else { return nil }
            if let first = items[index].first {
                // The second phase moves the steps of the first together.
                let rate = TensorRate(
                    goal: .step(byteCount: 0), parameters: first.parameters, rule: TrellisRule(step: first.step),
                    bits: targets[index], slope: 1, relativeMSE: 0, minimumStep: Double(Float.leastNormalMagnitude))
                let octaves = ExactMath.log2(Double(first.step))
                return Candidate(rate: rate, octaves: octaves, offset: octaves)
            }
            let octaves = scale + 1.05 - targets[index]
            var parameters = AlphabetChoice.first(bits: targets[index], options)
            parameters.scaleBytes = items[index].rowBytes.isEmpty ? .columns : .columnsAndRows
            let rate = TensorRate(
                goal: .step(byteCount: 0), parameters: parameters,
                rule: TrellisRule(step: TrellisRule.representable(ExactMath.exp2(octaves))), bits: targets[index],
                slope: 1, relativeMSE: 0, minimumStep: Double(Float.leastNormalMagnitude))
            // The step of weight (i, j) is in proportion to S^(-1/2) / R_jj; `middle` is the part of 1 / R_jj that scale bytes leave out.
            let offset = items[index].sensitivity.map {
                scales[index].middle - ExactMath.log2(max($0, largest * 0x1p-40, 0x1p-200)) / 2
            }
            return Candidate(rate: rate, octaves: octaves, offset: offset)
        }
    }

    private func trials(_ items: [Item], _ candidates: [Candidate]) async throws -> [CalibratedProbe.Trial?] {
        let cache = cache
        var found: [CalibratedProbe.Trial?] = []
        try await budget.pipeline { CalibratedProbe() }.run(items.indices) { index, probe -> CalibratedProbe.Trial? in
            let rate = candidates[index].rate
            let item = items[index]
            var descriptor = item.descriptor
            descriptor.scheme = .trellis(rate.parameters)
            defer { cache.add(probe.takeTimes()) }
            return try probe.trial(
                item.bytes, as: descriptor.prologue, by: rate.rule,
                cache.encoding(of: item.input, item.tensor.name, rowBytes: item.rowBytes))
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

    /// Moves the step to 2^`wanted`, by at most three octaves.
    fileprivate mutating func move(to wanted: Double) {
        octaves = min(max(wanted, octaves - 3), octaves + 3)
        rate.rule.step = TrellisRule.representable(ExactMath.exp2(octaves))
    }
}
