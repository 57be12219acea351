import Products
import TensorModel
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The functions of vectorized loops against plain formulas in binary64.
@Suite struct ElementwiseTests {
    private func numbers(_ count: Int, seed: UInt64, scale: Double = 4) -> [Float] {
        var state = seed
        return (0..<count).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float((Double(state >> 11) / Double(1 << 53) - 0.5) * scale)
        }
    }

    private func expect(_ found: Float, near value: Double, _ share: Double = 2e-6, _ note: String = "") {
        #expect(abs(Double(found) - value) <= share * max(abs(value), 1e-30), "\(note) \(found) instead of \(value)")
    }

    @Test(arguments: [1, 2, 15, 16, 17, 64, 257]) func softmax(count: Int) {
        let length = count + 5
        for scale in [Float(0.125), 1, 40] {
            var row = [7] + numbers(length, seed: UInt64(count)) + [7]
            let before = row[1...count].map { Double($0) }
            var target = row.mutableSpan
            Elementwise.softmax(&target, from: 1, count: count, of: length, scale: scale)
            let largest = before.max() ?? 0
            let powers = before.map { exp(($0 - largest) * Double(scale)) }
            let sum = powers.reduce(0, +)
            // The argument in binary32 has an error of some units in its last place, at most 160 here.
            for (index, power) in powers.enumerated() { expect(row[1 + index], near: power / sum, 4e-5, "\(index)") }
            #expect(row[(count + 1)...length].allSatisfy { $0 == 0 } && row[0] == 7 && row[length + 1] == 7)
        }
    }

    /// Scores that are far below the largest weigh nothing, and none becomes NaN.
    @Test func farScores() {
        var row: [Float] = [0, -1e30, -1e4, -88, 3e38 * 0]
        var target = row.mutableSpan
        Elementwise.softmax(&target, from: 0, count: 5, of: 5, scale: 1)
        #expect(row[0] == 0.5 && row[4] == 0.5 && row[1] < 1e-37 && row[2] < 1e-37 && row.allSatisfy { $0 >= 0 })
    }

    @Test(arguments: [1, 7, 16, 33]) func gate(columns: Int) {
        let rows = 3
        for bias in [nil, numbers(columns, seed: 5)] {
            // Buffers may be longer than what is used.
            var gate = numbers(rows * columns + 4, seed: 1, scale: 40)
            let up = numbers(rows * columns + 2, seed: 2)
            let before = gate
            var target = gate.mutableSpan
            Elementwise.gate(&target, up.span, rows: rows, columns: columns, bias, bias)
            for index in 0..<rows * columns {
                let add = Double(bias?[index % columns] ?? 0)
                let g = Double(before[index] + Float(add))
                expect(gate[index], near: g / (1 + exp(-g)) * Double(up[index] + Float(add)), 3e-6, "\(index)")
            }
            #expect(gate[(rows * columns)...] == before[(rows * columns)...])
        }
        // Gates far from zero: silu is 0 or the identity.
        var ends: [Float] = [-1e30, -200, 200, 1e30]
        var target = ends.mutableSpan
        let ones = [Float](repeating: 1, count: 4)
        Elementwise.gate(&target, ones.span, rows: 1, columns: 4, nil, nil)
        #expect(abs(ends[0]) < 1e-5 && abs(ends[1]) < 1e-30 && ends[2] == 200 && ends[3] == 1e30, "\(ends)")
    }

    @Test(arguments: [1, 7, 8, 9, 100]) func norm(width: Int) {
        let x = numbers(3 * width, seed: 3)
        let scale = numbers(width, seed: 4)
        var found = [Float](repeating: 0, count: 3 * width)
        var target = found.mutableSpan
        Elementwise.norm(x.span, scale.span, epsilon: 1e-5, into: &target)
        for row in 0..<3 {
            let own = x[row * width..<(row + 1) * width].map { Double($0) }
            let root = (own.reduce(0) { $0 + $1 * $1 } / Double(width) + 1e-5).squareRoot()
            for index in 0..<width {
                expect(found[row * width + index], near: own[index] / root * Double(scale[index]))
            }
        }
    }

    @Test(arguments: [true, false]) func turn(neighbours: Bool) {
        let half = 5
        let angles = (0..<half).map { Double($0) * 0.7 }
        var head = numbers(2 * half + 1, seed: 6)
        let before = head.map { Double($0) }
        var target = head.mutableSpan
        let (cosines, sines) = (angles.map { Float(cos($0)) }, angles.map { Float(sin($0)) })
        Elementwise.turn(&target, from: 1, cosines.span, sines.span, neighbours: neighbours)
        for index in 0..<half {
            let first = 1 + (neighbours ? 2 * index : index)
            let second = first + (neighbours ? 1 : half)
            let (x, y) = (before[first], before[second])
            #expect(abs(Double(head[first]) - (x * cos(angles[index]) - y * sin(angles[index]))) < 1e-6)
            #expect(abs(Double(head[second]) - (y * cos(angles[index]) + x * sin(angles[index]))) < 1e-6)
        }
        #expect(Double(head[0]) == before[0])
    }

    /// The opposite angles turn back, which is the transposed matrix: what gradients need.
    @Test(arguments: [true, false]) func turnBack(neighbours: Bool) {
        let half = 5
        let angles = (0..<half).map { Double($0) * 0.7 }
        let (cosines, sines) = (angles.map { Float(cos($0)) }, angles.map { Float(sin($0)) })
        let opposite = sines.map { -$0 }
        let before = numbers(2 * half, seed: 6)
        var head = before
        var target = head.mutableSpan
        Elementwise.turn(&target, from: 0, cosines.span, sines.span, neighbours: neighbours)
        Elementwise.turn(&target, from: 0, cosines.span, opposite.span, neighbours: neighbours)
        for (found, value) in zip(head, before) { #expect(abs(found - value) < 1e-6) }
    }

    /// Gradients against differences in binary64: of the sum of some factors times the results.
    @Test(arguments: [1, 7, 8, 33]) func gradients(count: Int) {
        let (x, factors) = (numbers(2 * count, seed: 11).map(Double.init), numbers(count, seed: 12).map(Double.init))
        let scale = numbers(count, seed: 13)
        func slopes(_ place: Int, _ function: ([Double]) -> [Double]) -> Double {
            let ends = [1e-5, -1e-5].map { change in
                var moved = x
                moved[place] += change
                return zip(function(moved), factors).reduce(0) { $0 + $1.0 * $1.1 }
            }
            return (ends[0] - ends[1]) / 2e-5
        }
        func expect(_ found: Float, _ value: Double, _ note: String) {
            #expect(abs(Double(found) - value) < 1e-4 * max(1, abs(value)), "\(note): \(found) instead of \(value)")
        }
        var gate = x.prefix(count).map { Float($0) }
        var up = x.suffix(count).map { Float($0) }
        let (inputs, outer) = (gate, factors.map { Float($0) })
        var gates = gate.mutableSpan
        var ups = up.mutableSpan
        Elementwise.gateBackward(&gates, &ups, outer.span)
        func gated(_ x: [Double]) -> [Double] { (0..<count).map { x[$0] / (1 + exp(-x[$0])) * x[count + $0] } }
        for index in 0..<count {
            expect(gate[index], slopes(index, gated), "gate \(index)")
            expect(up[index], slopes(count + index, gated), "up \(index)")
        }
        func normed(_ x: [Double]) -> [Double] {
            let root = (x.prefix(count).reduce(0) { $0 + $1 * $1 } / Double(count) + 0.01).squareRoot()
            return (0..<count).map { x[$0] / root * Double(scale[$0]) }
        }
        // Added to what is there.
        var norm = [Float](repeating: 2, count: count)
        var target = norm.mutableSpan
        Elementwise.normBackward(outer.span, at: inputs.span, scale.span, epsilon: 0.01, to: &target)
        for index in 0..<count { expect(norm[index] - 2, slopes(index, normed), "norm \(index)") }
        func softmax(_ x: [Double]) -> [Double] {
            let powers = x.prefix(count).map { exp($0 * 0.5) }
            return powers.map { $0 / powers.reduce(0, +) }
        }
        let weights = [5] + softmax(x).map { Float($0) } + [5, 5]
        var scores = [7] + factors.map { Float($0) } + [7, 7]
        var scored = scores.mutableSpan
        Elementwise.softmaxBackward(&scored, weights.span, from: 1, count: count, of: count + 1, scale: 0.5)
        for index in 0..<count { expect(scores[1 + index], slopes(index, softmax), "softmax \(index)") }
        #expect(scores[0] == 7 && scores[count + 1] == 0 && scores[count + 2] == 7)
    }

    @Test func powersAndSquares() {
        for count in [1, 7, 8, 40] {
            let x = numbers(count + 2, seed: UInt64(count), scale: 30)
            var found = x
            var target = found.mutableSpan
            let result = Elementwise.powers(&target, from: 1, count: count)
            let largest = x[1...count].max() ?? 0
            let powers = x[1...count].map { exp(Double($0 - largest)) }
            #expect(result.maximum == largest && abs(result.sum / powers.reduce(0, +) - 1) < 1e-5)
            for index in 0..<count { expect(found[1 + index], near: powers[index], 1e-5) }
            #expect(found[0] == x[0] && found[count + 1] == x[count + 1])
            var sums = [Double](repeating: 1, count: count + 1)
            var all = sums.mutableSpan
            Elementwise.addSquares(x.span, from: 1, count: count, weight: 3, to: &all, at: 1)
            #expect(sums[0] == 1)
            for index in 0..<count {
                let square = 1 + 3 * Double(x[1 + index]) * Double(x[1 + index])
                #expect(abs(sums[1 + index] / square - 1) < 1e-12)
            }
        }
    }

    @Test func addAndCopy() {
        let x = numbers(20, seed: 7)
        let bias = numbers(9, seed: 8)
        var target = numbers(30, seed: 9)
        let before = target
        var span = target.mutableSpan
        Elementwise.add(x.span, from: 2, count: 9, bias: bias.span, factor: 0.5, to: &span, at: 4)
        Elementwise.add(x.span, from: 0, count: 2, bias: nil, factor: 2, to: &span, at: 14)
        Elementwise.copy(x.span, from: 11, count: 3, to: &span, at: 20)
        for index in 0..<30 {
            switch index {
            case 4..<13: #expect(target[index] == before[index] + 0.5 * (x[index - 2] + bias[index - 4]))
            case 14..<16: #expect(target[index] == before[index] + 2 * x[index - 14])
            case 20..<23: #expect(target[index] == x[index - 9])
            default: #expect(target[index] == before[index])
            }
        }
    }
}
