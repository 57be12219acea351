import Kernels
import Quantization
import TensorModel
import Testing

/// Everything that chooses an instruction set is in this suite, one test after the other: the choice is global.
@Suite(.serialized)
struct InstructionSetTests {
    /// Runs `body` once on every instruction set of this processor. A member of this suite, as a test outside it would run beside the others.
    func onEveryInstructionSet(_ body: (Kernels.InstructionSet) throws -> Void) rethrows {
        let active = Kernels.activeInstructionSet
        defer { _ = Kernels.use(active) }
        for set in Kernels.availableInstructionSets {
            #expect(Kernels.use(set))
            try body(set)
        }
    }
}

extension InstructionSetTests {
    @Test func theFastestIsActive() {
        #expect(Kernels.activeInstructionSet == Kernels.availableInstructionSets.last)
        for set in Kernels.InstructionSet.allCases where !Kernels.availableInstructionSets.contains(set) {
            #expect(!Kernels.use(set))
        }
    }

    @Test(arguments: [FloatFormat.f16, .bf16])
    func widensAllElements(format: FloatFormat) {
        let bytes = (0..<65536).flatMap { [UInt8($0 & 0xff), UInt8($0 >> 8)] }
        let expected = Reference.expand(bytes, format).map(\.bitPattern)
        onEveryInstructionSet { set in
            var result = [Float](repeating: 0, count: 65536)
            FloatConversion.expand(bytes.span, format, into: &result)
            #expect(result.map(\.bitPattern) == expected, "\(set)")
        }
    }

    /// All values of both narrow formats, those between two neighbours, and as many random bit patterns.
    @Test(arguments: FloatFormat.allCases)
    func narrowsAsTheReferenceDoes(format: FloatFormat) {
        var generator = SeededGenerator(seed: 7)
        var values: [Float] = [.infinity, -.infinity, .nan, -.nan, .signalingNaN, 65519.996, 65520, -65520]
        for element in 0..<UInt32(65536) {
            for narrow in [FloatFormat.f16, .bf16] {
                let value = Reference.expanded(element, narrow)
                let half: UInt32 = narrow == .f16 ? 0x1000 : 0x8000
                values.append(value)
                values.append(Float(bitPattern: value.bitPattern &+ half))
                values.append(Float(bitPattern: value.bitPattern &+ half &+ 1))
                values.append(Float(bitPattern: value.bitPattern &+ half &- 1))
            }
            values.append(Float(bitPattern: UInt32(truncatingIfNeeded: generator.next())))
        }
        for exponent in -30..<(-12) {
            // Around the subnormals of binary16, where ties are elsewhere.
            let unit = Float(sign: .plus, exponent: exponent, significand: 1)
            for numerator in 0..<64 { values.append(Float(numerator) * unit) }
        }
        let expected = Reference.narrow(values, format)
        onEveryInstructionSet { set in
            var bytes = [UInt8](repeating: 0xaa, count: values.count * format.byteWidth)
            let overflows = FloatConversion.narrow(values, count: values.count, format, into: &bytes)
            #expect(bytes == expected.bytes, "\(set)")
            #expect(overflows == expected.overflows, "\(set)")
        }
    }

    @Test(arguments: FloatFormat.allCases)
    func conversionsStopAtTheCount(format: FloatFormat) {
        onEveryInstructionSet { set in
            for count in 0..<40 {
                let values = Pattern.normal.weights(count, format, seed: 3)
                var bytes = [UInt8](repeating: 0xaa, count: count * format.byteWidth + 3)
                #expect(FloatConversion.narrow(values, count: count, format, into: &bytes) == 0)
                #expect(bytes.suffix(3) == [0xaa, 0xaa, 0xaa], "\(set), \(count)")
                var again = [Float](repeating: 99, count: count + 1)
                FloatConversion.expand(bytes.span.extracting(first: count * format.byteWidth), format, into: &again)
                #expect(again == values + [99], "\(set), \(count)")
            }
        }
    }

    @Test(arguments: FloatFormat.allCases)
    func findsWhatIsNotFinite(format: FloatFormat) {
        onEveryInstructionSet { set in
            for count in [1, 15, 16, 17, 255, 256, 257, 1000] {
                var generator = SeededGenerator(seed: UInt64(count))
                var values = Pattern.largest.weights(count, format, seed: 5)
                #expect(scan(values, format).isZero, "\(set), \(count)")
                #expect(scan(values, format).description(columns: 7) == nil)
                let places = Set((0..<3).map { _ in Int(generator.next() % UInt64(count)) }).sorted()
                for (index, place) in places.enumerated() {
                    values[place] = [Float.infinity, .nan, -.infinity][index]
                }
                let found = scan(values, format)
                #expect(found.first == places[0], "\(set), \(count)")
                #expect(found.nan == (places.count > 1 ? 1 : 0) && found.infinity == places.count - found.nan)
            }
        }
    }

    private func scan(_ values: [Float], _ format: FloatFormat) -> NonFiniteCount {
        var count = NonFiniteCount()
        let bytes = Reference.narrow(values, format).bytes
        count.add(bytes.span, format, firstElement: 0)
        return count
    }

    @Test func sumsErrorsAsTheReferenceDoes() {
        for count in [0, 1, 15, 16, 17, 100, 1023] {
            for format in FloatFormat.allCases {
                for pattern in Pattern.allCases {
                    let weights = pattern.weights(count, format, seed: 11)
                    let restored = Pattern.normal.weights(count, .bf16, seed: 12)
                    let expected = Reference.errorSums(weights, restored)
                    onEveryInstructionSet { set in
                        let sums = ErrorSums.measure(weights, restored, count: count)
                        #expect(sums == expected, "\(set), \(pattern), \(count)")
                    }
                }
            }
        }
    }
}

struct ErrorSumsTests {
    @Test func ratiosOfNothing() {
        #expect(ErrorSums.zero.relativeMSE == 0)
        #expect(ErrorSums.zero.signalToNoise == .infinity)
        #expect(ErrorSums(signal: 0, noise: 1, maxError: 1).relativeMSE == .infinity)
        #expect(ErrorSums(signal: 0, noise: 1, maxError: 1).signalToNoise == -.infinity)
        #expect(ErrorSums(signal: 1000, noise: 1, maxError: 1).signalToNoise == 30)
    }

    @Test func addition() {
        let sum = ErrorSums(signal: 1, noise: 2, maxError: 3) + ErrorSums(signal: 10, noise: 20, maxError: 2)
        #expect(sum == ErrorSums(signal: 11, noise: 22, maxError: 3))
    }

    @Test func aPartsFirstIndexIsMovedToItsPlace() {
        var part = NonFiniteCount()
        part.add([0, 0, 0, 0x7c].span, .f16, firstElement: 0)
        var whole = NonFiniteCount()
        // A tile two elements wide, in the rows of a matrix ten wide.
        whole.add(part) { 20 + $0 / 2 * 10 + $0 % 2 }
        whole.add(part) { 10 + $0 / 2 * 10 + $0 % 2 }
        #expect(whole.first == 11 && whole.infinity == 2)
        #expect(
            whole.description(columns: 10) == "0 NaN and 2 infinite values, the first at row 1, column 1")
    }
}
