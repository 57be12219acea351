package import Architectures
package import Checkpoints
package import Container
package import FileAccess
package import TensorModel

/// A tensor of an opened checkpoint, plain or encoded.
package struct StoredWeights: Sendable {
    /// The tensor's name.
    package let name: TensorName
    /// The role of the tensor in its model.
    package let role: TensorRole
    /// Name of the file that holds it, without directory.
    package let fileName: String
    /// Element type and shape; for an encoded tensor, those of the source tensor. The element type means nothing if `isReadable` is false.
    package let elementType: ElementType, shape: Shape
    /// Bytes of its elements; for blocks and payloads, the bytes that it takes in its file.
    package let byteCount: UInt64
    /// The name of another format's block encoding, such as `Q4_K`; nil if there is none. Blocks are read as `elementType`.
    package let encoding: String?
    /// How another quantizer stores it, in several tensors; nil for any other tensor.
    package let quantized: QuantizedForm?
    /// Whether Ingot can read its elements; false for blocks that Ingot cannot decode.
    package let isReadable: Bool
    /// Where its bytes are and how to read them.
    package let form: Form

    /// How a tensor is stored. Indirect, so that copying many tensors is cheap.
    package indirect enum Form: Sendable {
        /// Elements, row by row.
        case plain(TensorBytes)
        /// A payload of a sealed shard, by its index in `shard.payloads`.
        case payload(Int, of: SharedShard)
    }

    /// A shard shared by its tensors. A reference saves some hundred bytes per tensor.
    package final class SharedShard: Sendable {
        /// The shard.
        package let shard: SealedShard
        /// Decoders of ranges of elements, shared by the tensors of a checkpoint.
        let decoders: ElementDecoders

        init(_ shard: SealedShard, _ decoders: ElementDecoders) { (self.shard, self.decoders) = (shard, decoders) }
    }

    init(_ tensor: StoredTensor, in file: MappedFile, fileName: String) {
        name = tensor.name
        role = TensorRole(tensor.name)
        self.fileName = fileName
        elementType = tensor.elementType
        shape = tensor.shape
        // A view of a larger PyTorch storage has the bytes of its elements, not of the part of the storage that it reaches over.
        byteCount = tensor.encoding == nil ? tensor.byteCount : tensor.storedByteCount
        quantized = tensor.form
        encoding = tensor.encoding
        isReadable = tensor.isReadable
        form = .plain(tensor.bytes(in: file))
    }

    init(payload index: Int, of shared: SharedShard, fileName: String) {
        let payload = shared.shard.payloads[index]
        name = payload.name
        role = TensorRole(payload.name)
        self.fileName = fileName
        elementType = payload.descriptor.elementType
        shape = payload.descriptor.shape
        byteCount = payload.range.count
        encoding = nil
        quantized = nil
        isReadable = true
        form = .payload(index, of: shared)
    }

    /// The payload and its shard; nil for a plain tensor.
    package var payload: (payload: SealedShard.Payload, shard: SealedShard)? {
        guard case .payload(let index, let shared) = form else { return nil }
        return (shared.shard.payloads[index], shared.shard)
    }

    /// The description of the payload; nil for a plain tensor.
    package var descriptor: TensorDescriptor? { payload?.payload.descriptor }

    /// The file that holds its bytes.
    package var file: MappedFile {
        switch form {
        case .plain(let bytes): bytes.parts[0].file
        case .payload(_, let shared): shared.shard.file
        }
    }

    /// The stored bytes: elements, or the payload.
    package var bytes: TensorBytes {
        switch form {
        case .plain(let bytes): bytes
        case .payload(let index, let shared): .stored(FilePart(shared.shard.file, shared.shard.payloads[index].range))
        }
    }

    /// The float format of its elements; nil if they cannot be read, or are not floating-point numbers of 16 or 32 bits.
    package var format: FloatFormat? { isReadable ? elementType.quantizable : nil }

    /// Offset of the first byte in the file.
    var start: UInt64 {
        switch form {
        case .plain(let bytes): bytes.parts[0].range.start
        case .payload(let index, let shared): shared.shard.payloads[index].range.start
        }
    }

    /// How it is stored, for tables: `trellis`, `uniform 4 g64`, `Q4_K`, `kept`.
    package var scheme: String { descriptor?.scheme.summary ?? encoding ?? "kept" }

    /// Whether its elements are stored as codes, ours or another format's.
    package var isEncoded: Bool { descriptor != nil || encoding != nil }

    /// Bits per element, including all side information; nil for an empty tensor.
    package var bitsPerElement: Double? {
        shape.elementCount == 0 ? nil : Double(byteCount) * 8 / Double(shape.elementCount)
    }
}
