import Checkpoints
import FileAccess
package import TensorModel

/// Everything of a GGUF file before its tensors: magic, version, counts, metadata and the list of tensors.
///
/// Layout: `gguf.h` of ggml, version 3. llama.cpp requires that the tensors lie in the order of the list without gaps, each padded to a
/// multiple of the alignment. The last tensor is padded too, as the Python package gguf does it.
package struct GGUFFileHeader: Sendable {
    /// A tensor of the file.
    package struct Tensor: Sendable, Hashable {
        package let name: TensorName
        /// The dimensions, the slowest varying first. The file has them in the opposite order.
        package let shape: Shape
        /// ggml's number of its type.
        package let type: UInt32
        /// Bytes of its elements or blocks, without padding.
        package let byteCount: UInt64

        /// Makes an entry.
        package init(_ name: TensorName, _ shape: Shape, type: UInt32, byteCount: UInt64) {
            (self.name, self.shape, self.type, self.byteCount) = (name, shape, type, byteCount)
        }
    }

    /// Alignment of the tensors in bytes. It is ggml's default, which no metadata need to state.
    package static let alignment: UInt64 = 32
    /// Bytes of the longest name that ggml takes (`GGML_MAX_NAME` is 64, with a NUL).
    package static let maximumNameBytes = 63
    /// Most dimensions of a tensor (`GGML_MAX_DIMS`).
    package static let maximumRank = 4
    private static let version: UInt32 = 3

    private let metadata: GGUFKeyValues
    private let tensors: [Tensor]
    /// The offset of each tensor from the start of the data.
    package let offsets: [UInt64]
    /// Bytes of the header, padded: the offset of the first tensor in the file.
    package let byteCount: UInt64
    /// Bytes of the whole file.
    package let fileBytes: UInt64

    /// Plans a file.
    ///
    /// - Throws: `nameTooLong`, `invalidShape` or `duplicateKey`, naming the tensor, for what ggml does not load; `invalidOffsets` for a file
    ///   of 2^63 bytes or more.
    package init(_ metadata: GGUFKeyValues, _ tensors: [Tensor]) throws {
        self.metadata = metadata
        self.tensors = tensors
        var seen: Set<TensorName> = []
        var front = GGUFFile.fixedBytes + UInt64(metadata.bytes.count)
        var data: UInt64 = 0
        var offsets: [UInt64] = []
        offsets.reserveCapacity(tensors.count)
        for tensor in tensors {
            try GGUFFileHeader.check(tensor.name, tensor.shape)
            guard seen.insert(tensor.name).inserted else {
                throw IngotError(.duplicateKey, tensor: tensor.name, found: "two tensors of this name")
            }
            // Length and text of the name, number of dimensions, dimensions, type, offset.
            front += UInt64(8 + tensor.name.text.utf8.count + 4 + 8 * tensor.shape.dimensions.count + 4 + 8)
            offsets.append(data)
            guard let end = Checked.add(data, tensor.byteCount),
                let next = Checked.roundUp(end, to: GGUFFileHeader.alignment), next < 1 << 62
            else {
                throw IngotError(
                    .invalidOffsets, tensor: tensor.name, found: "a tensor of \(tensor.byteCount) bytes",
                    expected: "a file of fewer than 2^62 bytes")
            }
            data = next
        }
        self.offsets = offsets
        byteCount = front + GGUFFileHeader.padding(after: front)
        fileBytes = byteCount + data
    }

    /// Requires a name and a shape that ggml loads.
    ///
    /// - Throws: `nameTooLong`, `invalidShape`.
    static func check(_ name: TensorName, _ shape: Shape) throws {
        let length = name.text.utf8.count
        guard length <= maximumNameBytes else {
            throw IngotError(
                .nameTooLong, tensor: name, found: "a name of \(length) bytes",
                expected: "at most \(maximumNameBytes) bytes, as ggml takes them", remedy: "rename the tensor")
        }
        guard shape.dimensions.count <= maximumRank else {
            throw IngotError(
                .invalidShape, tensor: name, found: "a tensor of shape \(shape)",
                expected: "at most \(maximumRank) dimensions, as ggml takes them")
        }
    }

    /// Zero bytes that follow `count` bytes up to the next multiple of the alignment.
    package static func padding(after count: UInt64) -> UInt64 { (alignment - count % alignment) % alignment }

    /// The bytes of the header, with the padding at its end.
    package var bytes: [UInt8] {
        var bytes = GGUFFile.magic + LittleEndian.bytes(GGUFFileHeader.version)
        bytes.reserveCapacity(Int(byteCount))
        bytes += LittleEndian.bytes(UInt64(tensors.count))
        bytes += LittleEndian.bytes(metadata.count)
        bytes += metadata.bytes
        for (tensor, offset) in zip(tensors, offsets) {
            bytes += LittleEndian.bytes(UInt64(tensor.name.text.utf8.count))
            bytes += tensor.name.text.utf8
            bytes += LittleEndian.bytes(UInt32(tensor.shape.dimensions.count))
            for dimension in tensor.shape.dimensions.reversed() { bytes += LittleEndian.bytes(UInt64(dimension)) }
            bytes += LittleEndian.bytes(tensor.type)
            bytes += LittleEndian.bytes(offset)
        }
        return bytes + [UInt8](repeating: 0, count: Int(byteCount) - bytes.count)
    }
}
