import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel
import Weights

/// Chooses the step, the alphabet and the row classes of a tensor by encoding a few of its chunks on trial.
struct TensorProbe {
    private let tensor: StoredTensor
    private let bytes: TensorBytes
    private let prologue: PayloadPrologue
    private let workspace: ProbeWorkspace
    /// Copies of the chunks that are encoded on trial.
    private var sample: [ElementRectangle] = []
    /// Bits per weight that the whole tensor needs more than the sample at the same step: the difference of their mean log2(row RMS), times
    /// `share`.
    private var correction = 0.0
    /// Mean square of all weights that were read.
    private var energy = 0.0
    /// Mean log2(row RMS) over the sample.
    private var sampleScale = 0.0
    /// Fraction of the weights that are in chunks like those of the sample. The other chunks have few distinct values and take almost no
    /// bits.
    private var share = 1.0
    /// Whether the whole tensor was read and has few distinct values (`DistinctValues.areFew`).
    private(set) var isFewValued = false
    /// Counts of |level| in the last trial.
    private var histogram: [UInt64] = []

    /// Chunks in the sample at most; alphabets are compared on the first two.
    private static let sampleChunks = 4
    private static let alphabetChunks = 2
    /// Tensors of at most this many chunks are read as a whole. They get no in-flight correction (`RateController`), so the probe must know
    /// exactly how the sample differs from the rest. Twice as many gained nothing: the reading took the time that it saved in repeats.
    private static let scannedChunks = RateController.lag
    /// The first `trials` trials must bring the step within 0.03 octave of the goal. Later ones need 0.25; `maximumTrials` is the limit.
    private static let trials = 4
    private static let maximumTrials = 8
    /// Fraction of patched weights above which a wider alphabet is tried: they take 0.02 bits per weight.
    private static let maximumPatched = 0.0005

    /// Reads the sample, and the whole tensor if it is small.
    ///
    /// - Parameter scans: whether the whole tensor is read whatever its size.
    /// - Returns: nil if a weight that was read is NaN or infinite.
    /// - Throws: errors of reading; `interrupted` or `terminated` after a signal.
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
            // The sampled chunks may lie in a region of zeros: read the others to see whether the whole tensor is like them.
            let rest = Set(0..<grid.count).subtracting(sampled).sorted()
            for chunk in rest {
                guard try visit(chunk, inOrder: false, isSampled: false, &scan) else { return nil }
            }
        }
        isFewValued = scan.all.chunks.count == grid.count && scan.values.areFew(among: tensor.shape.elementCount)
        var (all, some) = (scan.all, scan.sampled)
        if !isFewValued, scan.sampledVaried == 0, !scan.varied.chunks.isEmpty {
            // All sampled chunks have few distinct values. Sample the other chunks instead, because they take the bits.
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

    /// Mean log2(row RMS) of a chunk, the sum of squares, and the number of weights.
    private typealias ChunkFacts = (scale: Double, energy: Double, weights: Double)

    /// Sums over chunks; `scale` is weighted by the number of weights.
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

    /// Sums over the chunks that were read: all of them, and those in the sample.
    private struct Scan {
        var all = Totals(), sampled = Totals()
        /// The chunks with many distinct values, and how many of them are in the sample.
        var varied = Totals(), sampledVaried = 0
        var values = DistinctValues()
    }

    /// Reads a chunk; the elements are valid until the next call.
    private func read(_ chunk: Int, inOrder: Bool) throws -> ElementRectangle {
        try Interruption.check()
        return try workspace.read(chunk, of: bytes, as: prologue, inOrder: inOrder)
    }

    /// Measures a chunk; nil if a weight is NaN or infinite.
    private func facts(_ elements: ElementRectangle) -> ChunkFacts? {
        guard let (scale, energy) = workspace.logScale(elements) else { return nil }
        return (scale, energy, Double(elements.count))
    }

    /// A copy of a chunk, with a buffer of its own.
    private static func copy(_ elements: ElementRectangle) -> ElementRectangle {
        ElementRectangle(
            Array(elements.bytes[elements.range]), stride: elements.stride, rows: elements.rows,
            columns: elements.columns, elements.elementType)
    }

    /// Reads a chunk and adds it to the sums; returns false if a weight is NaN or infinite.
    private mutating func visit(_ chunk: Int, inOrder: Bool, isSampled: Bool, _ scan: inout Scan) throws -> Bool {
        let elements = try read(chunk, inOrder: inOrder)
        guard let facts = facts(elements) else { return false }
        var values = DistinctValues()
        values.add(elements.bytes.span.extracting(elements.range), prologue.format)
        scan.values.add(values)
        scan.all.add(chunk, facts)
        let isVaried = !values.areFew(among: Int(facts.weights))
        if isVaried { scan.varied.add(chunk, facts) }
        guard isSampled else { return true }
        scan.sampled.add(chunk, facts)
        if isVaried { scan.sampledVaried += 1 }
        sample.append(TensorProbe.copy(elements))
        return true
    }

    /// `sampleChunks` of the given chunks, evenly spread; all of them if they are fewer.
    private static func spread(_ chunks: [Int]) -> [Int] {
        guard chunks.count > sampleChunks else { return chunks }
        return (0..<sampleChunks).map { chunks[(2 * $0 + 1) * chunks.count / (2 * sampleChunks)] }
    }

    /// Whether every weight is zero.
    var isZero: Bool { energy == 0 }

    /// Whether the RMS is below 2^-110, so that the smallest normal binary32 bounds the step. Models have no such weights.
    var isTooSmall: Bool { energy > 0 && energy < 0x1p-220 }

    /// Indices of at most `sampleChunks` chunks, spread over the rows and columns of a grid, in rising order.
    private static func sampled(_ grid: ChunkGrid) -> [Int] {
        guard grid.count > sampleChunks else { return Array(0..<grid.count) }
        let bands = grid.count / grid.chunksPerBand
        var chosen: Set<Int> = []
        for index in 0..<sampleChunks {
            // Multiples of the golden ratio (0.618) spread evenly over the columns.
            let column = (index * 618 + 309) % 1000 * grid.chunksPerBand / 1000
            chosen.insert((2 * index + 1) * bands / (2 * sampleChunks) * grid.chunksPerBand + column)
        }
        return chosen.sorted()
    }

    // MARK: - Trials

    /// The result of encoding the sample at one step.
    private struct Outcome {
        /// Bits per weight predicted for the whole tensor, one number per candidate.
        var bits: [Double]
        /// Mean squared error per weight of the sample.
        var noise: Double
        /// Fraction of the weights that are patches.
        var patched: Double
    }

    /// Encodes some chunks with all candidates; nil if a weight is NaN or infinite.
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

    /// The rate that meets a goal.
    ///
    /// - Parameter codeWidth: bits per code under a codec without entropy coder; the goal is then ignored. nil if the goal determines the
    ///   step.
    /// - Returns: nil if a weight is NaN or infinite.
    /// - Throws: `interrupted` or `terminated` after a signal.
    mutating func rate(
        for goal: TensorGoal, _ options: EncodingOptions, codeWidth: Int?
    ) throws -> TensorRate? {
        if let codeWidth { return try rate(width: codeWidth, options) }
        return try rate(for: goal, options)
    }

    private mutating func rate(for goal: TensorGoal, _ options: EncodingOptions) throws -> TensorRate? {
        guard energy > 0 else { return TensorRate.zeros(goal, options) }
        let minimumStep = energy.squareRoot() * 0x1p-13
        // First guess. The mean squared error of the trellis is about 0.265 step^2, and a Gaussian of standard deviation sigma takes about
        // log2(sigma / step) + 1.05 bits per weight.
        var step: Double
        switch goal.quantity {
        case .error: step = (goal.aim * energy / 0.265).squareRoot()
        case .bytes, .step: step = ExactMath.exp2(sampleScale + correction + 1.05 - streamBits(goal) / share)
        }
        var rate = TensorRate(
            goal: goal, parameters: AlphabetChoice.first(bits: expectedBits(step), options),
            rule: TrellisRule(step: TrellisRule.representable(max(step, minimumStep))), bits: expectedBits(step),
            slope: 1,
            relativeMSE: 0, minimumStep: minimumStep)
        rate.maximumStep = Double(prologue.format.largestFinite) / 2
        rate.rule.step = rate.bounded(step)
        // From any state, one of the allowed levels is within one step of the weight, so the mean squared error is at most step^2.
        if goal.quantity == .error { rate.safeStep = (goal.aim * energy).squareRoot() }
        var last: (step: Double, bits: Double)?
        for trial in 0..<TensorProbe.maximumTrials {
            // The first step is a guess: half of the sample is enough.
            let parts = trial == 0 ? sample.prefix(TensorProbe.alphabetChunks) : sample[...]
            guard let outcome = try measureFarEnough(&rate, parts, options) else { return nil }
            rate.bits = outcome.bits[0]
            rate.relativeMSE = outcome.noise * share / energy
            let scale = Double(rate.rule.step)
            // Two trials more than 0.2 octaves apart measure the slope.
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

    /// Encodes the sample with the alphabet for the rate, and with wider alphabets while the fraction of patches is above `maximumPatched`.
    private mutating func measureFarEnough(
        _ rate: inout TensorRate, _ parts: ArraySlice<ElementRectangle>, _ options: EncodingOptions
    ) throws -> Outcome? {
        let bits = rate.goal.quantity == .error ? rate.bits : streamBits(rate.goal)
        rate.parameters = AlphabetChoice.first(bits: bits, options)
        while let outcome = try measure(rate.rule, [rate.parameters], parts) {
            guard outcome.patched > TensorProbe.maximumPatched,
                let wider = AlphabetChoice.wider(rate.parameters, bits: bits, options)
            else { return outcome }
            rate.parameters = wider
        }
        return nil
    }

    /// The rate of codes of a fixed width. Of 15 steps, an eighth octave apart, it takes the one with the smallest bits + log2(MSE) / 2,
    /// that is, with the fewest bits at equal error.
    private mutating func rate(width: Int, _ options: EncodingOptions) throws -> TensorRate? {
        let goal = TensorGoal(quantity: .bytes, maximum: .infinity, aim: 0, minimum: 0)
        guard let parameters = TrellisParameters(states: options.states, alphabet: 1 << width) else { return nil }
        guard energy > 0 else {
            var zeros = TensorRate.zeros(goal, options)
            zeros.parameters = parameters
            return zeros
        }
        let minimumStep = energy.squareRoot() * 0x1p-13
        // The steps to try lie around 4 sigma / 2^width: the alphabet then spans about 4 standard deviations either way.
        let middle = ExactMath.exp2(sampleScale + 2 - Double(width))
        var best: (score: Double, rate: TensorRate)?
        for eighth in -8...6 {
            let step = TrellisRule.representable(max(middle * ExactMath.exp2(Double(eighth) / 8), minimumStep))
            guard
                let outcome = try measure(
                    TrellisRule(step: step), [parameters], sample.prefix(TensorProbe.alphabetChunks))
            else { return nil }
            let score = outcome.bits[0] + ExactMath.log2(max(outcome.noise, .leastNormalMagnitude)) / 2
            guard score < best?.score ?? .infinity else { continue }
            let rate = TensorRate(
                goal: goal, parameters: parameters, rule: TrellisRule(step: step), bits: outcome.bits[0], slope: 1,
                relativeMSE: outcome.noise * share / energy, minimumStep: minimumStep)
            best = (score, rate)
        }
        return best?.rate
    }

    /// Compares the candidates of `AlphabetChoice` on two chunks, takes the smallest, and moves the step to the goal.
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

    /// Octaves by which the step must grow to meet the goal; at most 8 either way, since predictions hold near a trial only.
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

    /// Bits per weight that a goal in bytes leaves for the streams; at least 0.1.
    private func streamBits(_ goal: TensorGoal) -> Double {
        max((goal.aim - Double(prologue.fixedBytes)) * 8 / Double(tensor.shape.elementCount), 0.1)
    }

    /// Bits per weight that Gaussian weights take at a step.
    private func expectedBits(_ step: Double) -> Double { sampleScale + correction + 1.05 - ExactMath.log2(step) }
}

extension TensorRate {
    /// The rate of a tensor of zeros: step 1, and 0 bits per weight.
    static func zeros(_ goal: TensorGoal, _ options: EncodingOptions) -> TensorRate {
        TensorRate(
            goal: goal, parameters: AlphabetChoice.first(bits: 4, options), rule: TrellisRule(step: 1), bits: 0,
            slope: 1,
            relativeMSE: 0, minimumStep: 1)
    }
}
