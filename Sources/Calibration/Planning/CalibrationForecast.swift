package import Moments
package import TensorModel
import Weights

/// What `calibrate` and `evaluate` of a model would take on this machine: memory, files, operations, and time.
package struct CalibrationForecast: Sendable {
    /// What is asked for.
    package struct Options: Sendable, Hashable {
        /// Tokens of the text, and of a sequence.
        package var tokens: Int, context = 512
        /// Blocks of the moments.
        package var blocks = MomentBlocks.usual
        /// Tokens that gradients are taken on at most; 0 for none.
        package var gradientTokens = GradientSelection.usualTokens
        /// Budget of both runs in bytes, and their jobs. A budget that is too small counts as the least one.
        package var memory: UInt64 = 2 << 30, jobs = 1

        /// The defaults of the command.
        package init(tokens: Int) { self.tokens = tokens }
    }

    /// Forecast of one run.
    package struct Run: Sendable {
        /// The least budget in bytes.
        package let leastMemory: UInt64
        /// The budget that the other figures are for.
        package let memory: UInt64
        /// Whether the states of all tokens stay in memory; otherwise they are in a scratch file.
        package let keepsStates: Bool
        /// How many times the weights are read: once for each group of sequences.
        package let passes: Int
        /// Floating-point operations of matrix products.
        package let operations: Double
        /// Seconds of each part, without reading the weights and states from a disk.
        package let parts: Parts
        /// Seconds of all parts.
        package var seconds: Double { parts.all.reduce(0) { $0 + $1.seconds } }
    }

    /// Seconds of the parts of a run.
    package struct Parts: Sendable, Hashable {
        /// Products with the weights of layers and head; attention; logits of the vocabulary. All jobs share them.
        package var products = 0.0, attention = 0.0, logits = 0.0
        /// Sums of moments, in two threads.
        package var moments = 0.0
        /// Steps between products, and the choice of shrinkages, in one thread.
        package var steps = 0.0, shrinkage = 0.0
        /// The gradients, with all of their parts.
        package var gradients = 0.0

        /// The parts with their names, in the order of a run.
        var all: [(name: String, seconds: Double)] {
            [
                ("products", products), ("attention", attention), ("steps", steps), ("moments", moments),
                ("shrinkage", shrinkage), ("logits", logits), ("gradients", gradients),
            ]
        }
    }

    /// What gradients need.
    package struct Gradients: Sendable {
        /// Tokens that they are taken on.
        package let tokens: Int
        /// Bytes of the inputs of all layers, and whether they stay in memory; otherwise they are in a scratch file.
        package let statesBytes: UInt64, keepsStates: Bool
    }

    /// The options.
    package let options: Options
    /// Number of sequences.
    package let sequences: Int
    /// Bytes of the states of all tokens.
    package let statesBytes: UInt64
    /// Bytes of the file of moments.
    package let momentsBytes: UInt64
    /// Bytes of the model's files.
    package let weightBytes: UInt64
    /// Measured operations per second: products with weights by all jobs, and sums of moments by two threads.
    package let productRate: Double, momentRate: Double
    /// The gradients of `calibrate`; nil if there are none.
    package let gradients: Gradients?
    /// The runs.
    package let calibrate: Run, evaluate: Run

    /// Most tokens of a text that can be asked about.
    package static let maximumTokens = 1 << 36

    /// Makes a forecast. It measures this machine for about half a second.
    ///
    /// - Throws: `usage` if there are fewer tokens than a run takes, or more than `maximumTokens`; if the model was not made for such a
    ///   context; `momentsInvalid` for blocks that no file can hold; `libraryMissing`.
    package init(_ model: EvaluatedModel, _ options: Options) async throws {
        var run = EvaluationOptions()
        run.context = options.context
        guard options.context >= 2, options.tokens / max(1, options.context) >= MomentSums.halves,
            options.tokens <= CalibrationForecast.maximumTokens, options.gradientTokens >= 0
        else {
            throw IngotError(
                .usage, found: "\(options.tokens) tokens in sequences of \(options.context)",
                expected: "\(MomentSums.halves) sequences of 2 tokens at least, 2^36 tokens at most")
        }
        let (weights, h) = (model.weights, model.weights.hyperparameters)
        try run.requireContext(of: weights)
        let sequences = options.tokens / options.context
        (self.options, self.sequences) = (options, sequences)
        statesBytes = UInt64(sequences * options.context) * UInt64(h.hidden) * 4
        weightBytes = model.checkpoint.fileBytes
        var description = MomentsDescription()
        (description.blocks, description.family) = (options.blocks, h.family.rawValue)
        let chosen =
            options.gradientTokens > 0 ? min(sequences, max(1, options.gradientTokens / options.context)) : 0
        let layout = chosen > 0 ? try GradientGatherer.layout(h) : nil
        if chosen > 0 { description.gradients = GradientsDescription(tokens: UInt64(chosen * options.context)) }
        momentsBytes = try MomentsWriter.byteCount(
            MomentsLayout(Calibrator.inputs(h), gradients: layout), description)

        let rates = try await MachineRates(h, jobs: options.jobs, context: options.context, options.blocks)
        (productRate, momentRate) = (rates.products, rates.moments)
        let work = ModelWork(
            h, sequences: sequences, context: options.context, unscored: options.context / 2, options.blocks)
        var common = Parts()
        common.products = work.layers / rates.products
        common.attention = work.attention / rates.attention
        common.steps = work.steps * rates.step
        func forecast(
            reserved: UInt64, gradientsNeed: UInt64, _ operations: Double, _ parts: Parts
        ) throws -> Run {
            let least = max(
                EvaluationBudget.least([weights], context: options.context, reserved: reserved), gradientsNeed)
            let memory = max(options.memory, least)
            let budget = try EvaluationBudget(
                bytes: memory, jobs: options.jobs, [weights], sequences: sequences, context: options.context,
                reserved: reserved)
            return Run(
                leastMemory: least, memory: memory, keepsStates: budget.keepsStates,
                passes: ceilingDivide(sequences, budget.sequencesPerGroup),
                operations: work.layers + work.attention + operations, parts: parts)
        }
        var (gathering, scoring) = (common, common)
        gathering.moments =
            work.moments / rates.moments + work.diagonals * rates.step / Double(MomentSums.halves)
        gathering.shrinkage = work.factored * rates.factored
        scoring.products += work.head / rates.products
        scoring.logits = work.logits * rates.logit / Double(options.jobs)
        guard chosen > 0 else {
            gradients = nil
            calibrate = try forecast(
                reserved: Calibrator.momentBytes(h, options.blocks), gradientsNeed: 0, work.moments, gathering)
            evaluate = try forecast(reserved: 0, gradientsNeed: 0, work.head, scoring)
            return
        }
        let backward = ModelWork.Gradients(h, sequences: chosen, context: options.context)
        gathering.gradients =
            backward.products / rates.products + backward.attention / rates.attention + backward.steps * rates.step
            + backward.logits * rates.step / Double(options.jobs)
        calibrate = try forecast(
            reserved: Calibrator.momentBytes(h, options.blocks),
            gradientsNeed: GradientBudget.least(weights, options.blocks, context: options.context),
            work.moments + backward.products + backward.attention, gathering)
        evaluate = try forecast(reserved: 0, gradientsNeed: 0, work.head, scoring)
        let budget = try GradientBudget(
            bytes: calibrate.memory, jobs: options.jobs, weights, options.blocks, sequences: chosen,
            context: options.context)
        gradients = Gradients(
            tokens: chosen * options.context,
            statesBytes: GradientBudget.statesBytes(h, tokens: chosen * options.context),
            keepsStates: budget.keepsStates)
    }

    /// The forecast as JSON: the member `calibration` of schema `ingot.plan` (Specs/json.md).
    package var json: JSONValue {
        func run(_ run: Run) -> JSONValue {
            .object([
                .init("least_memory_bytes", .unsigned(run.leastMemory)), .init("memory_bytes", .unsigned(run.memory)),
                .init("states_in_memory", .bool(run.keepsStates)), .init("passes", .unsigned(UInt64(run.passes))),
                .init("operations", .number(run.operations)), .init("seconds", .number(run.seconds)),
                .init("seconds_of", .object(run.parts.all.map { .init($0.name, .number($0.seconds)) })),
            ])
        }
        return .object([
            .init("tokens", .unsigned(UInt64(sequences * options.context))),
            .init("context", .unsigned(UInt64(options.context))), .init("sequences", .unsigned(UInt64(sequences))),
            .init("blocks", .string(options.blocks.text)), .init("jobs", .unsigned(UInt64(options.jobs))),
            .init("weight_bytes", .unsigned(weightBytes)), .init("states_bytes", .unsigned(statesBytes)),
            .init("moments_bytes", .unsigned(momentsBytes)),
            .init("operations_per_second", .number(productRate)),
            .init("moment_operations_per_second", momentRate.isFinite ? .number(momentRate) : .null),
            .init(
                "gradients",
                gradients.map {
                    .object([
                        .init("tokens", .unsigned(UInt64($0.tokens))), .init("states_bytes", .unsigned($0.statesBytes)),
                        .init("states_in_memory", .bool($0.keepsStates)),
                    ])
                } ?? .null),
            .init("calibrate", run(calibrate)), .init("evaluate", run(evaluate)),
        ])
    }
}
