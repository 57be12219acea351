import Conversion
import FileAccess
import TensorModel
import Work

/// Progress of a verb that reads weights, and with `--verbose` its time.
final class ReadingProgress {
    private let progress: Progress
    private let isVerbose: Bool
    private let clock = ContinuousClock()
    private let begin = ContinuousClock.now
    private let numbers: [TensorName: Int]
    private var state = ConversionProgress()

    /// Prepares the progress.
    ///
    /// - Parameters:
    ///   - totalBytes: bytes that will be done at the end.
    ///   - files: names of the files that are read.
    init(_ shown: ProgressOptions, totalBytes: UInt64, files: [String]) {
        progress = Progress(shown.progress, isQuiet: shown.quiet)
        isVerbose = shown.verbose && !shown.quiet
        state.totalBytes = totalBytes
        state.shardCount = files.count
        numbers = Dictionary(
            files.enumerated().map { (TensorName($0.element), $0.offset + 1) }, uniquingKeysWith: { first, _ in first })
    }

    /// Shows a warning, unless the run is quiet.
    func warn(_ warning: IngotWarning) { progress.show(.warning(warning)) }

    /// Notes that `bytes` more are done, of a tensor in a file.
    func note(_ tensor: TensorName, _ file: String, _ bytes: UInt64) {
        state.doneBytes = min(state.doneBytes + bytes, state.totalBytes ?? .max)
        state.tensor = tensor
        state.shard = file
        state.shardNumber = numbers[TensorName(file)] ?? 0
        progress.show(.progress(state))
    }

    /// Notes that `bytes` are done altogether, the last of them of a tensor in a file.
    func note(_ tensor: TensorName, _ file: String, total bytes: UInt64) {
        note(tensor, file, bytes - min(bytes, state.doneBytes))
    }

    /// Removes the bar, and tells the time if asked for.
    func finish() {
        Progress.clear()
        guard isVerbose else { return }
        let seconds = (clock.now - begin).seconds
        let bytes = state.totalBytes ?? 0
        let rate = seconds > 0 ? Format.bytes(UInt64(Double(bytes) / seconds)) : "-"
        let read = bytes == 0 ? "" : "read \(Format.bytes(bytes)), \(rate)/s, "
        Console.message(
            "\(read)\(NumberText.fixed(seconds, 2)) s, "
                + "\(NumberText.fixed(ProcessUsage.processorSeconds, 2)) s of processors, "
                + "peak memory \(ProcessUsage.peakResidentBytes) bytes")
    }
}
