import TensorModel

/// Decodes blocks of codes of one kind to binary32.
///
/// Each gives the bits that `dequantize_row_*` of ggml gives: the same operations in the same order, none of them fused.
/// Layouts are those of `ggml-common.h`; in all of them half precision is little-endian.
protocol BlockDecoder: SendableMetatype {
    /// Weights of a block.
    static var elements: Int { get }
    /// Bytes of a block.
    static var bytes: Int { get }

    /// Decodes one block, `bytes` long, into `target`, which holds `elements` numbers.
    static func decode(_ block: Span<UInt8>, into target: inout MutableSpan<UInt8>)
}

extension BlockDecoder {
    /// Decodes the block that begins at `start` of `codes`.
    @inline(__always)
    static func decode(_ codes: Span<UInt8>, _ start: Int, into buffer: inout [UInt8], at offset: Int) {
        // Views of exactly a block: the compiler sees that no index leaves them.
        var all = buffer.mutableSpan
        var target = all._mutatingExtracting(offset..<offset + elements * 4)
        decode(codes.extracting(start..<start + Self.bytes), into: &target)
    }
}

extension Span<UInt8> {
    /// The half-precision number at an index, widened.
    @inline(__always)
    func half(_ index: Int) -> Float {
        let bits = UInt32(self[index]) | UInt32(self[index + 1]) << 8
        let sign = (bits & 0x8000) << 16
        let magnitude = (bits & 0x7FFF) << 13
        // Infinity and NaN keep their exponent; all else is exact times 2^112, subnormals too.
        if bits & 0x7C00 == 0x7C00 { return Float(bitPattern: sign | 0x7F80_0000 | magnitude) }
        return Float(bitPattern: sign | (Float(bitPattern: magnitude) * 0x1p112).bitPattern)
    }

    /// The lower four bits at an index.
    @inline(__always)
    func low(_ index: Int) -> Int32 { Int32(self[index] & 15) }

    /// The upper four bits at an index.
    @inline(__always)
    func high(_ index: Int) -> Int32 { Int32(self[index] >> 4) }
}

extension MutableSpan<UInt8> {
    /// Sets a number by its index.
    @inline(__always)
    mutating func set(_ index: Int, _ value: Float) {
        let bits = value.bitPattern
        self[index * 4] = UInt8(truncatingIfNeeded: bits)
        self[index * 4 + 1] = UInt8(truncatingIfNeeded: bits >> 8)
        self[index * 4 + 2] = UInt8(truncatingIfNeeded: bits >> 16)
        self[index * 4 + 3] = UInt8(truncatingIfNeeded: bits >> 24)
    }
}

/// The sixteen values that codes of IQ4_NL and IQ4_XS stand for (`kvalues_iq4nl`).
enum NonLinear {
    private static let table: [16 of Float] = [
        -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
    ]

    @inline(__always)
    static func value(_ code: Int32) -> Float { table[Int(code)] }
}
