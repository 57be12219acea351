import TensorModel

/// Decodes one type of blocks to binary32.
///
/// The results have the same bits as those of ggml's `dequantize_row_*`: the same operations in the same order, none of them fused. The
/// layouts are those of `ggml-common.h`. All half-precision numbers are little-endian.
protocol BlockDecoder: SendableMetatype {
    /// Number of weights in a block.
    static var elements: Int { get }
    /// Number of bytes of a block.
    static var bytes: Int { get }

    /// Decodes one block of `bytes` bytes into `target`, which has room for `elements` little-endian binary32 numbers.
    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>)
}

extension BlockDecoder {
    /// Decodes the block at `start` of `codes` into `buffer` at `offset`.
    @inline(__always)
    static func decode(_ codes: Span<UInt8>, _ start: Int, into buffer: inout [UInt8], at offset: Int) {
        // Views of exactly one block: the compiler can see that every index is valid.
        var all = buffer.mutableSpan
        var target = all._mutatingExtracting(offset..<offset + elements * 4)
        decode(codes.extracting(start..<start + Self.bytes), into: &target)
    }
}

extension Span<UInt8> {
    /// The half-precision number at byte `index`, widened.
    @inline(__always)
    func half(_ index: Int) -> Float {
        let bits = UInt32(self[index]) | UInt32(self[index + 1]) << 8
        let sign = (bits & 0x8000) << 16
        let magnitude = (bits & 0x7FFF) << 13
        // Infinity and NaN keep their exponent. All other numbers are exact when multiplied by 2^112, subnormals included.
        if bits & 0x7C00 == 0x7C00 { return Float(bitPattern: sign | 0x7F80_0000 | magnitude) }
        return Float(bitPattern: sign | (Float(bitPattern: magnitude) * 0x1p112).bitPattern)
    }

    /// The lower four bits of the byte at `index`.
    @inline(__always)
    func low(_ index: Int) -> Int32 { Int32(self[index] & 15) }

    /// The upper four bits of the byte at `index`.
    @inline(__always)
    func high(_ index: Int) -> Int32 { Int32(self[index] >> 4) }
}

extension MutableSpan<UInt8> {
    /// Sets binary32 number `index`, little-endian.
    @inline(__always)
    mutating func set(_ index: Int, _ value: Float) {
        let bits = value.bitPattern
        self[index * 4] = UInt8(truncatingIfNeeded: bits)
        self[index * 4 + 1] = UInt8(truncatingIfNeeded: bits >> 8)
        self[index * 4 + 2] = UInt8(truncatingIfNeeded: bits >> 16)
        self[index * 4 + 3] = UInt8(truncatingIfNeeded: bits >> 24)
    }
}

/// The sixteen values that the codes of IQ4_NL and IQ4_XS select (`kvalues_iq4nl`).
enum NonLinear {
    private static let table: [16 of Float] = [
        -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
    ]

    @inline(__always)
    static func value(_ code: Int32) -> Float { table[Int(code)] }
}
