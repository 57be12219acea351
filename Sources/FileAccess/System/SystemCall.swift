package import SystemPackage
package import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A system call that changes or reads the world, as tests see it.
package struct SystemCall: Sendable, Hashable, CustomStringConvertible {
    /// The name of the C function.
    package let name: String
    /// The path it was given, or that its descriptor was opened with.
    package let path: String

    /// `fsync(out/model.safetensors)`.
    package var description: String { "\(name)(\(path))" }
}

/// What tests put between this module and the kernel: it sees each call before it is made, and may fail it.
///
/// A task-local value, so that tests of one process do not meet each other's faults.
package enum SystemCallHook {
    /// Called before each system call; an error thrown is what the call reports.
    @TaskLocal package static var current: (@Sendable (SystemCall) throws(Errno) -> Void)?

    static func willCall(_ name: String, _ path: FilePath) throws(Errno) {
        if let current { try current(SystemCall(name: name, path: path.string)) }
    }
}

/// Makes a call until it is not interrupted; -1 becomes the error of `errno`.
func repeating<Result: FixedWidthInteger & SignedInteger>(
    _ name: String, _ path: FilePath, _ call: () -> Result
) throws(Errno) -> Result {
    while true {
        try SystemCallHook.willCall(name, path)
        let result = call()
        if result != -1 { return result }
        let error = Errno(rawValue: errno)
        guard error == .interrupted || error == .resourceTemporarilyUnavailable && name == "write" else { throw error }
    }
}

extension Errno {
    /// The error of a failed call, in the words and with the exit status the command promises.
    package func ingotError(_ call: String, _ path: FilePath, code: IngotError.Code? = nil) -> IngotError {
        let usual: IngotError.Code =
            switch self {
            case .noSpace, .fileTooLarge, .diskQuotaExceeded: .outOfSpace
            case .noSuchFileOrDirectory where call == "open" || call == "stat": .noInput
            default: code ?? .inputOutput
            }
        return IngotError(usual, file: path.string, found: "\(call) failed: \(description) (errno \(rawValue))")
    }
}
