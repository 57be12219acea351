package import TensorModel

/// Error feedback inside blocks (Specs/exports.md), one row at a time.
extension Reference {
    /// The format of a block or group.
    package struct BlockFeedbackRule: Sendable {
        /// Columns of a sub-block; nil for a group.
        package var part: Int?
        /// Whether weights have an offset, whether levels are those of IQ4_NL, and whether scales of groups may be negative.
        package var affine = false, codebook = false, negative = false
        /// The lowest and the highest level, and the least and the greatest sub-scale.
        package var lowest: Float, highest: Float, least: Float = 0, greatest: Float = 0
        /// The level whose code is 0; without meaning for the codebook.
        package var first: Float
        /// The format of steps and offsets.
        package var format = FloatFormat.f16

        private init(
            part: Int?, affine: Bool, lowest: Float, highest: Float, least: Float = 0, greatest: Float = 0
        ) {
            (self.part, self.affine, self.lowest, self.highest) = (part, affine, lowest, highest)
            (self.least, self.greatest, first) = (least, greatest, lowest)
        }

        /// The rule of a ggml type; nil if it has none.
        package init?(_ type: BlockType) {
            switch type {
            case .q2_K: self.init(part: 16, affine: true, lowest: 0, highest: 3, greatest: 15)
            case .q4_K: self.init(part: 32, affine: true, lowest: 0, highest: 15, greatest: 63)
            case .q5_K: self.init(part: 32, affine: true, lowest: 0, highest: 31, greatest: 63)
            case .q3_K: self.init(part: 16, affine: false, lowest: -4, highest: 3, least: -32, greatest: 31)
            case .q6_K: self.init(part: 16, affine: false, lowest: -32, highest: 31, least: -128, greatest: 127)
            case .iq4_xs: self.init(part: 32, affine: false, lowest: -127, highest: 113, least: -32, greatest: 31)
            case .q4_1: self.init(part: nil, affine: true, lowest: 0, highest: 15)
            case .q5_1: self.init(part: nil, affine: true, lowest: 0, highest: 31)
            case .q4_0: self.init(part: nil, affine: false, lowest: -8, highest: 7)
            case .q5_0: self.init(part: nil, affine: false, lowest: -16, highest: 15)
            case .q8_0: self.init(part: nil, affine: false, lowest: -127, highest: 127)
            case .iq4_nl: self.init(part: nil, affine: false, lowest: -127, highest: 113)
            default: return nil
            }
            codebook = type == .iq4_xs || type == .iq4_nl
            negative = type == .q4_0 || type == .q5_0 || type == .iq4_nl
            if type == .q8_0 { first = 0 }
        }

        /// The rule of affine or symmetric groups.
        package init(isSymmetric: Bool, bits: Int, _ format: FloatFormat) {
            let half = Float(1 << (bits - 1))
            self.init(
                part: nil, affine: !isSymmetric, lowest: isSymmetric ? -half : 0,
                highest: isSymmetric ? half - 1 : 2 * half - 1)
            self.format = format
            negative = isSymmetric
        }

        /// The distance of neighbouring trials without feedback, in levels.
        var unit: Float { codebook ? 10 : 1 }

        /// Number of trials of a group.
        var trials: Int {
            let span = highest - lowest
            if codebook || span > 7 && span <= 31 { return 15 }
            return span <= 7 ? 25 : span <= 63 ? 10 : 5
        }
    }

    /// What the search makes of a block of one row.
    package struct BlockFeedbackRow: Sendable {
        /// Codes, and of super-blocks the sub-scales and mins.
        package var codes: [UInt8] = [], scales: [Int] = [], mins: [Int] = []
        /// d and dmin of a super-block; scale and bias of a group.
        package var step: Float = 0, offset: Float = 0
        /// Restored weights, and weights minus restored weights.
        package var restored: [Float] = [], errors: [Float] = []
    }

    /// Quantizes one block of one row.
    ///
    /// - Parameters:
    ///   - targets: the weights plus what errors of earlier blocks carry over.
    ///   - coupling: how much column j takes of the error of column i, for i < j: row i, then column j.
    ///   - importance: of each column, for the searches without feedback; nil for the squares of the pivots.
    ///   - scale: of a group, if it is known already.
    package static func blockFeedback(
        _ rule: BlockFeedbackRule, weights: [Float], targets: [Float], coupling: [Float], pivots: [Float],
        importance: [Float]? = nil, scale: Float? = nil
    ) -> BlockFeedbackRow {
        ReferenceBlock(rule, weights, targets, coupling, pivots, importance ?? pivots.map { $0 * $0 }).searched(scale)
    }
}

/// The search of one block.
private struct ReferenceBlock {
    /// A scale and an offset that explain a part of a weighted sum of squares.
    struct Fit {
        var scale: Float, offset: Float, gain: Float
        static let none = -Float.greatestFiniteMagnitude
    }

    /// What a pass decides.
    struct Choice {
        var step: Float, offset: Float
        var loss: Float = 0
        var scales: [Float] = [], mins: [Float] = [], levels: [Float] = [], residuals: [Float] = []
    }

    /// Sums over the values of a sub-block.
    struct Lines {
        var lowest: Float, range: Float, total: Float = 0, sum: Float = 0
        var above: [Float] = [], products: [Float] = [], importance: [Float]
    }

    static let codebook: [Float] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]

    let rule: Reference.BlockFeedbackRule
    let weights: [Float], start: [Float], coupling: [Float], pivots: [Float], importance: [Float]
    let parts: [Range<Int>]

    init(
        _ rule: Reference.BlockFeedbackRule, _ weights: [Float], _ targets: [Float], _ coupling: [Float],
        _ pivots: [Float], _ importance: [Float]
    ) {
        (self.rule, self.weights, start, self.coupling) = (rule, weights, targets, coupling)
        (self.pivots, self.importance) = (pivots, importance)
        let side = rule.part ?? weights.count
        parts = stride(from: 0, to: weights.count, by: side).map { $0..<min($0 + side, weights.count) }
    }

    func factor(_ i: Int, _ j: Int) -> Float { coupling[i * weights.count + j] }

    // MARK: - Numbers

    static func bounded(_ value: Float, _ low: Float, _ high: Float) -> Float {
        let above = value > low ? value : low
        return above < high ? above : high
    }

    /// The nearest whole number within bounds; never -0.
    static func nearest(_ value: Float, _ low: Float, _ high: Float) -> Float {
        bounded(value, low, high).rounded(.toNearestOrEven) + 0
    }

    static func inverse(_ value: Float) -> Float { value == 0 ? 0 : 1 / value }

    static func level(_ position: Float, codebook: Bool, _ low: Float, _ high: Float) -> Float {
        guard codebook else { return nearest(position, low, high) }
        let values = ReferenceBlock.codebook
        for index in 0..<values.count - 1 where position < (values[index] + values[index + 1]) / 2 {
            return values[index]
        }
        return values[values.count - 1]
    }

    func level(_ position: Float) -> Float {
        ReferenceBlock.level(position, codebook: rule.codebook, rule.lowest, rule.highest)
    }

    func stored(_ value: Float) -> Float {
        let limit = rule.format == .f16 ? 65504 : Float(sign: .plus, exponent: 118, significand: 1)
        let bounded = ReferenceBlock.bounded(value, -limit, limit)
        return Reference.expanded(Reference.narrowed(bounded, rule.format), rule.format) + 0
    }

    // MARK: - Fits without feedback

    static func ray(
        _ values: [Float], _ importance: [Float], _ inverse: Float, codebook: Bool, _ low: Float, _ high: Float
    ) -> Fit {
        var products: Float = 0
        var squares: Float = 0
        for (value, weight) in zip(values, importance) {
            let level = level(value * inverse, codebook: codebook, low, high)
            let weighted = level * weight
            products += weighted * value
            squares += weighted * level
        }
        let scale = products / squares
        return Fit(scale: scale, offset: 0, gain: squares > 0 ? scale * products : Fit.none)
    }

    static func extreme(_ values: [Float]) -> Float {
        var extreme: Float = 0
        for value in values where value.magnitude > extreme.magnitude { extreme = value }
        return extreme
    }

    static func bestRay(
        _ values: [Float], _ importance: [Float], codebook: Bool = false, _ low: Float, _ high: Float, base: Float,
        unit: Float, half: Int
    ) -> Float {
        let extreme = extreme(values)
        var best = Fit(scale: extreme * (1 / base), offset: 0, gain: Fit.none)
        for k in -half...half {
            let inverse = inverse(extreme) * (base + unit * Float(k))
            let fit = ray(values, importance, inverse, codebook: codebook, low, high)
            if fit.gain > best.gain { best = fit }
        }
        return best.scale
    }

    static func lines(_ values: [Float], _ importance: [Float], floor: Bool) -> Lines {
        var low = values[0]
        var high = values[0]
        for value in values {
            low = value < low ? value : low
            high = value > high ? value : high
        }
        if floor { low = low < 0 ? low : 0 }
        var lines = Lines(lowest: low, range: high - low, importance: importance)
        for (value, weight) in zip(values, importance) {
            let above = value - low
            lines.above.append(above)
            lines.products.append(above * weight)
            lines.total += weight
            lines.sum += above * weight
        }
        return lines
    }

    func line(_ lines: Lines, _ inverse: Float, floor: Bool) -> Fit {
        var levels: Float = 0
        var squares: Float = 0
        var products: Float = 0
        for index in lines.above.indices {
            let position = lines.above[index] * inverse
            let level = (position < rule.highest ? position : rule.highest).rounded(.toNearestOrEven) + 0
            let weighted = level * lines.importance[index]
            levels += weighted
            squares += weighted * level
            products += level * lines.products[index]
        }
        let most = lines.total * squares
        let determinant = most - levels * levels
        let divisor = 1 / determinant
        let scale = (lines.total * products - lines.sum * levels) * divisor
        let lift = (levels * products - squares * lines.sum) * divisor
        let gain = scale * products - lift * lines.sum
        let offset = lift - lines.lowest
        let isSolved = determinant > most * 1e-5
        if floor && (offset < 0 || !isSolved) {
            let moved = products + lines.lowest * levels
            let slope = moved / squares
            let explained = lines.lowest * (lines.sum + lines.sum + lines.lowest * lines.total)
            return Fit(scale: slope, offset: 0, gain: squares > 0 ? slope * moved - explained : Fit.none)
        }
        let isThere = floor ? squares > 0 : isSolved
        return Fit(scale: scale, offset: offset, gain: isThere ? gain : Fit.none)
    }

    func bestLine(_ values: [Float], _ importance: [Float]) -> Fit {
        let lines = ReferenceBlock.lines(values, importance, floor: true)
        var best = Fit(scale: lines.range * (1 / rule.highest), offset: -lines.lowest, gain: Fit.none)
        for k in -9...9 {
            let inverse = ReferenceBlock.inverse(lines.range) * (rule.highest + 0.1 * Float(k))
            let fit = line(lines, inverse, floor: true)
            if fit.gain > best.gain { best = fit }
        }
        return best
    }

    /// The best scale and offset of a sub-block without feedback.
    func ideal(_ values: [Float], _ importance: [Float]) -> Fit {
        if rule.affine { return bestLine(values, importance) }
        let scale = ReferenceBlock.bestRay(
            values, importance, codebook: rule.codebook, rule.lowest, rule.highest, base: rule.lowest,
            unit: 0.1 * rule.unit, half: 9)
        return Fit(scale: scale, offset: 0, gain: 0)
    }

    // MARK: - Feedback

    /// Quantizes the columns of a sub-block. `targets` are those of all columns of the block, as earlier sub-blocks left them.
    func trial(
        _ part: Range<Int>, _ targets: [Float], scale: Float, offset: Float
    ) -> (loss: Float, levels: [Float], residuals: [Float], errors: [Float]) {
        var result: (loss: Float, levels: [Float], residuals: [Float], errors: [Float]) = (0, [], [], [])
        let inverse = ReferenceBlock.inverse(scale)
        for j in part {
            var target = targets[j]
            for i in part.lowerBound..<j { target.addProduct(result.errors[i - part.lowerBound], factor(i, j)) }
            let level = level((target + offset) * inverse)
            let restored = scale * level - offset
            let residual = (target - restored) * pivots[j]
            result.errors.append(weights[j] - restored)
            result.levels.append(level)
            result.residuals.append(residual)
            result.loss += residual * residual
        }
        return result
    }

    /// Sub-scale and min of a sub-block.
    func searchedPart(_ part: Range<Int>, _ targets: [Float], _ choice: Choice) -> (scale: Float, min: Float) {
        let ideal = ideal(Array(targets[part]), Array(importance[part]))
        let (least, greatest) = (rule.least, rule.greatest)
        let middle = ReferenceBlock.nearest(ideal.scale * ReferenceBlock.inverse(choice.step), least, greatest)
        let middleMin =
            rule.affine
            ? ReferenceBlock.nearest(ideal.offset * ReferenceBlock.inverse(choice.offset), 0, greatest) : 0
        var tried: [(scale: Float, min: Float)] = []
        if rule.affine {
            for a in -2...2 {
                for b in -2...2 {
                    tried.append(
                        (
                            ReferenceBlock.nearest(middle + Float(a), least, greatest),
                            ReferenceBlock.nearest(middleMin + Float(b), 0, greatest)
                        ))
                }
            }
        } else {
            for centre in [middle, -middle] {
                for a in -2...2 { tried.append((ReferenceBlock.nearest(centre + Float(a), least, greatest), 0)) }
            }
        }
        var best = Float.greatestFiniteMagnitude
        var chosen = (scale: middle, min: middleMin)
        for candidate in tried {
            let offset = rule.affine ? choice.offset * candidate.min : 0
            let loss = trial(part, targets, scale: choice.step * candidate.scale, offset: offset).loss
            if loss < best { (best, chosen) = (loss, candidate) }
        }
        return chosen
    }

    /// Quantizes all columns with the steps of a choice.
    func pass(step: Float, offset: Float) -> Choice {
        var choice = Choice(step: step, offset: offset)
        var targets = start
        for part in parts {
            let searched: (scale: Float, min: Float) =
                rule.part == nil ? (1, rule.affine ? 1 : 0) : searchedPart(part, targets, choice)
            choice.scales.append(searched.scale)
            choice.mins.append(searched.min)
            let made = trial(part, targets, scale: step * searched.scale, offset: offset * searched.min)
            choice.loss += made.loss
            choice.levels += made.levels
            choice.residuals += made.residuals
            for j in part.upperBound..<max(weights.count, part.upperBound) {
                for i in part { targets[j].addProduct(made.errors[i - part.lowerBound], factor(i, j)) }
            }
        }
        return choice
    }

    // MARK: - Steps

    /// d and dmin of a super-block before the first pass.
    func firstSteps() -> (step: Float, offset: Float) {
        let fits = parts.map { ideal(Array(start[$0]), Array(importance[$0])) }
        let totals = parts.map { importance[$0].reduce(0, +) }
        let (least, greatest) = (rule.least, rule.greatest)
        guard rule.affine else {
            let step = ReferenceBlock.bestRay(
                fits.map(\.scale), totals, least, greatest, base: least, unit: 0.1, half: 9)
            return (stored(step), 0)
        }
        let steps = [fits.map(\.scale), fits.map(\.offset)].map { values in
            ReferenceBlock.bestRay(
                values, totals, 0, greatest, base: greatest, unit: greatest > 20 ? 0.25 : 0.1, half: 6)
        }
        return (stored(steps[0] > 0 ? steps[0] : 0), stored(steps[1] > 0 ? steps[1] : 0))
    }

    /// The k-th trial of a group.
    func groupTrial(_ k: Int, _ lines: Lines?) -> (step: Float, offset: Float) {
        let last = rule.trials - 1
        if let lines {
            let reach = rule.highest + (Float(k) * (2.2 / Float(last)) - 1.2)
            let fit = line(lines, ReferenceBlock.inverse(lines.range) * reach, floor: false)
            guard fit.gain > Fit.none else {
                return (stored(lines.range * (1 / rule.highest)), stored(-lines.lowest))
            }
            return (stored(fit.scale), stored(fit.offset))
        }
        let extreme = ReferenceBlock.extreme(start)
        let (place, places) = rule.negative ? (k / 2, last / 2) : (k, last)
        let reach = (Float(place) * (2.2 / Float(places)) - 1.2) * rule.unit - rule.lowest
        let size = rule.negative ? (k % 2 == 1 ? extreme : -extreme) : extreme.magnitude
        let inverse = ReferenceBlock.inverse(size) * reach
        let fit = ReferenceBlock.ray(
            start, importance, inverse, codebook: rule.codebook, rule.lowest, rule.highest)
        return (stored(fit.gain > Fit.none ? fit.scale : ReferenceBlock.inverse(inverse)), 0)
    }

    /// Scale and offset of a group before its refits.
    func searchedGroup() -> (step: Float, offset: Float) {
        let lines = rule.affine ? ReferenceBlock.lines(start, importance, floor: false) : nil
        var best = Float.greatestFiniteMagnitude
        var chosen = groupTrial(0, lines)
        for k in 0..<rule.trials {
            let steps = groupTrial(k, lines)
            let loss = trial(0..<weights.count, start, scale: steps.step, offset: steps.offset).loss
            if loss < best { (best, chosen) = (loss, steps) }
        }
        return chosen
    }

    /// The steps that fit best while levels, sub-scales and mins stay.
    func refit(_ best: Choice) -> (step: Float, offset: Float) {
        var (squares, crossed, ones) = (Float(0), Float(0), Float(0))
        var (wholeSquares, wholeOnes) = (Float(0), Float(0))
        for j in weights.indices {
            var whole = start[j]
            for i in 0..<j { whole.addProduct(weights[i], factor(i, j)) }
            whole *= pivots[j]
            var scaled = whole - best.residuals[j]
            if rule.affine {
                var one: Float = 0
                for (number, part) in parts.enumerated() where part.lowerBound <= j {
                    var sum: Float = 0
                    for i in part where i < j { sum += factor(i, j) }
                    if part.contains(j) { sum += 1 }
                    one += best.mins[number] * (sum * pivots[j])
                }
                scaled += best.offset * one
                crossed += scaled * one
                ones += one * one
                wholeOnes += whole * one
            }
            squares += scaled * scaled
            wholeSquares += whole * scaled
        }
        guard rule.affine else {
            return (stored(squares > 0 ? best.step * (wholeSquares / squares) : best.step), 0)
        }
        let determinant = squares * ones - crossed * crossed
        let divisor = 1 / determinant
        var step = best.step
        var offset = best.offset
        if determinant > squares * ones * 1e-6 {
            step = best.step * ((wholeSquares * ones - wholeOnes * crossed) * divisor)
            offset = (wholeSquares * crossed - wholeOnes * squares) * divisor
        }
        if rule.part != nil {
            step = step > 0 ? step : 0
            offset = offset > 0 ? offset : 0
        }
        return (stored(step), stored(offset))
    }

    // MARK: - The whole

    func searched(_ given: Float?) -> Reference.BlockFeedbackRow {
        let first: (step: Float, offset: Float)
        if let given {
            first = (given, 0)
        } else {
            first = rule.part == nil ? searchedGroup() : firstSteps()
        }
        var best = pass(step: first.step, offset: first.offset)
        for _ in 0..<(given != nil ? 0 : rule.part == nil ? 2 : 1) {
            let steps = refit(best)
            let next = pass(step: steps.step, offset: steps.offset)
            if next.loss < best.loss { best = next }
        }
        var row = Reference.BlockFeedbackRow()
        (row.step, row.offset) = (best.step, rule.part == nil ? 0 - best.offset : best.offset)
        if rule.part != nil { (row.scales, row.mins) = (best.scales.map { Int($0) }, best.mins.map { Int($0) }) }
        for (number, part) in parts.enumerated() {
            for j in part {
                let level = best.levels[j]
                let restored = best.step * best.scales[number] * level - best.offset * best.mins[number]
                row.restored.append(restored)
                row.errors.append(weights[j] - restored)
                let code =
                    rule.codebook
                    ? ReferenceBlock.codebook.firstIndex(of: level) ?? 0 : Int(level - rule.first)
                row.codes.append(UInt8(truncatingIfNeeded: code))
            }
        }
        return row
    }
}
