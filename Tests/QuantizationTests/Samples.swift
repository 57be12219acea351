import Quantization
import TensorModel

/// A reproducible source of random bits (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    /// A normally distributed number: the sum of twelve uniform ones, less 6.
    mutating func roughlyNormal() -> Float {
        (0..<12).reduce(Float(-6)) { sum, _ in sum + Float(next() >> 40) / Float(1 << 24) }
    }
}

/// Weights that have once been, or could be, trouble.
enum Pattern: CaseIterable {
    case normal, zero, negativeZero, constant, twoValues, ramp, subnormal, largest, mixed, offset, randomBits

    /// `count` finite weights of the pattern, all exactly representable in `format`.
    func weights(_ count: Int, _ format: FloatFormat, seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        let largest: Float =
            switch format {
            case .f16: 65504
            case .bf16: Float(bitPattern: 0x7f7f_0000)
            case .f32: .greatestFiniteMagnitude
            }
        let smallest: Float =
            switch format {
            case .f16: 0x1p-24
            case .bf16: 0x1p-133
            case .f32: 0x1p-149
            }
        return (0..<count).map { index in
            let weight: Float
            switch self {
            case .normal: weight = generator.roughlyNormal() * 0.02
            case .zero: weight = 0
            case .negativeZero: weight = index % 3 == 0 ? -0.0 : 0
            case .constant: weight = -0.34375
            case .twoValues: weight = generator.next() % 2 == 0 ? 0.5 : -0.25
            case .ramp: weight = Float(index % 200) * 0.015625
            case .subnormal: weight = smallest * Float(Int(generator.next() % 41) - 20)
            case .largest: weight = [largest, -largest, largest / 2, 0][Int(generator.next() % 4)]
            case .mixed:
                weight = index % 37 == 5 ? largest / 3 : smallest * Float(generator.next() % 1000)
            case .offset: weight = 100 + generator.roughlyNormal() * 0.5
            case .randomBits:
                let bits = Reference.narrowed(Float(bitPattern: UInt32(truncatingIfNeeded: generator.next())), .f32)
                weight = Float(bitPattern: bits)
            }
            let element = Reference.expanded(Reference.narrowed(weight, format), format)
            return element.isFinite ? element : 0
        }
    }
}

extension UniformParameters {
    /// Every combination there is.
    static var all: [UniformParameters] {
        supportedBits.flatMap { bits in
            supportedGroupSizes.flatMap { group in
                [false, true].compactMap { UniformParameters(bits: bits, groupSize: group, symmetric: $0) }
            }
        }
    }
}
