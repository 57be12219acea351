package import Quantization
import Synchronization

/// The time that workers spend on a calibrated conversion: on its plan and on its shards, and in the second phase on the first too.
///
/// Workers of several pipelines add to it, so it has a lock. It decides no byte.
package final class CalibrationEffort: Sendable {
    private let state = Mutex(FeedbackTimes())

    /// No time spent yet.
    init() {}

    /// The time that was spent so far.
    package var times: FeedbackTimes { state.withLock { $0 } }

    /// Adds the time of a worker.
    func add(_ times: FeedbackTimes) { state.withLock { $0.add(times) } }
}
