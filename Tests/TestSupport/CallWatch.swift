package import FileAccess
import Synchronization
package import SystemPackage

/// Watches the system calls of a run, and fails some of them.
package final class CallWatch: Sendable {
    private let calls = Mutex<[SystemCall]>([])
    private let rule: @Sendable (Int, SystemCall) -> Errno?

    /// Makes a watch.
    ///
    /// - Parameter rule: asked before each call, with its number from 0; what it returns is what the call reports.
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

    /// Runs something under the watch.
    package func run<Value>(_ body: () async throws -> Value) async throws -> Value {
        let hook = SystemCallHook { [self] (call) throws(Errno) in
            if let error = note(call) { throw error }
        }
        return try await SystemCallHook.$current.withValue(hook) { try await body() }
    }
}

/// A journal as a test reads and changes it: lines of a checksum and a text.
package enum JournalFile {
    /// The texts of the lines.
    package static func lines(_ path: FilePath) throws -> [String] {
        String(decoding: try Files.read(path), as: UTF8.self).split(separator: "\n").map { String($0.dropFirst(17)) }
    }

    /// The bytes of a line, with the checksum it has to have.
    package static func line(_ text: String) -> [UInt8] {
        let checksum = ContentHash.hexadecimal(ContentHash.checksum64(Array(text.utf8).span))
        return Array("\(checksum) \(text)\n".utf8)
    }

    /// Changes the texts of the lines; their checksums hold.
    package static func edit(_ path: FilePath, _ change: (inout [String]) -> Void) throws {
        var lines = try lines(path)
        change(&lines)
        try Files.write(lines.flatMap { line($0) }, to: path)
    }
}
