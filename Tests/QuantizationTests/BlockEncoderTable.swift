import TensorModel

/// Hashes of blocks with ggml's own rounding: without importance, and with it.
enum BlockEncoderTable {
    static let hashes: [BlockType: [UInt64]] = [:]
}
