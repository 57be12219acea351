package import SystemPackage
package import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A system call that the hook of the tests sees.
package struct SystemCall: Sendable, Hashable, CustomStringConvertible {
    /// The name of the C function.
    package let name: String
    /// The path that was given to the call, or that its descriptor was opened with.
    package let path: String

    /// Name and path, such as `fsync(out/model.safetensors)`.
    package var description: String { "\(name)(\(path))" }
}

/// A hook for tests between this module and the kernel. It sees each call before it is made, and may make it fail.
///
/// The hook is a task-local value, so that parallel tests in one process do not see each other's faults. It has a type of its own because
/// Swift 6.3 crashes on a task-local that is a bare function with typed throws: it has no runtime metadata for such a type.
package struct SystemCallHook: Sendable {
    /// The hook of this task; nil outside of tests.
    @TaskLocal package static var current: SystemCallHook?

    private let body: @Sendable (SystemCall) throws(Errno) -> Void
    private let shorten: @Sendable (SystemCall, Int) -> Int

    /// Makes a hook.
    ///
    /// - Parameters:
    ///   - body: called before each system call. If it throws, the call fails with that error.
    ///   - shorten: gets the number of bytes that a call is to read or write, and returns the number it may, 1 or more. By default all.
    package init(
        _ body: @escaping @Sendable (SystemCall) throws(Errno) -> Void,
        shorten: @escaping @Sendable (SystemCall, Int) -> Int = { $1 }
    ) {
        self.body = body
        self.shorten = shorten
    }

    /// The number of bytes that a call may read or write: `count` unless the hook shortens it.
    static func byteCount(_ name: String, _ path: FilePath, _ count: Int) -> Int {
        guard let current else { return count }
        return min(max(current.shorten(SystemCall(name: name, path: path.string), count), 1), count)
    }

    /// Lets the hook see a call. The hook may throw the error with which the call fails.
    static func willCall(_ name: String, _ path: FilePath) throws(Errno) {
        if let current { try current.body(SystemCall(name: name, path: path.string)) }
    }
}

/// Repeats a call while it is interrupted. A result of -1 becomes the error of `errno`.
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
            // flock(2) reports a taken lock with the same error, hence the check of the name.
            guard error == .interrupted || error == .resourceTemporarilyUnavailable && name == "pwrite" else {
                throw error
            }
        }
    }
}

extension Errno {
    /// The error of a failed call: `outOfSpace`, `noInput` for a missing file, otherwise `code` or `inputOutput`.
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
