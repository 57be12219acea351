internal import CSystemCalls
internal import SystemPackage
internal import TensorModel

/// Whether the process may have the threads it is going to work with.
package enum ThreadRoom {
    /// Starts and ends so many threads, 16 at most, at once.
    ///
    /// The runtime waits for its first worker without end where the system refuses to start one.
    ///
    /// - Throws: `outOfMemory` where one of them cannot be had.
    package static func require(_ count: Int) throws {
        let failure = ingot_try_threads(Int32(min(count, 16)))
        guard failure == 0 else {
            throw IngotError(
                .outOfMemory, found: "a thread cannot be started: \(Errno(rawValue: failure)) (errno \(failure))",
                expected: "memory for \(count) threads' stacks")
        }
    }
}
