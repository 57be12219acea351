import Checkpoints
import Container
import TensorModel

/// Plans the codes and scales of a quantized source that scheme `lossless` keeps exactly: tensors of code types become lossless payloads if
/// that is smaller.
struct CodeTensors {
    /// The rule that decided about such a payload, in words.
    static let rule = "codes of a quantized source"
    /// Chunks that are encoded on trial: all chunks of a tensor that has no more, otherwise as many, at equal distances.
    private static let sampledChunks = 8

    private let options: EncodingOptions
    private let workspace = ProbeWorkspace()

    /// Plans by the codec and the recipe of the options.
    init(_ options: EncodingOptions) { self.options = options }

    /// The plan of a tensor of a code type: a lossless payload, or kept if a payload is not expected to be smaller, or by a rule of the recipe.
    ///
    /// - Returns: nil for tensors of other types, for blocks, and for tensors that no payload can hold.
    /// - Throws: errors of reading.
    func plan(_ tensor: StoredTensor, in shard: Shard) throws -> TensorPlan? {
        guard tensor.elementType.isCodeType, tensor.encoding == nil, tensor.isReadable,
            TensorDescriptor.canDescribe(tensor.elementType, tensor.shape)
        else { return nil }
        if options.recipe.rule(for: tensor.name)?.action == .keep { return nil }
        let descriptor = TensorDescriptor(
            scheme: .lossless, codec: ConversionPlan.codec(options.codec, .lossless), elementType: tensor.elementType,
            shape: tensor.shape)
        let isSmaller = try expectedBytes(tensor, in: shard, descriptor.prologue) < Double(tensor.byteCount)
        return TensorPlan(tensor: tensor, descriptor: isSmaller ? descriptor : nil)
    }

    /// Bytes of the payload by the chunks on trial; exact if all chunks are.
    private func expectedBytes(_ tensor: StoredTensor, in shard: Shard, _ prologue: PayloadPrologue) throws -> Double {
        let grid = prologue.grid
        // A tensor that is too small for a payload needs no trial, nor does one with more chunks than a payload may have.
        guard UInt64(prologue.fixedBytes) < tensor.byteCount, grid.count <= ContainerFormat.maximumChunks else {
            return .infinity
        }
        let count = min(grid.count, CodeTensors.sampledChunks)
        var (bytes, elements) = (0, 0)
        for sample in 0..<count {
            let chunk = (2 * sample + 1) * grid.count / (2 * count)
            bytes += try workspace.encode(chunk, of: shard.bytes(of: tensor), as: prologue).byteCount
            elements += grid.place(of: chunk).count
        }
        guard count < grid.count else { return Double(prologue.payloadBytes(streamBytes: bytes)) }
        return Double(bytes) / Double(elements) * Double(tensor.shape.elementCount) + Double(prologue.fixedBytes)
    }
}
