/// Numbers as bytes, least significant byte first.
package enum LittleEndian {
    /// The bytes of binary32 numbers, four for each.
    package static func bytes(_ numbers: ArraySlice<Float>) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(4 * numbers.count)
        for number in numbers {
            unsafe withUnsafeBytes(of: number.bitPattern.littleEndian) { unsafe bytes.append(contentsOf: $0) }
        }
        return bytes
    }

    /// The bytes of a whole number, all of them.
    package static func bytes(_ number: some FixedWidthInteger) -> [UInt8] {
        unsafe withUnsafeBytes(of: number.littleEndian) { unsafe Array($0) }
    }
}
