import TensorModel

/// The options that do not change the bytes of the output.
package struct RunOptions: Sendable, Hashable {
    /// Number of chunks that are encoded at the same time.
    package var jobs = 2
    /// Upper bound of the buffers, in bytes; the smallest allowed value is `MemoryBudget.minimumBytes`.
    package var memory: UInt64 = 256 << 20
    /// Whether an existing output of Ingot is replaced.
    package var force = false
    /// Whether the finished shards and tensors of an interrupted conversion are discarded.
    package var restarts = false
    /// Bytes of complete payloads after which an unfinished shard is made durable and recorded in the journal. A run that ends early loses
    /// at most this many bytes, and the payload that it was encoding.
    package var recordedBytes: UInt64 = 64 << 20
    /// Whether each shard of the source is deleted after its output is sealed, on the disk, and verified.
    package var consumesSource = false
    /// Whether the source is still being downloaded, so that the conversion waits for its shards.
    package var follows = false
    /// A followed source: the run ends after this time without new bytes. nil means no limit.
    package var patience: Duration?
    /// A followed source: the time between two looks at its files.
    package var lookInterval = Duration.milliseconds(200)
    /// A followed source: a file that cannot be read is taken as incomplete until it has not changed for this time. Then it is an error.
    package var settledAfter = Duration.seconds(60)
    /// A followed source: the download is complete when no file is in progress and nothing has changed for this time, because clients pause
    /// between two files.
    package var pauseBetweenFiles = Duration.seconds(3)

    /// The defaults of the command.
    package init() {}
}

/// All options of a conversion.
package struct ConversionOptions: Sendable, Hashable {
    /// The options that decide the bytes, and those that do not.
    package var encoding = EncodingOptions(), run = RunOptions()

    /// The defaults of the command.
    package init() {}

    /// Refuses a rate over all matrices together with a followed source, and moments for another scheme than `trellis`.
    ///
    /// - Throws: `usage`.
    func requireConsistent() throws {
        guard encoding.calibration == nil || encoding.scheme == .trellis else {
            throw IngotError(
                .usage, found: "moments for scheme \(encoding.scheme.rawValue)",
                expected: "scheme trellis, which alone uses them",
                remedy: "leave out the scheme, or the calibration")
        }
        guard run.follows, encoding.sharesRate else { return }
        throw IngotError(
            .usage, found: "a rate over all matrices together with a followed source",
            expected:
                "bits or a relative MSE for each matrix: what is shared out depends on shards that have not arrived",
            remedy: encoding.calibration == nil
                ? .either("wait for the download", or: .option(.ratePerMatrix))
                : "wait for the download, or leave the calibration out")
    }
}
