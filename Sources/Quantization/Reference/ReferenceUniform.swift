package import TensorModel

extension Reference {
    /// The codes, scales and biases of a chunk. The weights are elements of `format`; biases are 0 for symmetric codes.
    package static func uniformEncode(
        _ weights: [Float], rows: Int, columns: Int, _ parameters: UniformParameters, _ format: FloatFormat
    ) -> (codes: [UInt8], scales: [Float], biases: [Float]) {
        var result: (codes: [UInt8], scales: [Float], biases: [Float]) = ([], [], [])
        for row in 0..<rows {
            for start in stride(from: 0, to: columns, by: parameters.groupSize) {
                let end = min(start + parameters.groupSize, columns)
                let weights = Array(weights[row * columns + start..<row * columns + end])
                switch parameters.scales {
                case .searched:
                    let group = ReferenceGroup(
                        weights, bits: parameters.bits, isSymmetric: parameters.symmetric, format)
                    let (_, scale, bias) = group.chosen()
                    result.codes += group.codes(scale, bias)
                    result.scales.append(scale)
                    result.biases.append(bias)
                case .minmax:
                    let group = ReferenceRounding(weights, parameters, format)
                    result.codes += group.codes
                    result.scales.append(group.scale)
                    result.biases.append(group.bias)
                }
            }
        }
        return result
    }

    /// Codes and scales of symmetric groups with scales of either sign. Groups of more than 256 weights are those of whole rows.
    package static func signedEncode(
        _ weights: [Float], rows: Int, columns: Int, groupSize: Int, bits: Int, _ format: FloatFormat
    ) -> (codes: [UInt8], scales: [Float]) {
        var result: (codes: [UInt8], scales: [Float]) = ([], [])
        for row in 0..<rows {
            for start in stride(from: 0, to: columns, by: groupSize) {
                let weights = Array(weights[row * columns + start..<row * columns + min(start + groupSize, columns)])
                let isLong = groupSize > 256
                let (group, negated) = (
                    ReferenceGroup(weights, bits: bits, isSymmetric: true, format, isSigned: true, isLong: isLong),
                    ReferenceGroup(
                        weights.map { -$0 }, bits: bits, isSymmetric: true, format, isSigned: true, isLong: isLong)
                )
                let (own, other) = (group.chosen(), negated.chosen())
                let scale = other.error < own.error ? 0 - other.scale : own.scale
                result.codes += group.codes(scale, 0)
                result.scales.append(scale)
            }
        }
        return result
    }

    /// The weights of a chunk, row-major.
    package static func uniformDecode(
        codes: [UInt8], scales: [Float], biases: [Float], rows: Int, columns: Int,
        _ parameters: UniformParameters
    ) -> [Float] {
        let groupsPerRow = (columns + parameters.groupSize - 1) / parameters.groupSize
        return codes.indices.map { index in
            let group = index / columns * groupsPerRow + index % columns / parameters.groupSize
            guard parameters.symmetric else { return scales[group] * Float(codes[index]) + biases[group] }
            return scales[group] * Float(Int(codes[index]) - 1 << (parameters.bits - 1))
        }
    }
}

/// The search for scale and bias of one group, step by step as in Specs/uniform.md, section 5.
struct ReferenceGroup {
    private let bits: Int, isSymmetric: Bool
    private let format: FloatFormat
    /// Whether scales may be negative, and whether the group is a whole row of more than 256 weights.
    private let isSigned: Bool, isLong: Bool
    /// The weights times `up`, minus `middle`.
    private let values: [Float]
    private let lowest: Float
    private let highest: Float
    private let middle: Float
    private let sum: Float
    /// Two powers of two whose product brings the largest magnitude to [1, 2), and their inverses.
    private let up: (Float, Float)
    private let down: (Float, Float)
    private let isConstant: Bool
    private let codeLow: Float
    private let codeHigh: Float
    private let largest: Float

    init(
        _ weights: [Float], bits: Int, isSymmetric: Bool, _ format: FloatFormat, isSigned: Bool = false,
        isLong: Bool = false
    ) {
        (self.bits, self.isSymmetric, self.format) = (bits, isSymmetric, format)
        (self.isSigned, self.isLong) = (isSigned, isLong)
        let half = Float(1 << (bits - 1))
        codeLow = isSymmetric ? -half : 0
        codeHigh = isSymmetric ? half - 1 : 2 * half - 1
        switch format {
        case .f16: largest = 65504
        case .bf16: largest = Float(bitPattern: 0x7f7f_0000)
        case .f32: largest = .greatestFiniteMagnitude
        }
        var low = weights[0]
        var high = weights[0]
        for weight in weights {
            low = weight < low ? weight : low
            high = weight > high ? weight : high
        }
        isConstant = low == high
        let exponent = Int32(max(low.magnitude, high.magnitude).bitPattern >> 23)
        let shift = 127 - max(exponent, 1)
        let first = shift >> 1
        let up = (powerOfTwo(first), powerOfTwo(shift - first))
        self.up = up
        down = (powerOfTwo(-first), powerOfTwo(first - shift))
        low = low * up.0 * up.1
        high = high * up.0 * up.1
        let middle: Float = isSymmetric ? 0 : (low + high) * 0.5
        values = weights.map { $0 * up.0 * up.1 - middle }
        sum = values.reduce(0, +)
        self.middle = middle
        lowest = low - middle
        highest = high - middle
    }

    /// Scale and bias as stored, and their error, 0 for a constant group; the bias of a symmetric group is 0.
    func chosen() -> (error: Float, scale: Float, bias: Float) {
        if isConstant {
            let weight = (middle + lowest) * down.0 * down.1
            guard isSymmetric else { return (0, 0, stored(weight, within: largest)) }
            return (0, stored(weight.magnitude, within: largest), 0)
        }
        let affine = !isSymmetric
        let span = affine ? highest - lowest : max(lowest.magnitude, highest.magnitude)
        let widest = (affine ? codeHigh : codeHigh + 0.5) / span
        var best = Fit(codeSum: 0, scale: 0, score: -1)
        for ratio in search.ratios {
            for shift in affine ? [0, -0.2, 0.2, -0.4, 0.4] as [Float] : [0] {
                let fit = start(inverse: widest * (1 / ratio), shift: shift)
                if fit.score > best.score { best = fit }
            }
        }
        return refined(best)
    }

    /// The codes for a stored scale and bias.
    func codes(_ scale: Float, _ bias: Float) -> [UInt8] {
        let (unit, offset) = normalised(scale, bias)
        let inverse: Float = unit != 0 ? 1 / unit : 0
        return values.map { UInt8(nearestCode(($0 - offset) * inverse) - codeLow) }
    }

    // MARK: - The steps of the search

    private struct Fit {
        var codeSum: Float
        var scale: Float
        var score: Float
        var error: Float = 0
    }

    private var search: (ratios: [Float], trials: Int) {
        switch (isSymmetric, bits) {
        case (true, ...4) where isLong:
            ([1.05, 1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3], 4)
        case (true, _) where isLong: ([1.02, 0.98, 0.94, 0.9, 0.86, 0.82, 0.78, 0.74, 0.7, 0.65, 0.6, 0.55], 3)
        case (false, 2): ([1, 0.91, 0.82, 0.73, 0.64, 0.55], 4)
        case (false, 3): ([1, 0.94, 0.88, 0.82, 0.76, 0.7], 3)
        case (false, 4): ([1.02, 0.98, 0.94, 0.9, 0.86], 3)
        case (false, 5): ([1.02, 0.99, 0.96, 0.93], 3)
        case (false, 6): ([1.02, 1, 0.98, 0.96], 3)
        case (false, _): ([1.005, 0.995, 0.985], 3)
        case (true, 2): ([1, 0.94, 0.88, 0.82, 0.76, 0.7, 0.64, 0.58, 0.52, 0.46], 4)
        case (true, 3): ([1.08, 1.03, 0.98, 0.93, 0.88, 0.83, 0.78, 0.73, 0.68, 0.63], 3)
        case (true, 4): ([1.1, 1.06, 1.02, 0.98, 0.94, 0.9, 0.86, 0.82, 0.78, 0.74], 3)
        case (true, 5): ([1.1, 1.07, 1.04, 1.01, 0.98, 0.95, 0.92, 0.89, 0.86, 0.83], 3)
        case (true, 6): ([1.05, 1.035, 1.02, 1.005, 0.99, 0.975, 0.96, 0.945], 3)
        case (true, _): ([1.02, 1.012, 1.004, 0.996, 0.988, 0.98, 0.972, 0.964], 3)
        }
    }

    private func start(inverse: Float, shift: Float) -> Fit {
        let centre = isSymmetric ? 0 : codeHigh * 0.5 + shift
        return fit { nearestCode($0 * inverse + centre) }
    }

    private func fit(_ code: (Float) -> Float) -> Fit {
        var codeSum: Float = 0
        var squareSum: Float = 0
        var productSum: Float = 0
        for value in values {
            let code = code(value)
            codeSum += code
            squareSum += code * code
            productSum += code * value
        }
        var numerator = productSum
        var denominator = squareSum
        if !isSymmetric {
            numerator = Float(values.count) * productSum - codeSum * sum
            denominator = Float(values.count) * squareSum - codeSum * codeSum
        }
        let scale = numerator / denominator
        let solvable = numerator > 0 && denominator > 0
        return Fit(codeSum: codeSum, scale: scale, score: solvable ? numerator * scale : -1)
    }

    private func refined(_ start: Fit) -> (error: Float, scale: Float, bias: Float) {
        let greatestCode = isSymmetric ? -codeLow : codeHigh
        let limit = min(largest, Float.greatestFiniteMagnitude / greatestCode * 0.984375)
        var best: (error: Float, scale: Float, bias: Float) = (
            .infinity, 0, isSymmetric ? 0 : stored(middle * down.0 * down.1, within: largest)
        )
        if isSigned {
            // The scale of compressed-tensors itself: no group has a larger error than with it.
            let span = max(lowest.magnitude, highest.magnitude)
            let scale = stored(span / (codeHigh + 0.5) * down.0 * down.1, within: limit)
            let error = trial(scale, 0).error
            if isRestorable(lowest, scale, 0) && isRestorable(highest, scale, 0) { best = (error, scale, 0) }
        }
        var fit = start
        for _ in 0..<search.trials {
            let scale = stored(fit.scale * down.0 * down.1, within: limit)
            let unit = scale * up.0 * up.1
            var bias: Float = 0
            if !isSymmetric {
                let wanted = (sum - unit * fit.codeSum) / Float(values.count) + middle
                bias = stored(wanted * down.0 * down.1, within: largest)
            }
            let next = trial(scale, bias)
            let valid = isRestorable(lowest, scale, bias) && isRestorable(highest, scale, bias)
            if valid && next.error < best.error { best = (next.error, scale, bias) }
            fit = next
            if !(valid && next.score > 0) { fit.scale = unit * 0.96875 }
        }
        return best
    }

    private func trial(_ scale: Float, _ bias: Float) -> Fit {
        let (unit, offset) = normalised(scale, bias)
        let inverse: Float = unit > 0 ? 1 / unit : 0
        var error: Float = 0
        for value in values {
            let difference = value - restored(nearestCode((value - offset) * inverse), unit, offset)
            error += difference * difference
        }
        var fit = fit { nearestCode(($0 - offset) * inverse) }
        fit.error = error
        return fit
    }

    private func isRestorable(_ value: Float, _ scale: Float, _ bias: Float) -> Bool {
        let (unit, offset) = normalised(scale, bias)
        let inverse: Float = unit > 0 ? 1 / unit : 0
        return restored(nearestCode((value - offset) * inverse), scale, bias).magnitude <= largest
    }

    // MARK: - Arithmetic

    private func normalised(_ scale: Float, _ bias: Float) -> (unit: Float, offset: Float) {
        (scale * up.0 * up.1, isSymmetric ? 0 : bias * up.0 * up.1 - middle)
    }

    private func restored(_ code: Float, _ scale: Float, _ bias: Float) -> Float {
        isSymmetric ? scale * code : scale * code + bias
    }

    /// Clamps, then rounds to nearest, ties to even, by adding and subtracting 1.5 * 2^23.
    private func nearestCode(_ position: Float) -> Float {
        let above = position > codeLow ? position : codeLow
        let clamped = above < codeHigh ? above : codeHigh
        return (clamped + 12_582_912) - 12_582_912
    }

    private func stored(_ value: Float, within limit: Float) -> Float {
        let above = value > -limit ? value : -limit
        let clamped = above < limit ? above : limit
        return Reference.expanded(Reference.narrowed(clamped, format), format) + 0
    }
}

private func powerOfTwo(_ exponent: Int32) -> Float { Float(bitPattern: UInt32(exponent + 127) << 23) }
