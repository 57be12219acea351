import Checkpoints
import Container
import FileAccess
import Quantization
import SystemPackage
import TensorModel
import Weights
import Work

/// Chooses, for every tensor of scheme `trellis`, a goal in bytes or in relative MSE, and a rate that a probe expects to meet it.
///
/// A tensor that scheme `trellis` does not suit gets another scheme, or is kept as it is.
struct RatePlanner {
    /// The options of the conversion.
    let options: EncodingOptions
    private let tensors: [Item]
    private let shardCount: Int
    private let budget: MemoryBudget
    private let otherBytes: UInt64
    private let allowsSlack: Bool

    /// A tensor, with the positions of its shard and its payload.
    private struct Item: Sendable {
        let shard: Int, payload: Int
        let tensor: StoredTensor
        let file: MappedFile
        let descriptor: TensorDescriptor
        let choice: TensorChoice

        /// Bits per weight that a rule of the recipe states for this tensor.
        var ownBits: Double? { choice.ownBits }

        var weights: Int { tensor.shape.elementCount }
        var bytes: TensorBytes { tensor.bytes(in: file) }
        var prologue: PayloadPrologue { descriptor.prologue }
        /// The relative MSE of this tensor divided by that of other tensors: 1/16 for embeddings and heads.
        var errorFactor: Double { choice.isEmbeddingOrHead ? RateGoal.embeddingErrorFactor : 1 }

        /// The goal for a rate of `bits` bits per weight.
        func goal(bits: Double) -> TensorGoal { .bits(bits, weights: weights, fixedBytes: prologue.fixedBytes) }

        /// The goal for a relative MSE of the other tensors; bits if the recipe states them.
        func goal(error: Double) -> TensorGoal { ownBits.map(goal(bits:)) ?? .error(error * errorFactor) }
    }

    /// Collects the quantized tensors of some shards; reads nothing yet.
    ///
    /// - Parameters:
    ///   - otherBytes: bytes of the output without the payloads of scheme `trellis`; used only if the goal is a total size.
    ///   - allowsSlack: whether the upper bound of a plan may exceed the size by `slack` bytes.
    ///   - includesAll: whether matrices of scheme `uniform` are included, for `replacement`.
    ///   - excluded: tensors that are planned elsewhere.
    init(
        _ shards: [ConversionPlan.ShardPlan], _ options: EncodingOptions, otherBytes: UInt64, allowsSlack: Bool,
        includesAll: Bool, excluding excluded: Set<TensorName>, _ budget: MemoryBudget
    ) {
        self.options = options
        self.budget = budget
        self.otherBytes = otherBytes
        self.allowsSlack = allowsSlack
        shardCount = shards.count
        var tensors: [Item] = []
        for (shard, part) in shards.enumerated() {
            for (index, payload) in part.layout.payloads.enumerated() {
                guard let descriptor = payload.descriptor, descriptor.scheme != .lossless,
                    !excluded.contains(payload.tensor.name)
                else { continue }
                if case .uniform = descriptor.scheme, !includesAll { continue }
                let choice = DefaultRecipe.choice(
                    payload.tensor.name, payload.tensor.elementType, payload.tensor.shape, options)
                tensors.append(
                    Item(
                        shard: shard, payload: index, tensor: payload.tensor, file: part.source.file,
                        descriptor: descriptor, choice: choice))
            }
        }
        self.tensors = tensors
    }

    /// How one tensor will be stored.
    enum Finding: Sendable {
        case rate(TensorRate)
        /// A weight is NaN or infinite. The conversion encodes the tensor nevertheless, counts such weights, and fails.
        case notFinite
        /// Scheme `trellis` does not suit the tensor: it is stored in scheme `lossless` or `uniform`.
        case stored(StoredForm)
        /// No scheme meets the goal of this small tensor: it is kept.
        case kept
        /// The payload of the first phase is copied.
        case copied

        /// The rate; nil in the other cases.
        var rate: TensorRate? { if case .rate(let rate) = self { rate } else { nil } }

        /// The case in words, for a warning.
        var summary: String {
            switch self {
            case .rate: "stored along a trellis"
            case .notFinite: "not finite"
            case .stored(let form): "stored as \(form.scheme.summary) instead"
            case .kept: "kept as it is"
            case .copied: "copied from the first phase"
            }
        }
    }

    /// Probes all tensors.
    ///
    /// - Returns: one dictionary per shard; its keys are indices of payloads.
    /// - Throws: `usage` if the rate or size for all tensors together cannot be reached, `goalUnreachable` if no scheme meets the goal of a
    ///   tensor; errors of reading.
    func findings() async throws -> [[Int: Finding]] {
        let rates: [Finding]
        switch options.goal {
        case .bits(let bits):
            rates = try await probe { item in
                item.goal(bits: item.choice.bits(bits))
            }
        case .relativeMSE(let error):
            rates = try await probe { $0.goal(error: error) }
        case .averageBits(let bits):
            let weights = tensors.reduce(0) { $0 + $1.weights }
            let maximum = tensors.reduce(0.0) {
                $0 + TensorGoal.bits(bits, weights: $1.weights, fixedBytes: $1.prologue.fixedBytes).maximum
            }
            let asked = Double(weights) * bits / 8
            // If the exact total is too small: the same with the limits of small matrices, which allow for their tables.
            rates = try await findings(withinFirstOf: [asked, max(maximum, asked)])
        case .totalBytes(let bytes):
            guard bytes > otherBytes else { throw unreachable() }
            rates = try await findings(withinFirstOf: [Double(bytes - otherBytes)])
        }
        var result = [[Int: Finding]](repeating: [:], count: shardCount)
        for (item, finding) in zip(tensors, rates) { result[item.shard][item.payload] = finding }
        return result
    }

    // MARK: - One relative MSE for all tensors

    /// Rounds of the search for the common relative MSE; more are allowed if the size of a tensor jumps with its step.
    private static let rounds = 4, maximumRounds = 12
    /// Below this many bits per weight, the size of a tensor does not follow its step smoothly. Such a tensor is encoded as a whole once,
    /// so that its size is known.
    private static let minimumSmoothBits = 0.5

    /// Divides payload bytes among the tensors: the first number in `bytes` that is enough for them.
    ///
    /// - Throws: `usage` if none is enough.
    private func findings(withinFirstOf bytes: [Double]) async throws -> [Finding] {
        let weights = Double(tensors.reduce(0) { $0 + $1.weights })
        guard weights > 0 else { return [] }
        guard let asked = bytes.first, RateGoal.bitsRange.contains(asked * 8 / weights) else { throw unreachable() }
        for number in bytes {
            if let found = try await findings(within: number) { return found }
        }
        throw unreachable()
    }

    /// Divides payload bytes so that all tensors have the same relative MSE, embeddings and heads 1/16 of it.
    ///
    /// - Returns: nil if the bytes are too few.
    private func findings(within bytes: Double) async throws -> [Finding]? {
        let weights = Double(tensors.reduce(0) { $0 + $1.weights })
        // First guess: the error of a Gaussian 0.1 bit above the bound D = 2^(-2 bits). Embeddings and heads take two bits more, at the
        // cost of the other tensors.
        let embeddings = Double(tensors.filter(\.choice.isEmbeddingOrHead).reduce(0) { $0 + $1.weights })
        let bits = bytes * 8 / weights - 2 * embeddings / weights
        var error = ExactMath.exp2(-2 * (max(bits, 0.6) - 0.1))
        var last: (error: Double, bytes: Double)?
        var bounds = ErrorBounds()
        for round in 1...RatePlanner.maximumRounds {
            let asked = error
            let found = try await probe { $0.goal(error: min(asked, 0.9 / $0.errorFactor)) }
            // The conversion will fail at such a tensor and name it.
            if found.contains(where: { if case .notFinite = $0 { true } else { false } }) { return found }
            let isSmooth = zip(tensors, found).allSatisfy { $0.ownBits != nil || RatePlanner.isSmooth($1) }
            let isLast = round >= (isSmooth ? RatePlanner.rounds : RatePlanner.maximumRounds)
            var (expected, saved) = expectation(found)
            // Two rounds more than half an octave of error apart measure how many bytes an octave saves.
            if let last, case let octaves = ExactMath.log2(asked / last.error), octaves.magnitude > 0.5 {
                saved = min(saved, max((last.bytes - expected) / octaves, saved / 16))
            }
            last = (asked, expected)
            let octaves = saved > 0 ? (expected - bytes * RatePlanner.aim) / saved : 0
            error = asked * ExactMath.exp2(min(max(octaves, -8), 8))
            // Bytes left over (or missing), as bits per weight of the tensors whose size follows the step.
            let free = zip(tensors, found).reduce(0) {
                $0 + ($1.0.ownBits == nil && RatePlanner.isSmooth($1.1) ? $1.0.weights : 0)
            }
            let bits = free == 0 ? 0 : (bytes * RatePlanner.aim - expected) * 8 / Double(free)
            if !isSmooth {
                // Some sizes jump: search between the largest error known to be too small and the smallest one known to fit.
                if expected <= bytes * RatePlanner.aim, asked <= options.goal.maximumError {
                    let planned = try await withGoalsInBytes(found, plus: min(bits, 0.15))
                    bounds.note(asked, planned, fits: maximumBytes(planned) <= bytes)
                } else {
                    bounds.note(asked, nil, fits: expected <= bytes * RatePlanner.aim)
                }
                if bounds.areClose { break }
                error = bounds.next(error)
            }
            guard isSmooth || isLast, bits.magnitude < 0.04 || isLast else { continue }
            let planned = try await withGoalsInBytes(found, plus: isSmooth ? bits : min(bits, 0.15))
            if asked <= options.goal.maximumError {
                bounds.note(asked, planned, fits: maximumBytes(planned) <= bytes + slack)
            }
            break
        }
        return bounds.best
    }

    /// The bounds of the search for the common relative MSE.
    private struct ErrorBounds {
        /// The findings at `enough`; nil until an error fits.
        private(set) var best: [Finding]?
        /// The largest error that gave too many bytes, and the smallest one whose bytes fit.
        private var tooSmall = 0.0, enough = Double.infinity

        /// Moves a bound to `error`, whose findings fit in the bytes if `fits`.
        mutating func note(_ error: Double, _ found: [Finding]?, fits: Bool) {
            guard fits else {
                tooSmall = max(tooSmall, error)
                return
            }
            guard error < enough else { return }
            enough = error
            best = found
        }

        /// Whether the bounds differ by less than 10 %, so that searching on is not worth its time.
        var areClose: Bool { best != nil && enough < tooSmall * 1.1 }

        /// The error to try next: `proposed` if it is 2 % inside the bounds, otherwise their geometric mean; with only one bound, a value
        /// beyond it.
        func next(_ proposed: Double) -> Double {
            if proposed > tooSmall * 1.02, proposed < enough * 0.98 { return proposed }
            guard tooSmall > 0 else { return min(proposed, enough / 4) }
            guard enough.isFinite else { return max(proposed, tooSmall * 1.5) }
            return (tooSmall * enough).squareRoot()
        }
    }

    /// Bytes by which the upper bound of a plan may exceed the size asked for. Payloads usually stay below their goals, and headers below
    /// their bounds; `PromiseCheck` compares the bytes that were written. 0 if the source is consumed: after that, a failure cannot be
    /// repaired.
    private var slack: Double { !allowsSlack ? 0 : Double(64 * tensors.count + 256) }

    /// Whether the tensor is in scheme `trellis` with a step that may still change, so that its size follows the step.
    private static func isSmooth(_ finding: Finding) -> Bool {
        finding.rate.map { $0.goal.quantity != .step } ?? false
    }

    /// Fraction of the available bytes that the plan aims at. With the tolerance of 0.15 % (`withGoalInBytes`), the total stays within them.
    private static let aim = 0.9985

    /// Predicted bytes of all tensors, and the bytes that are saved if the relative MSE doubles.
    ///
    /// Twice the error is half an octave of step: slope / 2 bits per weight, slope / 16 bytes per weight.
    private func expectation(_ found: [Finding]) -> (bytes: Double, saved: Double) {
        var expected = 0.0
        var saved = 0.0
        for (item, finding) in zip(tensors, found) {
            switch finding {
            case .rate(let rate):
                expected +=
                    rate.goal.quantity == .step
                    ? rate.goal.maximum
                    : rate.expectedBytes(weights: item.weights, fixedBytes: item.prologue.fixedBytes)
                if item.ownBits == nil { saved += rate.slope * Double(item.weights) / 16 }
            case .stored(let form): expected += Double(form.byteCount)
            case .notFinite, .kept, .copied:
                expected += Double(item.tensor.byteCount) + Double(item.prologue.fixedBytes)
            }
        }
        return (expected, saved)
    }

    /// Replaces goals in relative MSE by goals in bytes: the predicted bytes plus `bits` per weight, for tensors whose size follows the
    /// step.
    ///
    /// Probes again if `bits` is 0.15 or more in magnitude: predictions do not reach so far.
    private func withGoalsInBytes(_ found: [Finding], plus bits: Double) async throws -> [Finding] {
        let rates = zip(tensors, found).map { item, finding in
            finding.rate.map { rate in
                rate.goal.quantity == .step || item.ownBits != nil ? rate : withGoalInBytes(rate, plus: bits, item)
            }
        }
        guard bits.magnitude < 0.15 else {
            let again = try await probe(rates.map { $0?.goal ?? .error(1) })
            return zip(found, again).map { first, second in
                RatePlanner.isSmooth(first) ? second : first
            }
        }
        return zip(rates, found).map { rate, finding in rate.map { .rate($0) } ?? finding }
    }

    /// Upper bound of the bytes of all payloads, by their goals.
    private func maximumBytes(_ found: [Finding]) -> Double {
        zip(tensors, found).reduce(0) { sum, pair in
            switch pair.1 {
            case .rate(let rate): sum + (rate.goal.maximumBytes ?? 0)
            case .stored(let form): sum + Double(form.byteCount)
            case .notFinite, .kept, .copied: sum
            }
        }
    }

    /// The rate with a goal in bytes instead of an error: the predicted bytes plus `bits` per weight.
    private func withGoalInBytes(_ rate: TensorRate, plus bits: Double, _ item: Item) -> TensorRate {
        let fixedBytes = item.prologue.fixedBytes
        let expected = rate.expectedBytes(weights: item.weights, fixedBytes: fixedBytes)
        let aim = max(expected + bits * Double(item.weights) / 8, Double(fixedBytes))
        var rate = rate.shifted(by: min(max(-bits / rate.slope, -8), 8))
        // At most 0.15 % above the aim: 1.0015 times `RatePlanner.aim` is below 1.
        rate.goal = TensorGoal(
            quantity: .bytes, maximum: aim * 1.0015, aim: aim,
            minimum: TensorGoal.minimum(aim * 0.9975, aim * 1.0015, weights: item.weights))
        return rate
    }

    /// The error of a rate or a size, for all tensors together, that cannot be reached.
    private func unreachable() -> IngotError {
        let weights = UInt64(tensors.reduce(0) { $0 + $1.weights })
        let (minimum, maximum) = (RateGoal.bitsRange.lowerBound, RateGoal.bitsRange.upperBound)
        let remedy = Remedy.either("ask for more", or: .option(.planAtRelativeMSE(0.1)))
        guard case .totalBytes(let asked) = options.goal else {
            let bits = if case .averageBits(let bits) = options.goal { bits } else { 0.0 }
            return IngotError(
                .usage, found: "\(bits) bits per weight over \(weights) weights, at a relative MSE of 0.5 at most",
                expected: "a rate at which every matrix can be stored", remedy: remedy)
        }
        func size(_ bits: Double) -> UInt64 { otherBytes + UInt64(Double(weights) * bits / 8) }
        return IngotError(
            .usage, found: "a size of \(asked) bytes for \(weights) weights and \(otherBytes) other bytes",
            expected: "from \(size(minimum)) to \(size(maximum)) bytes, and a relative MSE of 0.5 at most",
            remedy: remedy)
    }

    // MARK: - Probing

    private func probe(_ goal: (Item) -> TensorGoal) async throws -> [Finding] { try await probe(tensors.map(goal)) }

    /// Probes every tensor for its goal, `budget.jobs` at a time. The findings are in the order of the tensors.
    private func probe(_ goals: [TensorGoal]) async throws -> [Finding] {
        let options = options
        let tensors = tensors
        var findings: [Finding] = []
        try await budget.pipeline { ProbeWorkspace() }.run(tensors.indices) { index, workspace in
            try RatePlanner.probe(tensors[index], goals[index], options, workspace)
        } consume: {
            findings.append($1)
        }
        return findings
    }

    /// Probes one tensor for its goal.
    private static func probe(
        _ item: Item, _ goal: TensorGoal, _ options: EncodingOptions, _ workspace: ProbeWorkspace
    ) throws -> Finding {
        guard
            var probe = try TensorProbe(
                item.tensor, in: item.file, as: item.prologue, scans: goal.quantity == .error, workspace)
        else { return .notFinite }
        let isOdd = probe.isFewValued || probe.isTooSmall || probe.isZero
        var rate: TensorRate?
        if !probe.isTooSmall {
            guard let found = try probe.rate(for: goal, options, codeWidth: codeWidth(item, options)) else {
                return .notFinite
            }
            rate = found
        }
        guard isOdd else {
            guard let rate else { return .notFinite }
            guard options.goal.isShared, goal.quantity == .error, rate.bits < minimumSmoothBits else {
                return .rate(rate)
            }
            if let fixed = try withFixedStep(rate, item, workspace) { return .rate(fixed) }
            let forms = StoredForms(item.tensor, in: item.file, item.descriptor.format, options.codec, workspace)
            return try replacement(item, goal, forms)
        }
        return try oddFinding(item, goal, options, rate, workspace)
    }

    /// Bits per code under a codec without entropy coder; nil if the goal determines the step instead.
    private static func codeWidth(_ item: Item, _ options: EncodingOptions) -> Int? {
        guard !options.codec.codesEntropy else { return nil }
        var bits = item.ownBits
        if case .bits(let asked) = options.goal { bits = item.choice.bits(asked) }
        return bits.map { UniformParameters.roundingUp(bits: Int($0.rounded(.up))) }
    }

    /// Upper bound for a matrix in codes of `width` bits: one bit per weight more, for the scales of groups.
    private static func maximumBytes(ofWidth width: Int, _ item: Item) -> Double {
        Double(item.weights * (width + 1)) / 8 + Double(item.prologue.fixedBytes)
    }

    /// Encodes the whole tensor at the step of a rate, and at smaller steps while the error is more than 5 % above the goal.
    ///
    /// - Returns: the rate with that step fixed and the exact bytes; nil if no step meets the goal.
    private static func withFixedStep(_ rate: TensorRate, _ item: Item, _ workspace: ProbeWorkspace) throws
        -> TensorRate?
    {
        var descriptor = item.descriptor
        descriptor.scheme = .trellis(rate.parameters)
        let asked = rate.goal.maximum
        var rate = rate
        for _ in 0..<maximumFixedSteps {
            let whole = try workspace.measureWhole(
                item.bytes, as: descriptor.prologue, by: rate.rule)
            guard let whole else { return nil }
            if whole.sums.relativeMSE <= asked * 1.05 {
                rate.goal = .step(byteCount: whole.byteCount)
                rate.relativeMSE = whole.sums.relativeMSE
                return rate
            }
            guard Double(rate.rule.step) > rate.minimumStep else { return nil }
            // The error grows with step^2: half of its octaves. At least 1/8, because few weights can make the error jump.
            let octaves = ExactMath.log2(whole.sums.relativeMSE / asked) / 2
            rate = rate.shifted(by: -min(max(octaves, 0.125), 4))
        }
        return nil
    }

    /// Steps that `withFixedStep` tries at most.
    private static let maximumFixedSteps = 8

    /// The better of scheme `trellis` and the other schemes, for a matrix of few distinct values, of zeros, or of too small weights.
    ///
    /// - Parameter rate: the rate in scheme `trellis`; nil if there is no step for the weights.
    private static func oddFinding(
        _ item: Item, _ goal: TensorGoal, _ options: EncodingOptions, _ rate: TensorRate?, _ workspace: ProbeWorkspace
    ) throws -> Finding {
        let forms = StoredForms(item.tensor, in: item.file, item.descriptor.format, options.codec, workspace)
        let expected = rate?.expectedBytes(weights: item.weights, fixedBytes: item.prologue.fixedBytes)
        if goal.quantity == .error {
            // A size for all tensors together needs the exact bytes of scheme `trellis`.
            let rate = options.goal.isShared ? try rate.flatMap { try withFixedStep($0, item, workspace) } : rate
            let bytes = rate?.goal.maximumBytes ?? expected ?? .infinity
            if let form = try forms.smallest(error: goal.maximum, below: bytes) { return .stored(form) }
            return rate.map { .rate($0) } ?? .notFinite
        }
        let maximum = codeWidth(item, options).map { maximumBytes(ofWidth: $0, item) } ?? goal.maximum
        let isReached = expected.map { $0 <= maximum } ?? false
        let error = isReached ? rate?.relativeMSE ?? .infinity : .infinity
        if let form = try forms.best(bytes: maximum, below: error) { return .stored(form) }
        if let rate { return .rate(rate) }
        // Codes of a fixed width promise no size: `lossless` may take any.
        if codeWidth(item, options) != nil { return try replacement(item, .error(0), forms) }
        return try replacement(item, goal, forms)
    }

    // MARK: - After a miss

    /// Tensors of fewer weights may be kept.
    private static let smallTensor = 4096

    /// Another form for a tensor whose goal scheme `trellis` cannot meet.
    ///
    /// - Throws: `goalUnreachable` if no scheme meets the goal and the tensor has 4096 weights or more.
    private static func replacement(_ item: Item, _ goal: TensorGoal, _ forms: StoredForms) throws -> Finding {
        let form =
            goal.quantity == .error
            ? try forms.smallest(error: min(goal.maximum, RateGoal.errorRange.upperBound), below: .infinity)
            : try forms.best(bytes: goal.maximum, below: .infinity)
        if let form { return .stored(form) }
        if item.weights < smallTensor { return .kept }
        throw IngotError(
            .goalUnreachable, file: item.file.path.string, tensor: item.tensor.name,
            found: "a matrix that no scheme stores in \(Int(goal.maximum)) bytes with a relative MSE of 0.5 at most",
            expected:
                "what was asked for, \(Double(Int(goal.maximum * 80) / item.weights) / 10) bits per weight, to hold for every matrix"
        )
    }

    /// Another form for a tensor that missed its goal when it was encoded. The planner must have been made for its shard alone.
    ///
    /// - Parameters:
    ///   - payload: index of the payload in the shard.
    ///   - goal: nil asks for the smallest form without error.
    /// - Throws: `goalUnreachable` if no scheme meets the goal; errors of reading.
    func replacement(payload: Int, goal: TensorGoal?) throws -> Finding {
        let options = options
        guard let item = tensors.first(where: { $0.payload == payload }) else { return .notFinite }
        let forms = StoredForms(
            item.tensor, in: item.file, item.descriptor.format, options.codec, ProbeWorkspace())
        return try RatePlanner.replacement(item, goal ?? .error(0), forms)
    }
}
