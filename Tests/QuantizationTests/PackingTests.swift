import Kernels
import Quantization
import TensorModel
import Testing

extension InstructionSetTests {
    @Test(arguments: UniformParameters.supportedBits, BitPacking.Layout.allCases)
    func packsAndUnpacks(bits: Int, layout: BitPacking.Layout) throws {
        var generator = SeededGenerator(seed: UInt64(bits))
        for count in Array(0..<70) + [255, 4096, 4099] {
            let codes = (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) >> UInt8(8 - bits) }
            let expected = Reference.pack(codes, layout, bits: bits)
            try onEveryInstructionSet { set in
                #expect(BitPacking.byteCount(layout, bits: bits, count: count) == expected.count)
                var packed = [UInt8](repeating: 0xee, count: expected.count + 1)
                BitPacking.pack(codes, count: count, layout, bits: bits, into: &packed)
                #expect(packed == expected + [0xee], "\(set), \(count)")
                var again = [UInt8](repeating: 0xee, count: count + 1)
                try BitPacking.unpack(packed, count: count, layout, bits: bits, into: &again)
                #expect(again == codes + [0xee], "\(set), \(count)")
            }
        }
    }

    /// Sets every bit of packed zeros in turn: where no code has it, unpacking must say so.
    @Test(arguments: UniformParameters.supportedBits, BitPacking.Layout.allCases)
    func refusesBitsOfNoCode(bits: Int, layout: BitPacking.Layout) {
        onEveryInstructionSet { set in
            for count in [1, 2, 3, 5, 8, 21] {
                let byteCount = BitPacking.byteCount(layout, bits: bits, count: count)
                for bit in 0..<byteCount * 8 {
                    var packed = [UInt8](repeating: 0, count: byteCount)
                    packed[bit / 8] = 1 << UInt8(bit % 8)
                    var codes = [UInt8](repeating: 0, count: count)
                    var failure: DecodingFailure?
                    do throws(DecodingFailure) {
                        try BitPacking.unpack(packed, count: count, layout, bits: bits, into: &codes)
                    } catch { failure = error }
                    let valid = Reference.pack(codes, layout, bits: bits) == packed
                    #expect((failure == nil) == valid, "\(set), \(count) codes, bit \(bit)")
                    guard failure != nil else { continue }
                    let tail = layout == .dense || bits == 2 || bits == 4 || (bits == 3 && bit % 8 < 6)
                    #expect(failure == (tail ? .tailNotZero : .codeTooLarge), "\(set), \(count), bit \(bit)")
                }
            }
        }
    }

    @Test(arguments: FloatFormat.allCases)
    func splitsAndJoinsPlanes(format: FloatFormat) {
        let width = format.byteWidth
        for count in [0, 1, 15, 16, 17, 33, 1000] {
            var generator = SeededGenerator(seed: UInt64(count))
            // Random bytes: NaN payloads, signalling ones too, are among them.
            let bytes = (0..<count * width).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            onEveryInstructionSet { set in
                var planes = [UInt8](repeating: 0xee, count: bytes.count + 1)
                var again = planes
                BytePlanes.split(bytes, count: count, width: width, into: &planes)
                #expect(planes == Reference.planes(bytes, width: width, rotated: false) + [0xee], "\(set)")
                BytePlanes.join(planes, count: count, width: width, into: &again)
                #expect(again == bytes + [0xee], "\(set), \(count)")
                LosslessCodec.split(bytes.span, format.elementType, into: &planes)
                #expect(
                    planes == Reference.planes(bytes, width: width, rotated: format != .f16) + [0xee], "\(set)")
                LosslessCodec.join(planes, count: count, format.elementType, into: &again)
                #expect(again == bytes + [0xee], "\(set), \(count)")
            }
        }
    }

    /// Every code type, at lengths around those of vectors: planes of the bytes as they are, and back.
    @Test(arguments: ElementType.allCases.filter { $0.isCodeType }) func planesOfCodes(type: ElementType) {
        var state: UInt64 = 1
        for count in [0, 1, 2, 15, 16, 31, 63, 64, 65, 127, 1000] {
            let bytes = (0..<count * type.byteWidth).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return UInt8(truncatingIfNeeded: state >> 56)
            }
            onEveryInstructionSet { set in
                var planes = [UInt8](repeating: 0xee, count: bytes.count + 1)
                var again = planes
                LosslessCodec.split(bytes.span, type, into: &planes)
                let expected = (0..<type.byteWidth).flatMap { plane in
                    (0..<count).map { bytes[$0 * type.byteWidth + plane] }
                }
                #expect(planes == expected + [0xee], "\(set), \(count)")
                LosslessCodec.join(planes, count: count, type, into: &again)
                #expect(again == bytes + [0xee], "\(set), \(count)")
            }
        }
    }
}

struct SpecificationTests {
    /// The worked example of Specs/uniform.md.
    @Test func uniformExample() throws {
        let codes: [UInt8] = [1, 2, 3, 4, 5]
        var dense = [UInt8](repeating: 0, count: 2)
        BitPacking.pack(codes, count: 5, .dense, bits: 3, into: &dense)
        #expect(dense == [0xd1, 0x58])
        var aligned = [UInt8](repeating: 0, count: 3)
        BitPacking.pack(codes, count: 5, .aligned, bits: 3, into: &aligned)
        #expect(aligned == [0x11, 0x23, 0x05])
        var planes = [UInt8](repeating: 0, count: 2)
        BytePlanes.split([0x00, 0x38], count: 1, width: 2, into: &planes)
        #expect(planes == [0x00, 0x38])
        let parameters = try #require(UniformParameters(bits: 3, groupSize: 32, symmetric: false))
        var chunk = UniformChunk()
        chunk.prepare(rows: 1, columns: 5, parameters)
        chunk.codes = codes
        chunk.scales = [0.5]
        chunk.biases = [-1.25]
        var weights = [Float](repeating: 0, count: 5)
        UniformQuantizer.decode(chunk, rows: 1, columns: 5, parameters, into: &weights)
        #expect(weights == [-0.75, -0.25, 0.25, 0.75, 1.25])
        let symmetric = try #require(UniformParameters(bits: 3, groupSize: 32, symmetric: true))
        UniformQuantizer.decode(chunk, rows: 1, columns: 5, symmetric, into: &weights)
        #expect(weights == [-1.5, -1, -0.5, 0, 0.5])
    }

    /// The worked example of Specs/lossless.md.
    @Test func losslessExample() {
        var planes = [UInt8](repeating: 0, count: 6)
        // 1.0, -2.5 and NaN with payload 1.
        LosslessCodec.split([0x80, 0x3f, 0x20, 0xc0, 0x81, 0x7f].span, .bf16, into: &planes)
        #expect(planes == [0x00, 0x41, 0x02, 0x7f, 0x80, 0xff])
        var words = [UInt8](repeating: 0, count: 4)
        LosslessCodec.split([0x00, 0x00, 0x20, 0xc0].span, .f32, into: &words)
        #expect(words == [0x01, 0x00, 0x40, 0x80])
        // 3 and -2, and codes of one byte.
        var codes = [UInt8](repeating: 0, count: 8)
        LosslessCodec.split([3, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff].span, .i32, into: &codes)
        #expect(codes == [0x03, 0xfe, 0x00, 0xff, 0x00, 0xff, 0x00, 0xff])
        LosslessCodec.split([0x7f, 0x80].span, .f8e4m3, into: &codes)
        #expect(codes[..<2] == [0x7f, 0x80])
    }
}
