import TensorModel

/// The options that decide how a conversion runs. The bytes written do not depend on them.
package struct RunOptions: Sendable, Hashable {
    /// Chunks worked on at the same time.
    package var jobs = 2
    /// Bytes of buffers at most.
    package var memory: UInt64 = 256 << 20
    /// Whether an existing checkpoint of ours is replaced.
    package var force = false
    /// Whether the finished shards of an interrupted conversion are thrown away instead of kept.
    package var restarts = false
    /// Whether each shard of the source is deleted once its output is sealed, on the disk, and verified.
    package var consumesSource = false
    /// Whether shards are waited for that are still being downloaded.
    package var follows = false
    /// How long nothing may arrive of a source that is followed; nil for any time.
    package var patience: Duration?
    /// How often a source that is followed is looked at.
    package var lookInterval = Duration.milliseconds(200)
    /// A file that makes no sense may be in the middle of being written, but not for so long without a change.
    package var settledAfter = Duration.seconds(60)
    /// A client fetches the next file within so long, where it fetches one after the other.
    package var pauseBetweenFiles = Duration.seconds(3)

    /// The defaults of the command.
    package init() {}
}

/// What a conversion is asked to do.
package struct ConversionOptions: Sendable, Hashable {
    /// What decides the bytes, and what does not.
    package var encoding = EncodingOptions(), run = RunOptions()

    /// The defaults of the command.
    package init() {}

    /// Refuses options that cannot be had together.
    ///
    /// - Throws: `usage`.
    func requireConsistent() throws {
        guard run.follows, encoding.scheme == .trellis, encoding.goal.isShared else { return }
        throw IngotError(
            .usage, found: "a rate over all matrices together with a followed source",
            expected:
                "bits or a relative MSE for each matrix: what is shared out depends on shards that have not arrived",
            remedy: .either("wait for the download", or: .option(.ratePerMatrix)))
    }
}
