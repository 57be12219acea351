import Kernels
import TensorModel
import Testing

/// The kernels for codes of other quantizers, against their definitions.
extension InstructionSetTests {
    @Test("Codes of all widths, from a stream and with the upper half first", arguments: 1...8)
    func unpacksCodes(bits: Int) {
        var generator = SeededGenerator(seed: UInt64(bits))
        for count in [0, 8, 16, 64, 200, 1032] {
            let packed = (0..<count / 8 * bits).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            var expected = [UInt8](repeating: 0, count: count)
            for index in 0..<count {
                for bit in 0..<bits {
                    let place = index * bits + bit
                    if packed[place / 8] >> UInt8(place % 8) & 1 == 1 { expected[index] |= 1 << UInt8(bit) }
                }
            }
            onEveryInstructionSet { set in
                var codes = [UInt8](repeating: 0xEE, count: count + 1)
                var target = codes.mutableSpan
                Kernels.unpackCodes(packed.span, count: count, bits: bits, highFirst: false, into: &target)
                #expect(codes == expected + [0xEE], "\(set), \(count)")
                guard bits == 4 else { return }
                target = codes.mutableSpan
                Kernels.unpackCodes(packed.span, count: count, bits: bits, highFirst: true, into: &target)
                let swapped = expected.indices.map { expected[$0 ^ 1] }
                #expect(codes == swapped + [0xEE], "\(set), \(count)")
            }
        }
    }

    /// A float of `fraction` bits after an exponent with this bias, by its definition.
    private static func float(_ code: Int, fraction: Int, bias: Int, sign: Int) -> Float {
        let size = code & (1 << sign - 1)
        let (exponent, rest) = (size >> fraction, size & (1 << fraction - 1))
        let unit = Float(sign: .plus, exponent: max(1, exponent) - bias - fraction, significand: 1)
        let value = unit * Float(exponent == 0 ? rest : rest + 1 << fraction)
        return code >> sign & 1 == 1 ? -value : value
    }

    @Test("The value of every code of every kind") func valuesOfCodes() {
        let codes = (0..<256).map { UInt8($0) } + [1, 2, 3]
        let table = (0..<256).map { Float($0) * 0.25 - 7 }
        let kinds: [(Kernels.CodeKind, (Int) -> Float)] = [
            (.unsigned, { Float($0) }), (.signed, { Float(Int8(truncatingIfNeeded: $0)) }), (.table, { table[$0] }),
            (.e2m1, { InstructionSetTests.float($0, fraction: 1, bias: 1, sign: 3) }),
            (.e4m3, { $0 & 127 == 127 ? .nan : InstructionSetTests.float($0, fraction: 3, bias: 7, sign: 7) }),
            (
                .e5m2,
                {
                    let size = $0 & 127
                    if size > 124 { return .nan }
                    if size == 124 { return $0 > 127 ? -.infinity : .infinity }
                    return InstructionSetTests.float($0, fraction: 2, bias: 15, sign: 7)
                }
            ),
            (.e8m0, { $0 == 255 ? .nan : Float(sign: .plus, exponent: $0 - 127, significand: 1) }),
        ]
        onEveryInstructionSet { set in
            for (kind, value) in kinds {
                var values = [Float](repeating: 0, count: codes.count)
                var target = values.mutableSpan
                Kernels.codeValues(codes.span, kind, table: table.span, into: &target)
                for (index, code) in codes.enumerated() {
                    let expected = value(Int(code) & (kind == .e2m1 ? 15 : 255))
                    #expect(
                        values[index].bitPattern == expected.bitPattern || values[index].isNaN && expected.isNaN,
                        "\(set), \(kind), code \(code): \(values[index]), not \(expected)")
                }
            }
        }
    }

    @Test("Groups of any length, with zero points or biases", arguments: [1, 3, 16, 32, 100])
    func scalesCodes(group: Int) {
        var generator = SeededGenerator(seed: UInt64(group))
        func numbers(_ count: Int) -> [Float] {
            (0..<count).map { _ in Float(Int(generator.next() % 2001) - 1000) / 64 }
        }
        for count in [1, 15, 16, 17, 100, 333] {
            let first = group == 1 ? 0 : Int(generator.next() % UInt64(group))
            let groups = (first + count + group - 1) / group
            let (values, scales, zeros, biases) = (numbers(count), numbers(groups), numbers(groups), numbers(groups))
            for kind in 0..<3 where !(group == 1 && kind == 2) {
                let expected = (0..<count).map { index -> Float in
                    let place = (first + index) / group
                    switch kind {
                    case 0: return values[index] * scales[place]
                    case 1: return (values[index] - zeros[place]) * scales[place]
                    default:
                        let product = values[index] * scales[place]
                        let bits = product.bitPattern
                        let rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000
                        return Float(bitPattern: rounded) + biases[place]
                    }
                }
                onEveryInstructionSet { set in
                    var found = values
                    let none: [Float] = []
                    var target = found.mutableSpan
                    Kernels.scaleCodes(
                        &target, first: first, group: group, scales: scales.span,
                        zeros: (kind == 1 ? zeros : none).span,
                        biases: (kind == 2 ? biases : none).span, between: .bf16)
                    #expect(found == expected, "\(set), \(count) values, kind \(kind)")
                }
            }
        }
    }

    @Test(arguments: [1, 2, 4]) func transposes(width: Int) {
        var generator = SeededGenerator(seed: UInt64(width))
        for (rows, columns) in [(1, 1), (3, 5), (16, 16), (17, 33), (40, 7)] {
            let matrix = (0..<rows * columns * width).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            var expected: [UInt8] = []
            for column in 0..<columns {
                for row in 0..<rows {
                    let place = (row * columns + column) * width
                    expected += matrix[place..<place + width]
                }
            }
            onEveryInstructionSet { set in
                var found = [UInt8](repeating: 0, count: matrix.count)
                var target = found.mutableSpan
                Kernels.transpose(matrix.span, rows: rows, columns: columns, width: width, into: &target)
                #expect(found == expected, "\(set), \(rows) x \(columns)")
            }
        }
    }

    @Test func countsBytes() {
        var generator = SeededGenerator(seed: 5)
        for count in [0, 1, 7, 8, 9, 1000] {
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            var counts = [UInt64](repeating: 1, count: 256)
            var target = counts.mutableSpan
            Kernels.countBytes(bytes.span, into: &target)
            var expected = [UInt64](repeating: 1, count: 256)
            for byte in bytes { expected[Int(byte)] += 1 }
            #expect(counts == expected)
        }
    }
}
