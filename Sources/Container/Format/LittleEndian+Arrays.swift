import FileAccess

/// Integers in arrays of bytes.
extension LittleEndian {
    /// Appends all bytes of a number.
    static func append<Number: FixedWidthInteger>(_ number: Number, to bytes: inout [UInt8]) {
        for shift in stride(from: 0, to: Number.bitWidth, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: number >> Number(shift)))
        }
    }

    /// Reads a number at byte `index`; traps if it is out of bounds.
    static func load<Number: FixedWidthInteger>(_: Number.Type, _ bytes: [UInt8], at index: Int) -> Number {
        var number: Number = 0
        for offset in (0..<Number.bitWidth / 8).reversed() {
            number = (number << 8) | Number(truncatingIfNeeded: bytes[index + offset])
        }
        return number
    }
}
