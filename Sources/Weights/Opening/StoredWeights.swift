package import Architectures
package import Checkpoints
package import Container
package import FileAccess
package import TensorModel

/// A tensor of a checkpoint, in whatever form it is stored.
package struct StoredWeights: Sendable {
    /// Its name.
    package let name: TensorName
    /// What it does in its model.
    package let role: TensorRole
    /// The file it is in, without directory.
    package let fileName: String
    /// Element type and shape of the tensor; of an encoded one, of its original.
    package let elementType: ElementType, shape: Shape
    /// Bytes it takes in its file.
    package let byteCount: UInt64
    /// The blocks of codes that another format stores it in, such as `Q4_K`; they are read as `elementType`. Nil where there are none.
    package let encoding: String?
    /// Where its bytes are, and how they are to be read.
    package let form: Form

    /// How a tensor is stored; held apart, so that copies of very many tensors stay small.
    package indirect enum Form: Sendable {
        /// Its elements, row by row.
        case plain(TensorBytes)
        /// A payload of ours, by its place among those of its shard.
        case payload(Int, of: SharedShard)
    }

    /// A shard that many tensors refer to: by reference, or each of them would carry some hundred bytes of it.
    package final class SharedShard: Sendable {
        /// The shard.
        package let shard: SealedShard

        init(_ shard: SealedShard) { self.shard = shard }
    }

    init(_ tensor: StoredTensor, in file: MappedFile, fileName: String) {
        name = tensor.name
        role = TensorRole(tensor.name)
        self.fileName = fileName
        elementType = tensor.elementType
        shape = tensor.shape
        byteCount = tensor.range.count
        encoding = tensor.encoding
        form = .plain(tensor.bytes(in: file))
    }

    init(payload index: Int, of shared: SharedShard, fileName: String) {
        let payload = shared.shard.payloads[index]
        name = payload.name
        role = TensorRole(payload.name)
        self.fileName = fileName
        elementType = payload.descriptor.format.elementType
        shape = payload.descriptor.shape
        byteCount = payload.range.count
        encoding = nil
        form = .payload(index, of: shared)
    }

    /// Its payload, and the shard that holds it; nil for a tensor stored as it is.
    package var payload: (payload: SealedShard.Payload, shard: SealedShard)? {
        guard case .payload(let index, let shared) = form else { return nil }
        return (shared.shard.payloads[index], shared.shard)
    }

    /// What the header says of its payload; nil for a tensor stored as it is.
    package var descriptor: TensorDescriptor? { payload?.payload.descriptor }

    /// The file its bytes are in.
    package var file: MappedFile {
        switch form {
        case .plain(let bytes): bytes.parts[0].file
        case .payload(_, let shared): shared.shard.file
        }
    }

    /// Its elements, or its payload as it is stored.
    package var bytes: TensorBytes {
        switch form {
        case .plain(let bytes): bytes
        case .payload(let index, let shared): .stored(FilePart(shared.shard.file, shared.shard.payloads[index].range))
        }
    }

    /// The type its elements can be read as; nil where they are no floating-point numbers of 16 or 32 bits.
    package var format: FloatFormat? { elementType.quantizable }

    /// Offset of its first byte in the file.
    var start: UInt64 {
        switch form {
        case .plain(let bytes): bytes.parts[0].range.start
        case .payload(let index, let shared): shared.shard.payloads[index].range.start
        }
    }

    /// How it is stored, for tables: `trellis`, `uniform 4 g64`, `Q4_K`, `kept`.
    package var scheme: String { descriptor?.scheme.summary ?? encoding ?? "kept" }

    /// Whether its elements have to be restored from codes.
    package var isEncoded: Bool { descriptor != nil || encoding != nil }

    /// Bits per element, all side information counted; nil for an empty tensor.
    package var bitsPerElement: Double? {
        shape.elementCount == 0 ? nil : Double(byteCount) * 8 / Double(shape.elementCount)
    }
}
