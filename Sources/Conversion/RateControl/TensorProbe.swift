import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel
import Weights

/// Finds step, alphabet and classes for a tensor by encoding a few of its chunks.
struct TensorProbe {
    private let tensor: StoredTensor
    private let bytes: TensorBytes
    private let prologue: PayloadPrologue
    private let workspace: ProbeWorkspace
    /// The chunks that are encoded on trial.
    private var sample: [ElementRectangle] = []
    /// Bits a weight that the whole tensor needs more than the sample, at the same step.
    private var correction = 0.0
    /// Mean square of the whole tensor's weights, as far as known, and of the sample's.
    private var energy = 0.0
    private var sampleScale = 0.0
    /// Share of the weights that are in chunks like the sample's; the rest is few-valued, and takes next to no bits.
    private var share = 1.0
    /// Whether the whole tensor was read and has few different values.
    private(set) var isFewValued = false
    private var histogram: [UInt64] = []

    /// Chunks that are encoded on trial, at most; alphabets are tried on the first two of them.
    private static let sampleChunks = 4
    private static let alphabetChunks = 2
    /// Tensors of no more chunks are read as a whole, to know by how much the sample differs from the rest: no chunk can make up
    /// for others. Of twice as many chunks it gains nothing: reading costs what is saved of second passes.
    private static let scannedChunks = RateController.lag
    private static let trials = 4
    private static let mostTrials = 8
    /// Share of the weights that may be stored as they are before a wider alphabet is worth a try: 0.02 bits.
    private static let mostPatched = 0.0005

    /// Prepares a probe; nil where a weight that was looked at is not finite.
    ///
    /// - Parameter scans: whether the whole tensor is read, however large.
    init?(
        _ tensor: StoredTensor, in file: MappedFile, as prologue: PayloadPrologue, scans: Bool,
        _ workspace: ProbeWorkspace
    ) throws {
        self.tensor = tensor
        bytes = tensor.bytes(in: file)
        self.prologue = prologue
        self.workspace = workspace
        workspace.begin()
        let grid = prologue.grid
        let sampled = TensorProbe.sampled(grid)
        let readsAll = scans || grid.count <= TensorProbe.scannedChunks
        var scan = Scan()
        for chunk in readsAll ? Array(0..<grid.count) : sampled {
            guard try visit(chunk, inOrder: readsAll, isSampled: sampled.contains(chunk), &scan) else { return nil }
        }
        if !readsAll, scan.varied.chunks.isEmpty {
            // The sample may have met a region of zeros: the rest decides whether the tensor is like it.
            let rest = Set(0..<grid.count).subtracting(sampled).sorted()
            for chunk in rest {
                guard try visit(chunk, inOrder: false, isSampled: false, &scan) else { return nil }
            }
        }
        isFewValued = scan.all.chunks.count == grid.count && scan.values.areFew(of: tensor.shape.elementCount)
        var (all, some) = (scan.all, scan.sampled)
        if !isFewValued, scan.sampledVaried == 0, !scan.varied.chunks.isEmpty {
            // No chunk of the sample is like those that take the bits: take some that are.
            all = scan.varied
            share = all.weights / scan.all.weights
            (sample, some) = ([], Totals())
            for chunk in TensorProbe.spread(all.chunks) {
                let elements = try read(chunk, inOrder: false)
                guard let facts = facts(elements) else { return nil }
                some.add(chunk, facts)
                sample.append(TensorProbe.copy(elements))
            }
        }
        correction = (all.scale / all.weights - some.scale / some.weights) * share
        energy = scan.all.energy / scan.all.weights
        sampleScale = some.scale / some.weights
    }

    // MARK: - Reading

    /// What is known of a chunk: its log scale and energy (`RowStatistics`), and its number of weights.
    private typealias ChunkFacts = (scale: Double, energy: Double, weights: Double)

    /// Sums over chunks.
    private struct Totals {
        var scale = 0.0, energy = 0.0, weights = 0.0
        var chunks: [Int] = []

        mutating func add(_ chunk: Int, _ facts: ChunkFacts) {
            scale += facts.scale * facts.weights
            energy += facts.energy
            weights += facts.weights
            chunks.append(chunk)
        }
    }

    /// What was found in the chunks that were read.
    private struct Scan {
        var all = Totals(), sampled = Totals()
        /// The chunks with more than a few values, and how many of them are in the sample.
        var varied = Totals(), sampledVaried = 0
        var values = DistinctValues()
    }

    /// Reads a chunk; the next one uses its buffer again.
    private func read(_ chunk: Int, inOrder: Bool) throws -> ElementRectangle {
        try Interruption.check()
        return try workspace.read(chunk, of: bytes, as: prologue, inOrder: inOrder)
    }

    /// What is known of a chunk; nil where a weight is not finite.
    private func facts(_ elements: ElementRectangle) -> ChunkFacts? {
        guard let (scale, energy) = workspace.logScale(elements) else { return nil }
        return (scale, energy, Double(elements.count))
    }

    /// A chunk in a buffer of its own.
    private static func copy(_ elements: ElementRectangle) -> ElementRectangle {
        ElementRectangle(
            Array(elements.bytes[elements.range]), stride: elements.stride, rows: elements.rows,
            columns: elements.columns, elements.format)
    }

    /// Reads a chunk and takes note of it; false where a weight is not finite.
    private mutating func visit(_ chunk: Int, inOrder: Bool, isSampled: Bool, _ scan: inout Scan) throws -> Bool {
        let elements = try read(chunk, inOrder: inOrder)
        guard let facts = facts(elements) else { return false }
        var values = DistinctValues()
        values.add(elements.bytes.span.extracting(elements.range), prologue.format)
        scan.values.add(values)
        scan.all.add(chunk, facts)
        let isVaried = !values.areFew(of: Int(facts.weights))
        if isVaried { scan.varied.add(chunk, facts) }
        guard isSampled else { return true }
        scan.sampled.add(chunk, facts)
        if isVaried { scan.sampledVaried += 1 }
        sample.append(TensorProbe.copy(elements))
        return true
    }

    /// As many chunks as a sample has, evenly spread over some.
    private static func spread(_ chunks: [Int]) -> [Int] {
        guard chunks.count > sampleChunks else { return chunks }
        return (0..<sampleChunks).map { chunks[(2 * $0 + 1) * chunks.count / (2 * sampleChunks)] }
    }

    /// Whether every weight is zero.
    var isZero: Bool { energy == 0 }

    /// Whether steps for such weights would be below the smallest normal number: no weights of a model are.
    var isTooSmall: Bool { energy > 0 && energy < 0x1p-220 }

    /// Chunks spread over the rows and columns of a grid, in order.
    private static func sampled(_ grid: ChunkGrid) -> [Int] {
        guard grid.count > sampleChunks else { return Array(0..<grid.count) }
        let bands = grid.count / grid.across
        var chosen: Set<Int> = []
        for index in 0..<sampleChunks {
            // Steps of the golden ratio visit all columns alike.
            let column = (index * 618 + 309) % 1000 * grid.across / 1000
            chosen.insert((2 * index + 1) * bands / (2 * sampleChunks) * grid.across + column)
        }
        return chosen.sorted()
    }

    // MARK: - Trials

    /// What a step makes of the sample.
    private struct Outcome {
        var bits: [Double]
        var noise: Double
        /// Weights stored as they are, of all.
        var patched: Double
    }

    private mutating func measure(
        _ rule: TrellisRule, _ candidates: [TrellisParameters], _ parts: ArraySlice<ElementRectangle>
    ) throws -> Outcome? {
        var bytes = [Int](repeating: 0, count: candidates.count)
        var noise = 0.0
        var weights = 0.0
        var patches = 0
        histogram = []
        for part in parts {
            try Interruption.check()
            guard let trial = workspace.tryOut(part, as: prologue, by: rule, candidates, histogram: &histogram) else {
                return nil
            }
            for (index, count) in trial.byteCounts.enumerated() { bytes[index] += count }
            noise += trial.sums.noise
            patches += trial.patchCount
            weights += Double(part.count)
        }
        return Outcome(
            bits: bytes.map { Double($0) * 8 / weights * share + correction }, noise: noise / weights,
            patched: Double(patches) / weights)
    }

    /// The rate of the tensor for a goal, or for codes of a fixed width; nil where a weight is not finite.
    mutating func rate(
        for goal: TensorGoal, _ options: EncodingOptions, codeWidth: Int?
    ) throws -> TensorRate? {
        if let codeWidth { return try rate(width: codeWidth, options) }
        return try rate(for: goal, options)
    }

    private mutating func rate(for goal: TensorGoal, _ options: EncodingOptions) throws -> TensorRate? {
        guard energy > 0 else { return TensorRate.zeros(goal, options) }
        let leastStep = energy.squareRoot() * 0x1p-13
        // 0.265 step^2 is the error of the trellis; 1.05 the bits of a Gaussian with a standard deviation of one step.
        var step: Double
        switch goal.quantity {
        case .error: step = (goal.aim * energy / 0.265).squareRoot()
        case .bytes, .step: step = ExactMath.exp2(sampleScale + correction + 1.05 - streamBits(goal) / share)
        }
        var rate = TensorRate(
            goal: goal, parameters: AlphabetChoice.first(bits: expectedBits(step), options),
            rule: TrellisRule(step: TrellisRule.representable(max(step, leastStep))), bits: expectedBits(step),
            slope: 1,
            relativeMSE: 0, leastStep: leastStep)
        rate.mostStep = Double(prologue.format.largestFinite) / 2
        rate.rule.step = rate.bounded(step)
        // The best way is no worse than the nearest level at each weight, which is never off by more than one.
        if goal.quantity == .error { rate.safeStep = (goal.aim * energy).squareRoot() }
        var last: (step: Double, bits: Double)?
        for trial in 0..<TensorProbe.mostTrials {
            // The first step is a guess, for which half of the sample will do.
            let parts = trial == 0 ? sample.prefix(TensorProbe.alphabetChunks) : sample[...]
            guard let outcome = try measureFarEnough(&rate, parts, options) else { return nil }
            rate.bits = outcome.bits[0]
            rate.relativeMSE = outcome.noise * share / energy
            let scale = Double(rate.rule.step)
            // Far apart, two trials tell what a step saves.
            if let last, case let octaves = ExactMath.log2(scale / last.step), octaves.magnitude > 0.2 {
                rate.slope = min(max((last.bits - rate.bits) / octaves, 0.05), 1.5)
            }
            last = (scale, rate.bits)
            let octaves = missing(rate)
            let fitted = trial > 0 || !options.codec.codesEntropy
            if fitted && octaves.magnitude < (trial < TensorProbe.trials ? 0.03 : 0.25) { break }
            if options.codec.codesEntropy, trial < 2 {
                (rate.rule.deadZone, rate.rule.shrink) = RateFit.fit(
                    histogram, distortion: outcome.noise / (scale * scale))
            }
            rate = rate.shifted(by: octaves)
        }
        return try chooseAlphabet(rate, options)
    }

    /// Encodes the sample with the alphabet for the rate, or a wider one where too many weights would have to be stored as they are.
    private mutating func measureFarEnough(
        _ rate: inout TensorRate, _ parts: ArraySlice<ElementRectangle>, _ options: EncodingOptions
    ) throws -> Outcome? {
        let bits = rate.goal.quantity == .error ? rate.bits : streamBits(rate.goal)
        rate.parameters = AlphabetChoice.first(bits: bits, options)
        while let outcome = try measure(rate.rule, [rate.parameters], parts) {
            guard outcome.patched > TensorProbe.mostPatched,
                let wider = AlphabetChoice.wider(rate.parameters, bits: bits, options)
            else { return outcome }
            rate.parameters = wider
        }
        return nil
    }

    /// The rate of codes of a fixed width: the step that makes the most of them, that is, with the least bits + log2(error) / 2.
    private mutating func rate(width: Int, _ options: EncodingOptions) throws -> TensorRate? {
        let goal = TensorGoal(quantity: .bytes, most: .infinity, aim: 0, least: 0)
        guard let parameters = TrellisParameters(states: options.states, alphabet: 1 << width) else { return nil }
        guard energy > 0 else {
            var zeros = TensorRate.zeros(goal, options)
            zeros.parameters = parameters
            return zeros
        }
        let leastStep = energy.squareRoot() * 0x1p-13
        let middle = ExactMath.exp2(sampleScale + 2 - Double(width))
        var best: (score: Double, rate: TensorRate)?
        for eighth in -8...6 {
            let step = TrellisRule.representable(max(middle * ExactMath.exp2(Double(eighth) / 8), leastStep))
            guard
                let outcome = try measure(
                    TrellisRule(step: step), [parameters], sample.prefix(TensorProbe.alphabetChunks))
            else { return nil }
            let score = outcome.bits[0] + ExactMath.log2(max(outcome.noise, .leastNormalMagnitude)) / 2
            guard score < best?.score ?? .infinity else { continue }
            let rate = TensorRate(
                goal: goal, parameters: parameters, rule: TrellisRule(step: step), bits: outcome.bits[0], slope: 1,
                relativeMSE: outcome.noise * share / energy, leastStep: leastStep)
            best = (score, rate)
        }
        return best?.rate
    }

    /// Measures the alphabets and classes worth trying, and takes the smallest.
    private mutating func chooseAlphabet(_ rate: TensorRate, _ options: EncodingOptions) throws -> TensorRate? {
        var rate = rate
        let candidates = AlphabetChoice.candidates(rate.parameters, bits: rate.bits, options)
        if candidates.count > 1 {
            let some = sample.prefix(TensorProbe.alphabetChunks)
            guard let outcome = try measure(rate.rule, candidates, some) else { return nil }
            guard let first = candidates.firstIndex(of: rate.parameters) else { return nil }
            let reference = outcome.bits[first]
            guard let best = outcome.bits.indices.min(by: { outcome.bits[$0] < outcome.bits[$1] }) else { return nil }
            rate.parameters = candidates[best]
            rate.bits += outcome.bits[best] - reference
        }
        return rate.shifted(by: missing(rate))
    }

    /// Octaves by which the step is too small; no more than a trial can be trusted for.
    private func missing(_ rate: TensorRate) -> Double {
        let octaves: Double
        switch rate.goal.quantity {
        case .bytes, .step: octaves = (rate.bits - streamBits(rate.goal)) / rate.slope
        case .error:
            guard rate.relativeMSE > 0 else { return 0 }
            octaves = ExactMath.log2(rate.goal.aim / rate.relativeMSE) / 2
        }
        return min(max(octaves, -8), 8)
    }

    /// Bits a weight that a goal of bytes leaves to the streams.
    private func streamBits(_ goal: TensorGoal) -> Double {
        max((goal.aim - Double(prologue.fixedBytes)) * 8 / Double(tensor.shape.elementCount), 0.1)
    }

    private func expectedBits(_ step: Double) -> Double { sampleScale + correction + 1.05 - ExactMath.log2(step) }
}

extension TensorRate {
    /// The rate of a tensor of zeros.
    static func zeros(_ goal: TensorGoal, _ options: EncodingOptions) -> TensorRate {
        TensorRate(
            goal: goal, parameters: AlphabetChoice.first(bits: 4, options), rule: TrellisRule(step: 1), bits: 0,
            slope: 1,
            relativeMSE: 0, leastStep: 1)
    }
}
