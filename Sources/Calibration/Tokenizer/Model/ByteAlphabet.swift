/// The characters by which byte-level vocabularies write bytes, after GPT-2: printable ones of Latin-1 stand for themselves, the others for
/// U+0100 and on, in order.
enum ByteAlphabet {
    /// The scalar of each byte.
    static let scalars: [UInt32] = {
        var next: UInt32 = 0x100
        return (UInt32(0)..<256).map { byte in
            switch byte {
            case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: return byte
            default:
                next += 1
                return next - 1
            }
        }
    }()

    /// The byte of each scalar below U+0144; -1 where there is none.
    private static let bytes: [Int16] = {
        var bytes = [Int16](repeating: -1, count: 0x144)
        for (byte, scalar) in scalars.enumerated() { bytes[Int(scalar)] = Int16(byte) }
        return bytes
    }()

    /// The bytes that valid UTF-8 stands for; nil if a character stands for none.
    static func bytes(_ text: [UInt8], _ range: Range<Int>) -> [UInt8]? {
        var output: [UInt8] = []
        var index = range.lowerBound
        while index < range.upperBound {
            let (value, length) = UTF8Text.scalar(text, index)
            guard value < 0x144, bytes[Int(value)] >= 0 else { return nil }
            output.append(UInt8(bytes[Int(value)]))
            index += length
        }
        return output
    }
}
