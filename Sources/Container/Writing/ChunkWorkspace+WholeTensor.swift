package import FileAccess
package import Quantization
package import TensorModel

extension ChunkWorkspace {
    /// What a whole tensor would take and lose, every chunk encoded and none kept.
    package struct WholeTensor: Sendable {
        /// Bytes of the payload, padding included.
        package var byteCount: Int
        /// The certificate's sums.
        package var sums = ErrorSums.zero
        /// Whether the tensor's element type can hold every restored weight; an export to it fails otherwise.
        package var isInRange = true
    }

    /// Encodes every chunk of a tensor, in order, for its exact size and error.
    ///
    /// - Parameters:
    ///   - rule: for all chunks of scheme `trellis`; nil in the others.
    /// - Returns: nil where a weight that would be quantized is NaN or infinite.
    /// - Throws: what reading throws, and where a signal stops the process.
    package func measureWhole(
        _ range: ByteRange, in file: MappedFile, as prologue: PayloadPrologue, by rule: TrellisRule? = nil
    ) throws -> WholeTensor? {
        var whole = WholeTensor(byteCount: 0)
        var streamBytes = 0
        for chunk in 0..<prologue.grid.count {
            try Interruption.check()
            try encode(chunk: chunk, of: range, in: file, as: prologue, by: rule, isAlone: true)
            guard nonFinite.isZero else { return nil }
            streamBytes += encoded.byteCount
            whole.sums = whole.sums + encoded.entry.sums
            guard prologue.scheme != .lossless else { continue }
            let largest = prologue.format.largestFinite
            whole.isInRange = whole.isInRange && restored[..<count].allSatisfy { $0.magnitude <= largest }
        }
        whole.byteCount = prologue.payloadBytes(streamBytes: streamBytes)
        return whole
    }
}
