import Architectures
import Checkpoints
package import Container
package import FileAccess
package import Moments
import Quantization
package import SystemPackage
import TensorModel

/// The first phase of a calibrated conversion in two phases: its output, and the corrections that were gathered through it.
///
/// The second phase encodes the output and down projections again, from corrected weights. It copies all other payloads.
package struct FirstPhase: Sendable {
    /// The output of the first phase.
    package let checkpoint: SealedCheckpoint
    /// The corrections.
    package let correction: CorrectionFile
    /// XXH3-128 of the first phase's manifest, and of the file of corrections. Both are recorded.
    package let manifest: ContentHash, hash: ContentHash
    private let places: [TensorName: (shard: Int, payload: Int)]

    /// Opens the output of the first phase and the corrections.
    ///
    /// - Throws: `momentsInvalid` if the corrections were gathered through another conversion; errors of opening.
    package init(through path: FilePath, correction: FilePath) throws {
        checkpoint = try SealedCheckpoint(path)
        self.correction = try CorrectionFile(correction)
        manifest = try FirstPhase.manifestHash(of: path)
        hash = try self.correction.file.hash(of: self.correction.file.wholeRange)
        guard self.correction.description.through == manifest.description else {
            throw IngotError(
                .momentsInvalid, file: correction.string,
                found: "corrections through the conversion \(self.correction.description.through.prefix(40))",
                expected: "\(manifest), the one in \(path.string)",
                remedy: "gather the corrections anew, through this conversion")
        }
        var places: [TensorName: (shard: Int, payload: Int)] = [:]
        for (number, shard) in checkpoint.shards.enumerated() {
            for (index, payload) in shard.payloads.enumerated() { places[payload.name] = (number, index) }
        }
        self.places = places
    }

    /// XXH3-128 of the manifest of a sealed checkpoint.
    package static func manifestHash(of path: FilePath) throws -> ContentHash {
        let file = try MappedFile.open(path.appending(Manifest.fileName))
        return try file.hash(of: file.wholeRange)
    }

    /// The payload of a tensor in the first phase, and its shard; nil if it was kept.
    func payload(of name: TensorName) -> (payload: SealedShard.Payload, shard: SealedShard)? {
        places[name].map { (checkpoint.shards[$0.shard].payloads[$0.payload], checkpoint.shards[$0.shard]) }
    }

    /// The step of the first chunk of a calibrated payload.
    func step(of name: TensorName) throws -> Float? {
        guard let (payload, shard) = payload(of: name) else { return nil }
        return try shard.chunkTable(of: payload).entry(0).step
    }
}
