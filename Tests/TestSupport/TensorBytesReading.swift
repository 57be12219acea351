package import Checkpoints
import FileAccess

extension TensorBytes {
    /// All bytes of the tensor.
    package func all() throws -> [UInt8] { try part(0, count: Int(byteCount)) }

    /// `count` bytes from offset `start`.
    package func part(_ start: UInt64, count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try read(start, count: count, into: &bytes)
        return bytes
    }
}
