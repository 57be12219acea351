package import FileAccess
import Synchronization
package import SystemPackage

/// Records the system calls of a run, and can make some of them fail.
package final class CallWatch: Sendable {
    private let calls = Mutex<[SystemCall]>([])
    private let rule: @Sendable (Int, SystemCall) -> Errno?

    /// Makes a watch.
    ///
    /// - Parameter rule: called before each system call with its index, from 0. An error it returns is the result of the call; nil lets the
    ///   call through.
    package init(_ rule: @escaping @Sendable (Int, SystemCall) -> Errno? = { _, _ in nil }) { self.rule = rule }

    /// The calls so far.
    package var trace: [SystemCall] { calls.withLock { $0 } }

    private func note(_ call: SystemCall) -> Errno? {
        let number = calls.withLock { calls in
            calls.append(call)
            return calls.count - 1
        }
        return rule(number, call)
    }

    /// Runs `body` under the watch and returns its result.
    package func run<Value>(_ body: () async throws -> Value) async throws -> Value {
        let hook = SystemCallHook { [self] (call) throws(Errno) in
            if let error = note(call) { throw error }
        }
        return try await SystemCallHook.$current.withValue(hook) { try await body() }
    }
}

/// Reads and edits a journal. A line is a checksum and a text.
package enum JournalFile {
    /// Texts of the lines.
    package static func lines(_ path: FilePath) throws -> [String] {
        String(decoding: try Files.read(path), as: UTF8.self).split(separator: "\n").map { String($0.dropFirst(17)) }
    }

    /// Bytes of a line with the checksum of its text.
    package static func line(_ text: String) -> [UInt8] {
        let checksum = ContentHash.hexadecimal(ContentHash.checksum64(Array(text.utf8).span))
        return Array("\(checksum) \(text)\n".utf8)
    }

    /// Edits the texts of the lines, and writes them with valid checksums.
    package static func edit(_ path: FilePath, _ change: (inout [String]) -> Void) throws {
        var lines = try lines(path)
        change(&lines)
        try Files.write(lines.flatMap { line($0) }, to: path)
    }
}
