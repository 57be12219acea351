import Checkpoints
import Container
import FileAccess
import Quantization
import SystemPackage
import TensorModel
import Weights
import Work

/// Decides, for every tensor of scheme `trellis`, what it is to hold and how it will be encoded.
struct RatePlanner {
    let options: EncodingOptions
    private let tensors: [Item]
    private let shardCount: Int
    private let budget: MemoryBudget
    private let otherBytes: UInt64
    private let allowsSlack: Bool

    /// A tensor and the place of its payload.
    private struct Item: Sendable {
        let shard: Int, payload: Int
        let tensor: StoredTensor
        let file: MappedFile
        let descriptor: TensorDescriptor
        let isEmbedding: Bool

        var weights: Int { tensor.shape.elementCount }
        var bytes: TensorBytes { tensor.bytes(in: file) }
        var prologue: PayloadPrologue { descriptor.prologue }
        /// What this tensor's error is of the others'.
        var errorFactor: Double { isEmbedding ? RateGoal.embeddingErrorFactor : 1 }
    }

    /// Collects the tensors of some shards that are quantized.
    ///
    /// - Parameters:
    ///   - otherBytes: bytes of the output that are no payload of scheme `trellis`; only a goal of total bytes asks.
    ///   - allowsSlack: whether a plan may seem to exceed a size by a little (`slack`).
    init(
        _ shards: [ConversionPlan.ShardPlan], _ options: EncodingOptions, otherBytes: UInt64, allowsSlack: Bool,
        _ budget: MemoryBudget
    ) {
        self.options = options
        self.budget = budget
        self.otherBytes = otherBytes
        self.allowsSlack = allowsSlack
        shardCount = shards.count
        var tensors: [Item] = []
        for (shard, part) in shards.enumerated() {
            for (index, payload) in part.layout.payloads.enumerated() {
                guard let descriptor = payload.descriptor, descriptor.scheme != .lossless else { continue }
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
        /// A trellis does not suit: the tensor is stored in another scheme.
        case stored(StoredForm)
        /// A small tensor of which no scheme makes as little as was asked for: it stays an ordinary entry.
        case kept

        var rate: TensorRate? { if case .rate(let rate) = self { rate } else { nil } }

        /// What becomes of the tensor, in words.
        var summary: String {
            switch self {
            case .rate: "stored along a trellis"
            case .notFinite: "not finite"
            case .stored(let form): "stored as \(form.scheme.summary) instead"
            case .kept: "kept as it is"
            }
        }
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
            let most = tensors.reduce(0.0) {
                $0 + TensorGoal.bits(bits, weights: $1.weights, fixedBytes: $1.prologue.fixedBytes).most
            }
            let asked = Double(weights) * bits / 8
            // Small matrices may take what their tables do, where there is no other way.
            rates = try await shared([asked, max(most, asked)])
        case .totalBytes(let bytes):
            guard bytes > otherBytes else { throw unreachable() }
            rates = try await shared([Double(bytes - otherBytes)])
        }
        var result = [[Int: Finding]](repeating: [:], count: shardCount)
        for (item, finding) in zip(tensors, rates) { result[item.shard][item.payload] = finding }
        return result
    }

    // MARK: - One error for all

    /// Rounds of trials, and those where a tensor's size does not follow its step smoothly.
    private static let rounds = 4, mostRounds = 12
    /// Bits a weight below which a size hardly follows the step: such a tensor is encoded once to know it.
    private static let leastSmoothBits = 0.5

    /// Shares out the first number of bytes that will do.
    ///
    /// - Throws: `usage` where none will.
    private func shared(_ bytes: [Double]) async throws -> [Finding] {
        let weights = Double(tensors.reduce(0) { $0 + $1.weights })
        guard weights > 0 else { return [] }
        guard let asked = bytes.first, RateGoal.bitsRange.contains(asked * 8 / weights) else { throw unreachable() }
        for number in bytes {
            if let found = try await share(number) { return found }
        }
        throw unreachable()
    }

    /// Shares bytes out so that all tensors have one relative MSE, embeddings and heads 1/16 of it; nil where they are too few.
    private func share(_ bytes: Double) async throws -> [Finding]? {
        let weights = Double(tensors.reduce(0) { $0 + $1.weights })
        // Where a Gaussian would be with so many bits; embeddings have two more.
        let embeddings = Double(tensors.filter(\.isEmbedding).reduce(0) { $0 + $1.weights })
        let bits = bytes * 8 / weights - 2 * embeddings / weights
        var error = ExactMath.exp2(-2 * (max(bits, 0.6) - 0.1))
        var last: (error: Double, bytes: Double)?
        var bounds = ErrorBounds()
        for round in 1...RatePlanner.mostRounds {
            let asked = error
            let found = try await probe { .error(min(asked * $0.errorFactor, 0.9)) }
            // The conversion fails at such a tensor, and says where.
            if found.contains(where: { if case .notFinite = $0 { true } else { false } }) { return found }
            let isSmooth = found.allSatisfy(RatePlanner.isSmooth)
            let isLast = round >= (isSmooth ? RatePlanner.rounds : RatePlanner.mostRounds)
            var (expected, saved) = expectation(found)
            // Two rounds far apart tell what an octave saves.
            if let last, case let octaves = ExactMath.log2(asked / last.error), octaves.magnitude > 0.5 {
                saved = min(saved, max((last.bytes - expected) / octaves, saved / 16))
            }
            last = (asked, expected)
            let octaves = saved > 0 ? (expected - bytes * RatePlanner.aim) / saved : 0
            error = asked * ExactMath.exp2(min(max(octaves, -8), 8))
            // What is left, or missing, goes to all alike.
            let free = zip(tensors, found).reduce(0) { $0 + (RatePlanner.isSmooth($1.1) ? $1.0.weights : 0) }
            let bits = free == 0 ? 0 : (bytes * RatePlanner.aim - expected) * 8 / Double(free)
            if !isSmooth {
                // A size that jumps is searched for between the errors known to be too small and large enough.
                if expected <= bytes * RatePlanner.aim, asked <= options.goal.mostError {
                    let shared = try await finish(found, plus: min(bits, 0.15))
                    bounds.note(asked, shared, holds: mostBytes(shared) <= bytes)
                } else {
                    bounds.note(asked, nil, holds: expected <= bytes * RatePlanner.aim)
                }
                if bounds.areClose { break }
                error = bounds.next(error)
            }
            guard isSmooth || isLast, bits.magnitude < 0.04 || isLast else { continue }
            let shared = try await finish(found, plus: isSmooth ? bits : min(bits, 0.15))
            if asked <= options.goal.mostError { bounds.note(asked, shared, holds: mostBytes(shared) <= bytes + slack) }
            break
        }
        return bounds.best
    }

    /// The search for one relative MSE of all tensors, where their size jumps.
    private struct ErrorBounds {
        /// What the smallest error gave whose size holds.
        private(set) var best: [Finding]?
        private var tooSmall = 0.0, enough = Double.infinity

        mutating func note(_ error: Double, _ found: [Finding]?, holds: Bool) {
            guard holds else {
                tooSmall = max(tooSmall, error)
                return
            }
            guard error < enough else { return }
            enough = error
            best = found
        }

        /// Whether a better error is hardly better.
        var areClose: Bool { best != nil && enough < tooSmall * 1.1 }

        /// The error to try next: the one proposed, or one between the bounds.
        func next(_ proposed: Double) -> Double {
            if proposed > tooSmall * 1.02, proposed < enough * 0.98 { return proposed }
            guard tooSmall > 0 else { return min(proposed, enough / 4) }
            guard enough.isFinite else { return max(proposed, tooSmall * 1.5) }
            return (tooSmall * enough).squareRoot()
        }
    }

    /// Bytes that a plan may seem to be above what was asked for, since payloads mostly stay below their goals and headers below their bounds.
    /// `PromiseCheck` has the last word; where sources go before it, there is no slack.
    private var slack: Double { !allowsSlack ? 0 : Double(64 * tensors.count + 256) }

    /// Whether the size of a tensor follows its step.
    private static func isSmooth(_ finding: Finding) -> Bool {
        finding.rate.map { $0.goal.quantity != .step } ?? false
    }

    /// Aimed at of what there is, so that the whole is never above.
    private static let aim = 0.9985

    /// Bytes of all tensors, and of these what an octave more of error saves: half of it goes into each tensor's step.
    private func expectation(_ found: [Finding]) -> (bytes: Double, saved: Double) {
        var expected = 0.0
        var saved = 0.0
        for (item, finding) in zip(tensors, found) {
            switch finding {
            case .rate(let rate):
                expected +=
                    rate.goal.quantity == .step
                    ? rate.goal.most : rate.expectedBytes(weights: item.weights, fixedBytes: item.prologue.fixedBytes)
                saved += rate.slope * Double(item.weights) / 16
            case .stored(let form): expected += Double(form.byteCount)
            case .notFinite, .kept: expected += Double(item.tensor.byteCount) + Double(item.prologue.fixedBytes)
            }
        }
        return (expected, saved)
    }

    /// Gives every tensor its bytes: `bits` a weight more than expected where the size follows the step.
    private func finish(_ found: [Finding], plus bits: Double) async throws -> [Finding] {
        let shared = zip(tensors, found).map { item, finding in
            finding.rate.map { $0.goal.quantity == .step ? $0 : fixed($0, plus: bits, item) }
        }
        guard bits.magnitude < 0.15 else {
            let again = try await probe(shared.map { $0?.goal ?? .error(1) })
            return zip(found, again).map { first, second in
                RatePlanner.isSmooth(first) ? second : first
            }
        }
        return zip(shared, found).map { rate, finding in rate.map { .rate($0) } ?? finding }
    }

    /// The most bytes that tensors may take together by their goals.
    private func mostBytes(_ found: [Finding]) -> Double {
        zip(tensors, found).reduce(0) { sum, pair in
            switch pair.1 {
            case .rate(let rate): sum + (rate.goal.mostBytes ?? 0)
            case .stored(let form): sum + Double(form.byteCount)
            case .notFinite, .kept: sum
            }
        }
    }

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

    /// The failure of a goal that all tensors share.
    private func unreachable() -> IngotError {
        let weights = UInt64(tensors.reduce(0) { $0 + $1.weights })
        let (least, most) = (RateGoal.bitsRange.lowerBound, RateGoal.bitsRange.upperBound)
        let remedy = Remedy.either("ask for more", or: .option(.planAtRelativeMSE(0.1)))
        guard case .totalBytes(let asked) = options.goal else {
            let bits = if case .averageBits(let bits) = options.goal { bits } else { 0.0 }
            return IngotError(
                .usage, found: "\(bits) bits per weight over \(weights) weights, at a relative MSE of 0.5 at most",
                expected: "a rate that every matrix can have a part in", remedy: remedy)
        }
        func size(_ bits: Double) -> UInt64 { otherBytes + UInt64(Double(weights) * bits / 8) }
        return IngotError(
            .usage, found: "a size of \(asked) bytes for \(weights) weights and \(otherBytes) other bytes",
            expected: "from \(size(least)) to \(size(most)) bytes, and a relative MSE of 0.5 at most", remedy: remedy)
    }

    // MARK: - Probing

    private func probe(_ goal: (Item) -> TensorGoal) async throws -> [Finding] { try await probe(tensors.map(goal)) }

    /// Probes every tensor for its goal, as many at a time as there are jobs.
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
            guard options.goal.isShared, goal.quantity == .error, rate.bits < leastSmoothBits else {
                return .rate(rate)
            }
            if let held = try hold(rate, item, workspace) { return .rate(held) }
            let forms = StoredForms(item.tensor, in: item.file, item.descriptor.format, options.codec, workspace)
            return try replacement(item, goal, forms)
        }
        return try oddFinding(item, goal, options, rate, workspace)
    }

    /// The width of codes that are not entropy coded; nil where a goal decides on the step.
    private static func codeWidth(_ item: Item, _ options: EncodingOptions) -> Int? {
        guard !options.codec.codesEntropy, case .bits(let bits) = options.goal else { return nil }
        return UniformParameters.roundingUp(
            bits: Int(DefaultRecipe.bits(bits, isEmbeddingOrHead: item.isEmbedding)))
    }

    /// Bytes of a matrix in codes of a fixed width and no entropy coder: scales of groups come on top.
    private static func mostBytes(ofWidth width: Int, _ item: Item) -> Double {
        Double(item.weights * (width + 1)) / 8 + Double(item.prologue.fixedBytes)
    }

    /// Encodes a tensor with the step that was found, or a smaller one that holds its error; the step stays, so that the bytes are known.
    ///
    /// - Returns: nil where no step holds the error.
    private static func hold(_ rate: TensorRate, _ item: Item, _ workspace: ProbeWorkspace) throws -> TensorRate? {
        var descriptor = item.descriptor
        descriptor.scheme = .trellis(rate.parameters)
        let asked = rate.goal.most
        var rate = rate
        for _ in 0..<mostHeldSteps {
            let whole = try workspace.measureWhole(
                item.bytes, as: descriptor.prologue, by: rate.rule)
            guard let whole else { return nil }
            if whole.sums.relativeMSE <= asked * 1.05 {
                rate.goal = .step(byteCount: whole.byteCount)
                rate.relativeMSE = whole.sums.relativeMSE
                return rate
            }
            guard Double(rate.rule.step) > rate.leastStep else { return nil }
            // Half the octaves of the error, and at least an eighth, since the error jumps where few weights make it.
            let octaves = ExactMath.log2(whole.sums.relativeMSE / asked) / 2
            rate = rate.shifted(by: -min(max(octaves, 0.125), 4))
        }
        return nil
    }

    /// Steps that are tried for a tensor whose size jumps.
    private static let mostHeldSteps = 8

    /// The better of a trellis and the other forms, for a matrix of few values or of too small ones.
    ///
    /// - Parameter rate: that of a trellis; nil where none suits.
    private static func oddFinding(
        _ item: Item, _ goal: TensorGoal, _ options: EncodingOptions, _ rate: TensorRate?, _ workspace: ProbeWorkspace
    ) throws -> Finding {
        let forms = StoredForms(item.tensor, in: item.file, item.descriptor.format, options.codec, workspace)
        let expected = rate?.expectedBytes(weights: item.weights, fixedBytes: item.prologue.fixedBytes)
        if goal.quantity == .error {
            // Where bytes are shared out, those of the trellis must be known.
            let rate = options.goal.isShared ? try rate.flatMap { try hold($0, item, workspace) } : rate
            let bytes = rate?.goal.mostBytes ?? expected ?? .infinity
            if let form = try forms.smallest(error: goal.most, below: bytes) { return .stored(form) }
            return rate.map { .rate($0) } ?? .notFinite
        }
        let most = codeWidth(item, options).map { mostBytes(ofWidth: $0, item) } ?? goal.most
        let isReached = expected.map { $0 <= most } ?? false
        let error = isReached ? rate?.relativeMSE ?? .infinity : .infinity
        if let form = try forms.best(bytes: most, below: error) { return .stored(form) }
        if let rate { return .rate(rate) }
        // Codes of a fixed width promise no size.
        if codeWidth(item, options) != nil { return try replacement(item, .error(0), forms) }
        return try replacement(item, goal, forms)
    }

    // MARK: - After a miss

    /// Tensors of fewer weights may stay ordinary entries.
    private static let smallTensor = 4096

    /// What becomes of a tensor whose goal no trellis holds.
    ///
    /// - Throws: `goalUnreachable` where no scheme holds it.
    private static func replacement(_ item: Item, _ goal: TensorGoal, _ forms: StoredForms) throws -> Finding {
        let form =
            goal.quantity == .error
            ? try forms.smallest(error: min(goal.most, RateGoal.errorRange.upperBound), below: .infinity)
            : try forms.best(bytes: goal.most, below: .infinity)
        if let form { return .stored(form) }
        if item.weights < smallTensor { return .kept }
        throw IngotError(
            .goalUnreachable, file: item.file.path.string, tensor: item.tensor.name,
            found: "a matrix that no scheme stores in \(Int(goal.most)) bytes with a relative MSE of 0.5 at most",
            expected:
                "what was asked for, \(Double(Int(goal.most * 80) / item.weights) / 10) bits per weight, to hold for every matrix"
        )
    }

    /// What becomes of a tensor of the shard that missed its goal when it was encoded.
    ///
    /// - Parameter goal: nil for the least error there is, whatever it takes.
    func replacement(payload: Int, goal: TensorGoal?) throws -> Finding {
        let options = options
        guard let item = tensors.first(where: { $0.payload == payload }) else { return .notFinite }
        let forms = StoredForms(
            item.tensor, in: item.file, item.descriptor.format, options.codec, ProbeWorkspace())
        return try RatePlanner.replacement(item, goal ?? .error(0), forms)
    }
}
