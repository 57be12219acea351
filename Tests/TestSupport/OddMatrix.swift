package import TensorModel

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Matrices that are no usual weights, or are at the limits of their number format.
package enum OddMatrix: String, Sendable, CaseIterable {
    /// Normal distribution, for comparison.
    case gaussian
    /// The lowest value of the type above the diagonal, 0 elsewhere, as in transformers' causal masks.
    case causalMask
    /// Some elements are the lowest or largest value of the type.
    case scatteredMask
    /// One weight 30,000 standard deviations from the mean.
    case outlier
    /// One value; all 0; three values.
    case constant, zero, ternary
    /// Sixteen values.
    case sixteenValues
    /// Weights too small for a step in F32; weights with few digits in the element type.
    case tiny, subnormal
    /// Clipped at the largest values of the type.
    case clipped
    /// One weight in a hundred is near the largest value of the type.
    case spikes
    /// The upper half is 0.
    case halfZero

    /// Bytes of the elements of a matrix.
    package func bytes(rows: Int, columns: Int, _ format: FloatFormat, seed: UInt64) -> [UInt8] {
        var generator = SeededGenerator(seed)
        let largest = OddMatrix.largest(format)
        let scale = pow(10, Float(generator.next() % 5) - 3)
        let share = [0.001, 0.1, 0.5, 0.9][Int(generator.next() % 4)]
        let width = [0.1, 0.3, 0.6, 1.5][Int(generator.next() % 4)] as Float
        let constant = [1, -0.34375, 1e-3, largest][Int(generator.next() % 4)]
        let outlier = Int(generator.next() % UInt64(rows * columns))
        var bytes: [UInt8] = []
        bytes.reserveCapacity(rows * columns * format.byteWidth)
        for index in 0..<rows * columns {
            let (row, column) = (index / columns, index % columns)
            let bell = generator.gaussian()
            let weight: Float
            switch self {
            case .gaussian: weight = bell * scale
            case .causalMask: weight = column > row ? -largest : 0
            case .scatteredMask:
                weight = Double(generator.next() >> 11) * 0x1p-53 < share ? (seed % 3 == 0 ? largest : -largest) : 0
            case .outlier: weight = index == outlier ? min(30_000 * scale, largest) : bell * scale
            case .constant: weight = constant
            case .zero: weight = 0
            case .ternary: weight = Float(Int(generator.next() % 3) - 1) * 0.0123
            case .sixteenValues: weight = Float(Int(generator.next() % 16) - 8) * 0.0078125
            case .tiny: weight = bell * (format == .f16 ? 1e-7 : 1e-38)
            case .subnormal: weight = bell * (format == .f16 ? 6e-8 : 1e-44)
            case .clipped: weight = min(max(bell * width, -1), 1) * largest
            case .spikes:
                weight =
                    generator.next() % 100 == 0 ? largest * (0.2 + 0.8 * Float(generator.next() % 100) / 100) : bell
            case .halfZero: weight = row < rows / 2 ? 0 : bell * scale
            }
            bytes += FloatBytes.encode(weight, format)
        }
        return bytes
    }

    /// Largest finite value of a type.
    package static func largest(_ format: FloatFormat) -> Float {
        switch format {
        case .f16: 65504
        case .bf16: Float(bitPattern: 0x7F7F_0000)
        case .f32: .greatestFiniteMagnitude
        }
    }
}

extension SampleTensor {
    /// Makes an odd matrix.
    package init(_ name: String, _ format: FloatFormat, _ shape: [Int], odd: OddMatrix, seed: UInt64 = 1) {
        let columns = shape.last ?? 1
        let rows = shape.dropLast().reduce(1, *)
        self.init(
            name, format.elementType, shape,
            bytes: odd.bytes(rows: rows, columns: columns, format, seed: seed))
    }
}
