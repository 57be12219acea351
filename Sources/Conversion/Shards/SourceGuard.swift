import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Weights

/// Checks that the shards of the source do not change until the output is published.
struct SourceGuard {
    private let context: ConversionContext
    /// Shards whose status changed after they were opened, by position: the identity of the file when all of its bytes were last compared.
    private var compared: [Int: FileIdentity] = [:]

    /// A source whose status keeps changing is compared at most this many times.
    static let maximumComparisons = 3

    /// Prepares the checks; reads nothing yet.
    init(_ context: ConversionContext) { self.context = context }

    /// Requires that a shard is the one that an earlier run opened.
    ///
    /// - Returns: the line to add to the journal; nil if the journal has the same fingerprint.
    /// - Throws: `sourceChanged`.
    func fingerprint(_ shard: Shard, _ position: Int) throws -> JournalRecord? {
        let fingerprint = try SourceFingerprint(shard)
        guard let earlier = context.work.state.sources[position] else { return .source(position, fingerprint) }
        if let difference = fingerprint.difference(from: earlier) { throw changed(shard, difference) }
        return fingerprint == earlier ? nil : .source(position, fingerprint)
    }

    private func changed(_ shard: Shard, _ difference: String) -> IngotError {
        IngotError(
            .sourceChanged, file: shard.file.path.string, found: difference,
            expected: "the shard that the interrupted conversion read",
            remedy: .either("put the source back as it was", or: .option(.beginAnew)))
    }

    /// Requires that a shard is still the one that was converted: the same identity of the file, or, if only its status changed, the same
    /// bytes.
    ///
    /// Hashes alone are not enough: a band that does not fit in memory is read once to be encoded and once to be hashed. So the output is
    /// decoded and compared with the source.
    ///
    /// - Throws: `sourceChanged`.
    mutating func requireUnchanged(_ source: Shard, _ position: Int) async throws {
        let file = source.file
        for _ in 0..<SourceGuard.maximumComparisons {
            let now = FileIdentity(file.path)
            switch file.change {
            case .none: return
            case .content: throw file.wasChanged
            case .status: if let now, now == compared[position] { return }
            }
            if let earlier = context.work.state.sources[position],
                try SourceFingerprint(source).difference(from: earlier) != nil
            {
                throw file.wasChanged
            }
            do {
                try await compare(source, position)
            } catch let error as IngotError where [.certificateMismatch, .sourceMismatch].contains(error.code) {
                throw file.wasChanged
            }
            if now == FileIdentity(file.path) { compared[position] = now }
        }
        guard let now = FileIdentity(file.path), now == compared[position] else { throw file.wasChanged }
    }

    /// Requires that the output of a shard, decoded from the disk, has the hash and the certificate of every tensor of its source.
    ///
    /// - Throws: `certificateMismatch`, `sourceMismatch`.
    func compare(_ source: Shard, _ position: Int) async throws {
        let path = context.outputPath(position)
        let tensors = try await ShardVerification(SealedShard(path), against: source).run(context.budget)
        if let failed = tensors.first(where: { !$0.holds }) {
            throw IngotError(
                .certificateMismatch, file: path.string, tensor: failed.name,
                found: "an output that does not hold what it claims: its source is not deleted",
                expected: "the error of the certificate", remedy: "check memory and disk of this machine")
        }
        guard tensors.count == source.header.tensors.count else {
            throw IngotError(
                .sourceMismatch, file: path.string, found: "\(tensors.count) tensors",
                expected: "\(source.header.tensors.count), as in the source, which is not deleted")
        }
    }

    /// Requires that the source of a finished shard is the one that was converted: the same identity of the file, or the same length,
    /// header and hashes of all tensors.
    ///
    /// - Throws: `sourceChanged`.
    func requireTakenFrom(_ source: Shard, _ position: Int, _ shard: SealedShard) throws {
        guard let earlier = context.work.state.sources[position] else { return }
        guard source.file.identity != earlier.identity else { return }
        if let difference = try SourceFingerprint(source).difference(from: earlier) {
            throw changed(source, difference)
        }
        let hashes = Dictionary(
            shard.payloads.map { ($0.name, $0.descriptor.sourceHash) }, uniquingKeysWith: { first, _ in first })
        let kept = Dictionary(shard.kept.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        for tensor in source.header.tensors {
            let expected = try hashes[tensor.name] ?? kept[tensor.name].map { try shard.checkKept($0) }
            guard try source.bytes(of: tensor).hash() == expected else {
                throw changed(source, "other weights in \(tensor.name.text)")
            }
        }
    }

    /// Requires that the source has the hash of every tensor that was encoded in an unfinished shard. Each hash stands in the journal alone
    /// until the shard is sealed, so the source is hashed again even if its file looks the same.
    ///
    /// - Parameter layout: the layout whose first payloads were encoded.
    /// - Throws: `sourceChanged`.
    func requireTakenFrom(_ source: Shard, _ layout: ShardLayout, _ unfinished: UnfinishedShard) throws {
        for (plan, payload) in zip(layout.payloads, unfinished.payloads)
        where try source.bytes(of: plan.tensor).hash() != payload.descriptor.sourceHash {
            throw changed(source, "other weights in \(plan.tensor.name.text)")
        }
    }
}
