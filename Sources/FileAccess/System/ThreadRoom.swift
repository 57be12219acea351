internal import CSystemCalls
internal import SystemPackage
internal import TensorModel

/// Checks that the process can start the threads it needs.
package enum ThreadRoom {
    /// Starts `count` threads at the same time, 16 at most, and ends them.
    ///
    /// If the system refuses to start a thread, the runtime waits forever for its first worker.
    ///
    /// - Throws: `outOfMemory` if a thread cannot be started.
    package static func require(_ count: Int) throws {
        let failure = ingot_try_threads(Int32(min(count, 16)))
        guard failure == 0 else {
            throw IngotError(
                .outOfMemory, found: "a thread cannot be started: \(Errno(rawValue: failure)) (errno \(failure))",
                expected: "memory for \(count) threads' stacks")
        }
    }
}
