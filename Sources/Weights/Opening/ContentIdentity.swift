import Checkpoints
import Container
package import FileAccess
import Quantization
import SystemPackage
import TensorModel

/// What identifies the weights of a checkpoint, wherever it lies.
package struct ContentIdentity: Sendable, Hashable {
    /// Hash of names, element types, shapes and contents of all tensors; of a sealed checkpoint, those of its source.
    package let source: ContentHash
    /// Hash of the weights as they are read: `source`, or, if weights are restored from codes, that of the manifest, which has the hashes of
    /// all files.
    package let weights: ContentHash
}

extension OpenedCheckpoint {
    /// Computes the identity. It reads all weights of a checkpoint that is not sealed.
    ///
    /// - Throws: errors of reading; `sealInvalid` for a kept tensor that is damaged; the errors of interruption.
    package func contentIdentity() throws -> ContentIdentity {
        let hasher = ContentHasher()
        for tensor in tensors.sorted(by: { $0.name < $1.name }) {
            try Interruption.check()
            let hash = try tensor.descriptor?.sourceHash ?? tensor.bytes.hash()
            let shape = tensor.shape.dimensions.map(String.init).joined(separator: "x")
            let text = "\(tensor.name.text)\0\(tensor.elementType.rawValue)\0\(shape)\0\(hash)\n"
            hasher.update(Array(text.utf8).span)
        }
        let source = hasher.finish()
        guard tensors.contains(where: { ($0.descriptor?.scheme ?? .lossless) != .lossless }) else {
            return ContentIdentity(source: source, weights: source)
        }
        let manifest = try MappedFile.open(path.appending(Manifest.fileName))
        return ContentIdentity(source: source, weights: try manifest.hash(of: manifest.wholeRange))
    }
}
