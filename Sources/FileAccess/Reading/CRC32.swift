/// CRC-32 of zip archives (polynomial 0x04C11DB7, reflected), computed piece by piece.
///
/// Each step takes sixteen bytes, with one table per byte ("slicing by 16").
package struct CRC32: Sendable {
    private var register: UInt32 = 0xFFFF_FFFF

    /// Starts a checksum.
    package init() {}

    /// The checksum of everything added so far.
    package var value: UInt32 { ~register }

    /// Adds bytes.
    package mutating func update(_ bytes: Span<UInt8>) {
        let tables = CRC32.tables.span
        // Checked once here, so that the compiler drops the bounds checks below.
        guard tables.count == 4096 else { preconditionFailure("sixteen tables of 256") }
        var crc = register
        var start = 0
        while start + 16 <= bytes.count {
            let block = bytes.extracting(start..<start + 16)
            var next: UInt32 = 0
            for index in 0..<4 {
                let byte = UInt8(truncatingIfNeeded: crc >> (8 * UInt32(index))) ^ block[index]
                next ^= tables[(15 - index) << 8 | Int(byte)]
            }
            for index in 4..<16 { next ^= tables[(15 - index) << 8 | Int(block[index])] }
            crc = next
            start += 16
        }
        for index in start..<bytes.count {
            crc = tables[Int(UInt8(truncatingIfNeeded: crc) ^ bytes[index])] ^ crc >> 8
        }
        register = crc
    }

    /// Table `k` begins at 256 * k: the effect of a byte on the register `k` bytes later.
    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 4096)
        for byte in 0..<256 {
            var crc = UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 0 ? crc >> 1 : crc >> 1 ^ 0xEDB8_8320 }
            tables[byte] = crc
        }
        for index in 256..<4096 {
            let before = tables[index - 256]
            tables[index] = before >> 8 ^ tables[Int(before & 0xFF)]
        }
        return tables
    }()
}
