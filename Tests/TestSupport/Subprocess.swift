package import SystemPackage

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A process that a test starts. Its output goes to files, so that no pipe can fill.
package final class Subprocess: Sendable {
    /// End of a process, and its output.
    package struct Result: Sendable {
        /// Exit status, or 128 plus the number of the signal that ended the process.
        package let status: Int32
        /// Whether a signal ended the process.
        package let signalled: Bool
        /// Standard output and standard error.
        package let output: String, errors: String

        /// The same result with other text on standard error.
        package func errorsReplaced(_ errors: String) -> Result {
            Result(status: status, signalled: signalled, output: output, errors: errors)
        }
    }

    /// Process number.
    package let identifier: Int32
    private let directory: TemporaryDirectory
    private static let standardNames = ["", "stdout", "stderr"]

    /// Target of standard output.
    package enum Output: Sendable {
        /// A file, for `Result.output`.
        case file
        /// A path, such as a device.
        case path(String)
        /// None: the descriptor is closed.
        case closed
    }

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - program: path of the executable.
    ///   - arguments: its arguments, as any bytes.
    ///   - environment: its whole environment.
    ///   - output: target of its standard output.
    package init(
        _ program: FilePath, _ arguments: [[UInt8]], environment: [String: String], output: Output = .file
    ) throws {
        directory = try TemporaryDirectory()
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        let flags = O_WRONLY | O_CREAT
        switch output {
        case .file:
            unsafe posix_spawn_file_actions_addopen(&actions, 1, directory.at("stdout").string, flags, 0o600)
        case .path(let path): unsafe posix_spawn_file_actions_addopen(&actions, 1, path, O_WRONLY, 0)
        case .closed: unsafe posix_spawn_file_actions_addclose(&actions, 1)
        }
        unsafe posix_spawn_file_actions_addopen(&actions, 2, directory.at("stderr").string, flags, 0o600)
        var number: pid_t = 0
        let values = environment.map { Array("\($0.key)=\($0.value)".utf8) }
        let failure = unsafe CStrings.with([Array(program.string.utf8)] + arguments) { argv in
            unsafe CStrings.with(values) { envp in
                unsafe posix_spawn(&number, program.string, &actions, nil, argv, envp)
            }
        }
        guard failure == 0 else { throw Errno(rawValue: failure) }
        identifier = number
    }

    /// Path of a system program.
    package static func find(_ name: String) -> FilePath {
        let places = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map { FilePath($0).appending(name) }
        return places.first { unsafe access($0.string, X_OK) == 0 } ?? FilePath(name)
    }

    /// Sends a signal to the process.
    package func signal(_ number: Int32) { kill(identifier, number) }

    /// Waits until something is so, or the process has ended. The bound of ten minutes is for a process that hangs, not for a slow disk.
    package func wait(until isSo: () -> Bool) {
        let end = ContinuousClock.now + .seconds(600)
        while !isSo(), isRunning, .now < end { usleep(1000) }
    }

    private var isRunning: Bool {
        var found = unsafe siginfo_t()
        let result = unsafe waitid(P_PID, id_t(identifier), &found, WEXITED | WNOHANG | WNOWAIT)
        #if canImport(Glibc)
            let ended = unsafe found._sifields._sigchld.si_pid
        #else
            let ended = unsafe found.si_pid
        #endif
        return result == 0 && ended == 0
    }

    /// Waits for the end of the process.
    package func wait() throws -> Result {
        var status: Int32 = 0
        while unsafe waitpid(identifier, &status, 0) == -1 {
            guard errno == EINTR else { throw Errno(rawValue: errno) }
        }
        let signal = status & 0x7F
        func text(_ name: String) -> String {
            String(decoding: (try? Files.read(directory.at(name))) ?? [], as: UTF8.self)
        }
        return Result(
            status: signal == 0 ? (status >> 8) & 0xFF : 128 + signal, signalled: signal != 0, output: text("stdout"),
            errors: text("stderr"))
    }
}

/// Arrays of C strings for `exec`.
private enum CStrings {
    static func with<Value>(
        _ strings: [[UInt8]], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Value
    ) -> Value {
        var pointers: [UnsafeMutablePointer<CChar>?] = unsafe strings.map { bytes in
            unsafe strdup((bytes + [0]).map { CChar(bitPattern: $0) })
        }
        unsafe pointers.append(nil)
        defer { for index in unsafe pointers.indices { unsafe free(pointers[index]) } }
        return unsafe pointers.withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress else { preconditionFailure("an array with its end is not empty") }
            return unsafe body(start)
        }
    }
}
