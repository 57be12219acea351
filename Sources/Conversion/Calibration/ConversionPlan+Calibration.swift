import Checkpoints
import Container
import FileAccess
import Moments
import Quantization
import SystemPackage
import TensorModel
import Weights

extension ConversionPlan {
    /// Plans the rates of a calibrated conversion: of calibrated tensors together, of all others as without calibration.
    ///
    /// - Throws: `usage` if the goal is a relative MSE; `momentsInvalid` if no matrix reads an input of the file; errors of reading.
    func calibratedFindings(
        _ planned: [ShardPlan], _ moments: CalibrationMoments, _ budget: MemoryBudget
    ) async throws -> [Findings] {
        if let phase = moments.phase { return try await correctedFindings(planned, moments, phase, budget) }
        var otherBytes: UInt64 = 0
        if case .totalBytes = options.encoding.goal { otherBytes = try bytesBesideTrellis() }
        let rate = try CalibratedRate(planned, options.encoding, otherBytes: otherBytes)
        var items: [CalibratedPlanner.Item] = []
        for (number, shard) in planned.enumerated() {
            for (index, payload) in shard.layout.payloads.enumerated() {
                guard let descriptor = payload.descriptor, case .trellis = descriptor.scheme,
                    let input = moments.input(of: payload.tensor)
                else { continue }
                let choice = ConversionPlan.choice(payload, options.encoding)
                items.append(
                    CalibratedPlanner.Item(
                        shard: number, payload: index, tensor: payload.tensor, file: shard.source.file,
                        descriptor: descriptor, input: input,
                        ownBits: choice.ownBits ?? (choice.isEmbeddingOrHead ? choice.bits(rate.bits) : nil),
                        sensitivity: try moments.sensitivity(of: payload.tensor)))
            }
        }
        guard !items.isEmpty else {
            throw IngotError(
                .momentsInvalid, file: moments.file.path.string, found: "moments of no matrix of this model",
                expected: "moments of this model's linear layers",
                remedy: "gather the moments anew, on the model that is converted")
        }
        let shared = items.filter { $0.ownBits == nil }.reduce(0) { $0 + $1.weights }
        let cache = FactorCache(moments, maximumBytes: budget.factorBytes)
        let found = try await CalibratedPlanner(options.encoding, cache, budget).findings(
            items, bytes: rate.bits * Double(shared) / 8)
        let plannedHere = zip(items, found).compactMap { item, finding in finding.map { _ in item.tensor.name } }
        var plain = options.encoding
        plain.goal = .bits(rate.bits)
        plain.calibration = nil
        var findings = try await RatePlanner(
            planned, plain, otherBytes: 0, allowsSlack: false, includesAll: false,
            excluding: Set(plannedHere), budget
        ).findings()
        for case (let item, let finding?) in zip(items, found) { findings[item.shard][item.payload] = finding }
        return findings
    }

    /// Plans the second phase: output and down projections get the bytes that they had in the first, all other payloads are copied.
    ///
    /// - Throws: `momentsInvalid` if no tensor has a correction; errors of reading.
    private func correctedFindings(
        _ planned: [ShardPlan], _ moments: CalibrationMoments, _ phase: FirstPhase, _ budget: MemoryBudget
    ) async throws -> [Findings] {
        var findings = [Findings](repeating: [:], count: planned.count)
        var items: [CalibratedPlanner.Item] = []
        var bytes = 0.0
        for (number, shard) in planned.enumerated() {
            for (index, plan) in shard.layout.payloads.enumerated() {
                guard let descriptor = plan.descriptor, case .trellis = descriptor.scheme else { continue }
                guard let (payload, _) = phase.payload(of: plan.tensor.name) else {
                    findings[number][index] = .kept
                    continue
                }
                guard moments.isCorrected(plan.tensor), let input = moments.input(of: plan.tensor),
                    case .trellis(let parameters) = payload.descriptor.scheme,
                    let step = try phase.step(of: plan.tensor.name)
                else {
                    findings[number][index] = .copied
                    continue
                }
                var item = CalibratedPlanner.Item(
                    shard: number, payload: index, tensor: plan.tensor, file: shard.source.file,
                    descriptor: descriptor, input: input, ownBits: nil)
                item.first = (step, parameters)
                items.append(item)
                bytes += Double(payload.range.count)
            }
        }
        guard !items.isEmpty else {
            throw IngotError(
                .momentsInvalid, file: phase.correction.file.path.string,
                found: "corrections of no tensor of this model",
                expected: "those of its output and down projections")
        }
        let cache = FactorCache(moments, maximumBytes: budget.factorBytes)
        let found = try await CalibratedPlanner(options.encoding, cache, budget).findings(items, bytes: bytes)
        for (item, finding) in zip(items, found) { findings[item.shard][item.payload] = finding ?? .copied }
        return findings
    }

    /// The layout if all matrices with moments are calibrated, which makes the header longer.
    func calibrated(_ layout: ShardLayout) throws -> ShardLayout {
        guard let moments else { return layout }
        let payloads = layout.payloads.map { plan in
            guard case .trellis(var parameters) = plan.descriptor?.scheme, moments.input(of: plan.tensor) != nil else {
                return plan
            }
            var plan = plan
            parameters.scaleBytes = .columns
            plan.descriptor?.scheme = .trellis(parameters)
            plan.descriptor?.calibrated = .init(calibration: moments.hash)
            return plan
        }
        return try ShardLayout(payloads + layout.kept, sourceMetadata: layout.sourceMetadata)
    }

    static func choice(_ plan: TensorPlan, _ options: EncodingOptions) -> TensorChoice {
        DefaultRecipe.choice(plan.tensor.name, plan.tensor.elementType, plan.tensor.shape, options)
    }
}

/// The bits per weight of the linear layers at which all matrices of scheme `trellis` together meet the goal.
struct CalibratedRate {
    /// Bits per weight of matrices without bits of their own that are no embeddings or heads.
    let bits: Double

    /// - Parameter otherBytes: bytes of the output without payloads of scheme `trellis`; used for a total size.
    /// - Throws: `usage` for a goal in relative MSE, and for one that no rate meets.
    init(_ planned: [ConversionPlan.ShardPlan], _ options: EncodingOptions, otherBytes: UInt64) throws {
        let choices = planned.flatMap(\.layout.payloads).compactMap { payload -> (TensorChoice, Double)? in
            guard case .trellis = payload.descriptor?.scheme else { return nil }
            return (ConversionPlan.choice(payload, options), Double(payload.tensor.shape.elementCount))
        }
        let weights = choices.reduce(0) { $0 + $1.1 }
        let total: Double
        switch options.goal {
        case .bits(let bits):
            self.bits = bits
            return
        case .averageBits(let bits): total = bits * weights
        case .totalBytes(let bytes): total = 8 * (Double(bytes) - Double(otherBytes))
        case .relativeMSE(let error):
            throw IngotError(
                .usage, found: "a relative MSE of \(error) for a calibrated conversion",
                expected: "a rate or a size: a calibrated tensor trades error of weights for error of the model",
                remedy: "ask for bits or a size, or leave the calibration out")
        }
        func taken(_ bits: Double) -> Double { choices.reduce(0) { $0 + $1.0.bits(bits) * $1.1 } }
        let range = RateGoal.bitsRange
        var (low, high) = (range.lowerBound, range.upperBound)
        guard taken(low) <= total, weights > 0 else {
            throw IngotError(
                .usage, found: "\(total / max(weights, 1)) bits per weight for all matrices",
                expected: "at least \(taken(low) / max(weights, 1))", remedy: "ask for more")
        }
        for _ in 0..<60 {
            let middle = (low + high) / 2
            if taken(middle) <= total { low = middle } else { high = middle }
        }
        bits = low
    }
}

extension ConversionPlan.ShardPlan {
    /// Whether a payload is calibrated.
    func isCalibrated(_ payload: Int) -> Bool { encodings[payload].rate?.parameters.scaleBytes != nil }

    /// Whether a payload is copied from the first phase.
    func isCopied(_ payload: Int) -> Bool { if case .copied = encodings[payload] { true } else { false } }

    /// Whether a payload shares its bits with the other linear layers.
    func sharesBits(_ payload: Int, _ options: EncodingOptions) -> Bool {
        let choice = ConversionPlan.choice(layout.payloads[payload], options)
        return isCalibrated(payload) && choice.ownBits == nil && !choice.isEmbeddingOrHead
    }

    /// The plan with larger steps for calibrated payloads that took more bytes than planned: for each alone, or for those that share their bits
    /// together. Nil if none did.
    ///
    /// - Parameter taken: bytes of each payload.
    func tightened(_ taken: [UInt64], _ options: EncodingOptions) -> ConversionPlan.ShardPlan? {
        var shard = self
        var isTighter = false
        func shift(_ payloads: [Int]) {
            let bytes = payloads.reduce(0.0) { $0 + Double(taken[$1]) }
            let maximum = payloads.reduce(0.0) { $0 + encodings[$1].maximumBytes }
            guard bytes > maximum else { return }
            isTighter = true
            let weights = payloads.reduce(0.0) { $0 + Double(layout.payloads[$1].tensor.shape.elementCount) }
            let slope = payloads.reduce(0.0) {
                $0 + (encodings[$1].rate?.slope ?? 1) * Double(layout.payloads[$1].tensor.shape.elementCount)
            }
            // A little more than the excess, because sizes do not follow steps exactly.
            let octaves = ((bytes - maximum) * 1.2 + 128) * 8 / slope
            for payload in payloads where weights > 0 {
                guard let rate = encodings[payload].rate else { continue }
                shard.encodings[payload] = .trellis(rate.shifted(by: octaves))
            }
        }
        let calibrated = layout.payloads.indices.filter(isCalibrated)
        shift(calibrated.filter { sharesBits($0, options) })
        for payload in calibrated where !sharesBits(payload, options) { shift([payload]) }
        return isTighter ? shard : nil
    }
}
