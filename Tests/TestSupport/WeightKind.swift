package import TensorModel

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Distributions of weights for which a rate must be met.
package enum WeightKind: String, Sendable, CaseIterable {
    /// Normal distribution.
    case gaussian
    /// Normal distribution; each row and each column has its own scale.
    case scaled
    /// Heavy tails: some weights are 30 times the root mean square.
    case heavy
    /// Nine of ten weights are 0.
    case sparse
    /// Sixteen values, as from another quantizer.
    case discrete
    /// The lower rows are much larger than the upper rows.
    case rising
    /// Uniform distribution around 1.
    case offset

    /// Weights of a matrix, row by row.
    package func weights(rows: Int, columns: Int, seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed)
        let columnScales = (0..<columns).map { _ in exp(generator.gaussian() * 0.4) }
        var weights: [Float] = []
        weights.reserveCapacity(rows * columns)
        for row in 0..<rows {
            let rowScale = exp(generator.gaussian() * 0.4)
            for column in 0..<columns {
                let bell = generator.gaussian() * 0.02
                switch self {
                case .gaussian: weights.append(bell)
                case .scaled: weights.append(bell * rowScale * columnScales[column])
                case .heavy: weights.append(bell / max(abs(generator.gaussian()), 0.01))
                case .sparse: weights.append(generator.next() % 10 == 0 ? bell : 0)
                case .discrete: weights.append(Float(Int(generator.next() % 16) - 8) * 0.0078125)
                case .rising: weights.append(bell * exp(6 * Float(row) / Float(rows)))
                case .offset: weights.append(1 + Float(generator.next() >> 40) * 0x1p-27)
                }
            }
        }
        return weights
    }
}

extension SeededGenerator {
    /// A normally distributed number (Box-Muller transform).
    package mutating func gaussian() -> Float {
        let u = (Float(next() >> 40) + 0.5) * 0x1p-24
        let v = Float(next() >> 40) * 0x1p-24
        return (-2 * log(u)).squareRoot() * cos(2 * Float.pi * v)
    }
}

extension SampleTensor {
    /// Makes a matrix of this kind of weights.
    package init(
        _ name: String, _ format: FloatFormat, _ shape: [Int], _ kind: WeightKind, seed: UInt64 = 1
    ) {
        let columns = shape.last ?? 1
        let rows = shape.dropLast().reduce(1, *)
        let weights = kind.weights(rows: rows, columns: columns, seed: seed)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(weights.count * format.byteWidth)
        for weight in weights {
            switch format {
            case .f16: bytes.append(Float16(weight).bitPattern)
            case .bf16: bytes.append(UInt16(truncatingIfNeeded: (weight.bitPattern + 0x7FFF) >> 16))
            case .f32: bytes.append(weight.bitPattern)
            }
        }
        self.init(name, format.elementType, shape, bytes: bytes)
    }
}

extension [UInt8] {
    /// Appends a little-endian integer.
    fileprivate mutating func append<Number: FixedWidthInteger>(_ number: Number) {
        for byte in 0..<Number.bitWidth / 8 { append(UInt8(truncatingIfNeeded: number >> Number(8 * byte))) }
    }
}
