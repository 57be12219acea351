import Kernels
import TensorModel
import Testing

/// Errors are carried to later columns by fused multiply-adds, also where the processor has none (Specs/trellis.md, "Error feedback").
extension InstructionSetTests {
    /// a * b + c, for sixteen a and c, by the kernel that solves: two columns, one of which takes b times the other.
    private func sums(_ a: [Float], _ b: Float, _ c: [Float]) -> [Float] {
        var values = c + a
        var target = values.mutableSpan
        let (lower, upper, inverse): ([Float], [Float], [Float]) = ([0, 0, b, 0], [0, 0, 0, 0], [1, 1])
        Kernels.solve(&target, stride: 16, lower: lower.span, upper: upper.span, inverse: inverse.span)
        return Array(values[..<16])
    }

    private func check(_ a: [Float], _ b: Float, _ c: [Float]) {
        let expected = zip(a, c).map { $1.addingProduct($0, b) }
        onEveryInstructionSet { set in
            let found = sums(a, b, c)
            for index in 0..<16 {
                #expect(
                    found[index].bitPattern == expected[index].bitPattern,
                    "\(set): \(a[index]) * \(b) + \(c[index]) is \(expected[index]), not \(found[index])")
            }
        }
    }

    /// Sums that end halfway between two numbers of binary32, or so near that binary64 cannot tell.
    @Test(arguments: [-149, -148, -140, -127, -126, -125, -100, -1, 0, 1, 60, 120])
    func roundsOnceNearTheMiddle(exponent: Int) {
        var generator = SeededGenerator(seed: UInt64(exponent + 200))
        for round in 0..<64 {
            let unit = Float(sign: .plus, exponent: max(exponent - 23, -149), significand: 1)
            // Significands of 24 bits, and fewer where numbers are subnormal. Even and odd ones round to different sides.
            let c = (0..<16).map { _ in
                let significand = (generator.next() >> 41 | 1 << 23) >> (exponent < -125 ? generator.next() % 24 : 0)
                return unit * Float(significand) * (generator.next() % 2 == 0 ? 1 : -1)
            }
            // Half of the last place, times 1 - d^2 with d = 0 or some 2^-23: the product is 48 bits long.
            let d = Float(round % 4) * 0x1p-23
            let power = Float(sign: .plus, exponent: exponent < -40 ? -70 : exponent > 40 ? 20 : 0, significand: 1)
            let half = unit / power / 2 * (1 + d) * (round % 8 < 4 ? 1 : -1)
            check([Float](repeating: half, count: 16), power * (1 - d), c)
        }
    }

    @Test func roundsOnceAnywhere() {
        var generator = SeededGenerator(seed: 11)
        func number(_ exponents: ClosedRange<Int>) -> Float {
            let bits = generator.next()
            let exponent = exponents.lowerBound + Int(bits >> 32) % exponents.count
            let size = Float(sign: .plus, exponent: exponent, significand: 1 + Float(bits & 0x7fffff) * 0x1p-23)
            return bits >> 31 & 1 == 0 ? size : -size
        }
        for exponents in [-3...3, -30...30, -75 ... -50, 50...63] {
            for _ in 0..<200 {
                let b = number(exponents)
                check((0..<16).map { _ in number(exponents) }, b, (0..<16).map { _ in number(exponents) })
            }
        }
        let tiny = Float.leastNonzeroMagnitude
        let ends: [Float] = [0, -0.0, tiny, -tiny, .leastNormalMagnitude, 1, -1, .greatestFiniteMagnitude]
        for b in ends {
            for first in ends { check([Float](repeating: first, count: 16), b, ends + ends.map { -$0 }) }
        }
    }
}
