import Quantization
import TensorModel
import Testing

/// Statistics of every element type against plain sums over the elements, in binary64.
@Suite struct CountedFormatTests {
    static let types = ElementType.allCases.filter { CountedFormat(of: $0) != nil }

    /// The value of an element; those of floats of 8 bits by way of binary32, whose exponent has another bias.
    private func value(_ bits: UInt64, _ type: ElementType) -> Double {
        func float8(_ fraction: UInt32, _ bias: Int) -> Double {
            let (sign, magnitude) = (UInt32(bits) & 0x80, UInt32(bits) & 0x7F)
            let float = Float(bitPattern: sign << 24 | magnitude << (23 - fraction))
            return Double(float) * Double(sign: .plus, exponent: 127 - bias, significand: 1)
        }
        switch type {
        case .bool: return bits == 0 ? 0 : 1
        case .u8, .u16, .u32, .u64: return Double(bits)
        case .i8: return Double(Int8(truncatingIfNeeded: bits))
        case .i16: return Double(Int16(truncatingIfNeeded: bits))
        case .i32: return Double(Int32(truncatingIfNeeded: bits))
        case .i64: return Double(Int64(truncatingIfNeeded: bits))
        case .f16: return Double(Reference.expanded(UInt32(bits), .f16))
        case .bf16: return Double(Float(bitPattern: UInt32(bits) << 16))
        case .f32: return Double(Float(bitPattern: UInt32(bits)))
        case .f64: return Double(bitPattern: bits)
        case .f8e4m3: return bits & 0x7F == 0x7F ? .nan : float8(3, 7)
        case .f8e5m2:
            return bits & 0x7F > 0x7C ? .nan : bits == 0x7C ? .infinity : bits == 0xFC ? -.infinity : float8(2, 15)
        case .f8e4m3fnuz: return bits == 0x80 ? .nan : float8(3, 8)
        case .f8e5m2fnuz: return bits == 0x80 ? .nan : float8(2, 16)
        case .f8e8m0:
            return bits == 0xFF ? .nan : bits == 0 ? 0x1p-127 : Double(Float(bitPattern: UInt32(bits) << 23))
        case .f4, .f6e2m3, .f6e3m2, .c64: return .nan
        }
    }

    private func bytes(_ elements: [UInt64], _ type: ElementType) -> [UInt8] {
        elements.flatMap { bits in (0..<type.bitWidth / 8).map { UInt8(truncatingIfNeeded: bits >> UInt64(8 * $0)) } }
    }

    /// Statistics of a matrix that is counted in pieces of `piece` rows.
    private func statistics(
        _ elements: [UInt64], _ type: ElementType, columns: Int, rows piece: Int
    ) throws -> WeightStatistics {
        let format = try #require(CountedFormat(of: type))
        let rows = elements.count / columns
        var sums = TensorSums(format, energies: (rows, columns))
        var counted = PieceCounts()
        for row in stride(from: 0, to: rows, by: piece) {
            let end = min(rows, row + piece)
            let bytes = bytes(Array(elements[row * columns..<end * columns]), type)
            counted.count(bytes.span, format, rows: end - row, columns: columns, wantsEnergies: true)
            sums.add(counted, row: row, column: 0)
        }
        return sums.finish()
    }

    /// Elements about a middle, a few of them with random bits.
    private func elements(_ count: Int, _ type: ElementType, _ generator: inout SeededGenerator, odd: Int) -> [UInt64] {
        let mask: UInt64 = type.bitWidth == 64 ? .max : 1 << UInt64(type.bitWidth) - 1
        return (0..<count).map { _ in
            let weight = Double(generator.roughlyNormal()) * 0.02
            if odd > 0, generator.next() % UInt64(odd) == 0 {
                // Of the wide floats no random exponents: their powers would hide all others.
                switch type {
                case .bool: return generator.next() & 1
                case .f16, .bf16:
                    return UInt64(
                        Reference.narrowed(
                            [.nan, .infinity, 0, -0.5][Int(generator.next() % 4)], type.quantizable ?? .f16))
                case .f32:
                    return UInt64(([.nan, .infinity, 0, 0x1p-140][Int(generator.next() % 4)] as Float).bitPattern)
                case .f64: return ([.nan, -.infinity, 0, -0.25][Int(generator.next() % 4)] as Double).bitPattern
                default: return generator.next() & mask
                }
            }
            switch type {
            case .bool: return generator.next() % 3 == 0 ? 1 : 0
            case .f16, .bf16, .f32: return UInt64(Reference.narrowed(Float(weight), type.quantizable ?? .f32))
            case .f64: return (weight + 0.125).bitPattern
            case .f8e8m0: return UInt64(120 + generator.next() % 9)
            case .f8e4m3, .f8e5m2, .f8e4m3fnuz, .f8e5m2fnuz:
                return generator.next() % 0x70 | (generator.next() & 1) << 7
            case .u8, .u16, .u32, .u64: return UInt64(max(0, 100 + weight * 1000))
            default: return UInt64(bitPattern: Int64(weight * 1000)) & mask
            }
        }
    }

    private func check(
        _ found: WeightStatistics, _ elements: [UInt64], _ type: ElementType, columns: Int, _ context: String
    ) throws {
        let values = elements.map { value($0, type) }
        let finite = values.filter(\.isFinite).sorted()
        let count = Double(max(1, finite.count))
        #expect(found.count == UInt64(values.count) && found.nan == UInt64(values.count(where: \.isNaN)), "\(context)")
        #expect(found.infinite == UInt64(values.count(where: \.isInfinite)), "\(context)")
        #expect(found.zeros == UInt64(finite.count { $0 == 0 }), "\(context)")
        #expect(found.minimum == finite.first ?? 0 && found.maximum == finite.last ?? 0, "\(context)")
        let mean = finite.reduce(0, +) / count
        func moment(_ power: Int) -> Double {
            finite.reduce(0) { sum, w in sum + (0..<power).reduce(1.0) { product, _ in product * (w - mean) } } / count
        }
        let deviation = moment(2).squareRoot()
        #expect(abs(found.mean - mean) <= 1e-12 * max(deviation, abs(mean)), "\(context)")
        #expect(abs(found.standardDeviation - deviation) <= 1e-10 * max(deviation, abs(mean)), "\(context)")
        if finite.first != finite.last {
            let kurtosis = moment(4) / (deviation * deviation * deviation * deviation)
            #expect(abs(found.kurtosis - kurtosis) <= 1e-8 * kurtosis, "\(context)")
            #expect(
                abs(found.skewness - moment(3) / (deviation * deviation * deviation)) <= 1e-8 * kurtosis, "\(context)")
        }
        let isExact = type.bitWidth <= 16
        #expect(found.outliersAreExact == isExact, "\(context)")
        #expect((found.percentiles == nil) == finite.isEmpty, "\(context)")
        for (permille, percentile) in zip([10, 50, 500, 950, 990, 999], found.percentiles?.values ?? []) {
            let expected = finite[(finite.count * permille + 999) / 1000 - 1]
            let bound = isExact ? 0 : max(0x1p-8 * abs(expected), 0x1p-133)
            #expect(abs(percentile - expected) <= bound, "\(context), \(permille) permille")
        }
        let histogram = found.histogram
        #expect(histogram.counts.reduce(histogram.below + histogram.above, +) == UInt64(finite.count), "\(context)")
        if isExact {
            let beyond = finite.count { abs($0 - found.mean) > 6 * found.standardDeviation }
            #expect(found.outliers == (found.standardDeviation > 0 ? UInt64(beyond) : 0), "\(context)")
            var frequencies: [UInt64: UInt64] = [:]
            for element in elements { frequencies[element, default: 0] += 1 }
            let entropy = Entropy.bits(frequencies.values)
            #expect(abs(try #require(found.valueEntropy) - entropy) < 1e-9, "\(context)")
            // All weights are in the first bin if bounds of a large mean are equal.
            let scale = histogram.to > histogram.from ? 64 / (histogram.to - histogram.from) : 0
            var bins = [UInt64](repeating: 0, count: 64)
            for weight in finite {
                let place = (weight - histogram.from) * scale
                if place >= 0, place < 64 { bins[Int(place)] += 1 }
            }
            #expect(histogram.counts == bins, "\(context)")
        } else {
            #expect(found.valueEntropy == nil, "\(context)")
        }
        guard type.quantizable == nil, values.allSatisfy(\.isFinite) else { return }
        let rows = values.count / columns
        let squares = values.map { $0 * $0 }
        let roots = (0..<rows).map { row in
            (squares[row * columns..<(row + 1) * columns].reduce(0, +) / Double(columns)).squareRoot()
        }
        #expect(abs(try #require(found.rows).maximum - (roots.max() ?? 0)) <= 1e-12 * (roots.max() ?? 0), "\(context)")
        let across = (0..<columns).map { column in
            (stride(from: column, to: squares.count, by: columns).reduce(0) { $0 + squares[$1] } / Double(rows))
                .squareRoot()
        }
        #expect(
            abs(try #require(found.columns).minimum - (across.min() ?? 0)) <= 1e-12 * (across.min() ?? 0), "\(context)")
    }

    /// Small and large pieces, with and without odd elements.
    @Test(arguments: types) func plainSums(type: ElementType) throws {
        var generator = SeededGenerator(seed: UInt64(type.bitWidth))
        for (rows, columns, piece) in [
            (1, 1, 1), (7, 3, 2), (40, 25, 40), (90, 17, 31), (300, 230, 300), (301, 230, 290),
        ] {
            for odd in [0, 50, 1] {
                let elements = elements(rows * columns, type, &generator, odd: odd)
                let found = try statistics(elements, type, columns: columns, rows: piece)
                try check(
                    found, elements, type, columns: columns, "\(type.rawValue), \(rows) x \(columns), odd \(odd)")
            }
        }
    }

    /// Each value of the types of 8 and 16 bits, once and in a tensor of its own.
    @Test(arguments: types.filter { $0.bitWidth <= 16 }) func everyPattern(type: ElementType) throws {
        let all = (0..<1 << UInt64(type == .bool ? 1 : type.bitWidth)).map { UInt64($0) }
        try check(
            try statistics(all, type, columns: 1, rows: all.count), all, type, columns: 1, "\(type.rawValue), all")
        for bits in all where type.bitWidth == 8 || bits % 97 == 0 {
            let found = try statistics([bits], type, columns: 1, rows: 1)
            let expected = value(bits, type)
            #expect(found.nan == (expected.isNaN ? 1 : 0) && found.infinite == (expected.isInfinite ? 1 : 0), "\(bits)")
            #expect(found.minimum == (expected.isFinite ? expected : 0), "\(type.rawValue) \(bits)")
        }
    }

    /// The smallest normal element and its predecessor. Whole numbers and E8M0 have no subnormal elements.
    @Test func subnormal() throws {
        for (type, smallest) in [
            (ElementType.f8e4m3, UInt64(8)), (.f8e5m2, 4), (.f8e4m3fnuz, 8), (.f8e5m2fnuz, 4), (.f16, 0x400),
            (.bf16, 0x80), (.f32, 0x80_0000), (.f64, 1 << 52),
        ] {
            let found = try statistics([smallest - 1, smallest, 1, 0], type, columns: 4, rows: 1)
            #expect(found.subnormal == 2 && found.zeros == 1, "\(type.rawValue)")
        }
        for type in [ElementType.f8e8m0, .bool, .i8, .u8, .i16, .u16, .i32, .u32, .i64, .u64] {
            #expect(try statistics([0, 1, 1], type, columns: 3, rows: 1).subnormal == 0, "\(type.rawValue)")
        }
    }

    /// Whole numbers below 256 are exact in percentiles although their type is counted by upper halves.
    @Test(arguments: [ElementType.i32, .u32, .i64, .u64]) func smallNumbers(type: ElementType) throws {
        let found = try statistics(Array(0...255), type, columns: 256, rows: 1)
        #expect(found.percentiles?.values == [2, 12, 127, 243, 253, 255])
    }

    /// The largest magnitudes neither overflow nor trap.
    @Test func extremes() throws {
        for (type, values) in [
            (ElementType.i64, [UInt64(1) << 63, (1 << 63) - 1, 0]), (.u64, [.max, 0]), (.u64, [.max, .max]),
            (.f64, [Double.greatestFiniteMagnitude.bitPattern, (-Double.greatestFiniteMagnitude).bitPattern]),
            (.f64, [0x1p-1074.bitPattern, 0x1p-1073.bitPattern]), (.f64, [1e300.bitPattern, 1e-300.bitPattern]),
            (.f64, [Double.greatestFiniteMagnitude.bitPattern, Double.greatestFiniteMagnitude.bitPattern]),
        ] {
            let found = try statistics(values, type, columns: 1, rows: 1)
            let numbers = values.map { value($0, type) }
            #expect(found.minimum == numbers.min() && found.maximum == numbers.max(), "\(type.rawValue) \(values)")
            let half = abs(numbers[0] / 2 - numbers[1] / 2)
            if values.count == 2, half >= 0x1p-1022 || half == 0 {
                #expect(abs(found.standardDeviation - half) <= 1e-12 * half, "\(type.rawValue) \(values)")
                #expect(
                    half == 0 ? found.kurtosis == 0 : abs(found.kurtosis - 1) <= 1e-12, "\(type.rawValue) \(values)")
            }
            #expect(found.histogram.from.isFinite && (found.histogram.to - found.histogram.from).isFinite)
        }
        // Pieces whose largest magnitudes are far apart.
        let mixed = [0, 1e-200, 3e-200, 0, 2, 1].map(\.bitPattern)
        for order in [mixed, mixed.reversed()] {
            let found = try statistics(order, .f64, columns: 1, rows: 2)
            #expect(abs(found.mean - 0.5) < 1e-15 && abs(found.standardDeviation - (7.0 / 12).squareRoot()) < 1e-15)
        }
    }

    @Test func withoutStatistics() {
        #expect(CountedFormat(of: .c64) == nil && CountedFormat(of: .f4) == nil && CountedFormat(of: .f6e2m3) == nil)
        #expect(CountedFormatTests.types.count == ElementType.allCases.count - 4)
    }
}
