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
/// A task-local value, so that tests of one process do not meet each other's faults. (A value of its own type: Swift 6.3
/// has no metadata at run time for a bare function that throws one type of error, and crashes on such a task-local.)
package struct SystemCallHook: Sendable {
    /// The hook of this task; nil outside of tests.
    @TaskLocal package static var current: SystemCallHook?

    private let body: @Sendable (SystemCall) throws(Errno) -> Void
    private let shorten: @Sendable (SystemCall, Int) -> Int

    /// Makes a hook that is called before each system call; an error thrown is what the call reports.
    ///
    /// - Parameter shorten: how many bytes, from 1 on, a call that reads or writes so many gets; all of them where none is given.
    package init(
        _ body: @escaping @Sendable (SystemCall) throws(Errno) -> Void,
        shorten: @escaping @Sendable (SystemCall, Int) -> Int = { $1 }
    ) {
        self.body = body
        self.shorten = shorten
    }

    /// How many bytes a call is to be given.
    static func byteCount(_ name: String, _ path: FilePath, _ count: Int) -> Int {
        guard let current else { return count }
        return min(max(current.shorten(SystemCall(name: name, path: path.string), count), 1), count)
    }

    static func willCall(_ name: String, _ path: FilePath) throws(Errno) {
        if let current { try current.body(SystemCall(name: name, path: path.string)) }
    }
}

/// Makes a call until it is not interrupted; -1 becomes the error of `errno`.
func repeating<Result: FixedWidthInteger & SignedInteger>(
    _ name: String, _ path: FilePath, _ call: () -> Result
) throws(Errno) -> Result {
    while true {
        do throws(Errno) {
            try SystemCallHook.willCall(name, path)
            let result = call()
            if result != -1 { return result }
            throw Errno(rawValue: errno)
        } catch {
            // flock(2) says the same of a lock that is taken, hence the name.
            guard error == .interrupted || error == .resourceTemporarilyUnavailable && name == "pwrite" else {
                throw error
            }
        }
    }
}

extension Errno {
    /// The error of a failed call, in the words and with the exit status the command promises.
    package func ingotError(_ call: String, _ path: FilePath, code: IngotError.Code? = nil) -> IngotError {
        let isMissing = self == .noSuchFileOrDirectory || self == .fileNameTooLong
        let usual: IngotError.Code =
            switch self {
            case .noSpace, .fileTooLarge, .diskQuotaExceeded: .outOfSpace
            case _ where isMissing && code != .cannotCreate && ["open", "stat"].contains(call): .noInput
            default: code ?? .inputOutput
            }
        return IngotError(usual, file: path.string, found: "\(call) failed: \(description) (errno \(rawValue))")
    }
}
