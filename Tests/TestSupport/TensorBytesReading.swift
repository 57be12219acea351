package import Checkpoints
import FileAccess

extension TensorBytes {
    /// All bytes.
    package func all() throws -> [UInt8] { try part(0, count: Int(byteCount)) }

    /// `count` bytes from `start` on.
    package func part(_ start: UInt64, count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try read(start, count: count, into: &bytes)
        return bytes
    }
}
