import FileAccess
import Foundation
import Synchronization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Reports: written where a path leads, with the mode of what they replace, past what killed runs left.
@Suite struct ReportFileTests {
    private final class Number: Sendable { let value = Mutex(0) }

    private static func mode(_ path: FilePath) throws -> Int {
        let attributes = try FileManager.default.attributesOfItem(atPath: path.string)
        return try #require(attributes[.posixPermissions] as? Int)
    }

    private static func chmod(_ path: FilePath, _ mode: Int) throws {
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path.string)
    }

    private static func link(_ path: FilePath, to target: String) throws {
        try FileManager.default.createSymbolicLink(atPath: path.string, withDestinationPath: target)
    }

    private static func text(_ path: FilePath) throws -> String {
        String(decoding: try Files.read(path), as: UTF8.self)
    }

    private static func failure(_ path: FilePath) throws -> IngotError? {
        do {
            try ReportFile.write(["new"], to: path)
            return nil
        } catch let error as IngotError {
            return error
        }
    }

    // MARK: - Modes

    /// W13: a report has the mode of the one it replaces, and the temporary file never lets in anybody else.
    @Test(arguments: [0o600, 0o640, 0o644, 0o660, 0o666, 0o400, 0o604]) func mode(mode: Int) throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("f")
        try Files.write("old", to: path)
        try ReportFileTests.chmod(path, mode)
        let worst = Number()
        let hook = SystemCallHook { (_) throws(Errno) in
            guard let found = try? ReportFileTests.mode(directory.at(".f.ingot-tmp")) else { return }
            worst.value.withLock { $0 |= found & 0o777 & ~mode }
        }
        try SystemCallHook.$current.withValue(hook) { try ReportFile.write(["new", " text"], to: path) }
        #expect(worst.value.withLock { $0 } == 0, "the temporary file was open to more")
        #expect(try ReportFileTests.mode(path) == mode)
        #expect(try ReportFileTests.text(path) == "new text")
        #expect(Files.names(directory.path) == ["f"])
    }

    @Test func modeOfANewOne() throws {
        let directory = try TemporaryDirectory()
        try ReportFile.write(["new"], to: directory.at("f"))
        try WholeFile.write([1], to: directory.at("g"))
        #expect(try ReportFileTests.mode(directory.at("f")) == ReportFileTests.mode(directory.at("g")))
    }

    // MARK: - Where a path leads

    /// W12: links stay, and what they lead to is replaced; where nothing is, it is made.
    @Test(arguments: [true, false]) func links(exists: Bool) throws {
        let directory = try TemporaryDirectory()
        try Directory.create(directory.at("below"))
        let target = directory.at("below").appending("f")
        if exists { try Files.write("old", to: target) }
        try ReportFileTests.link(directory.at("first"), to: "below/second")
        try ReportFileTests.link(directory.at("below").appending("second"), to: "../below/./f")
        try ReportFile.write(["new"], to: directory.at("first"))
        #expect(try ReportFileTests.text(target) == "new")
        #expect(Files.names(directory.path) == ["below", "first"])
        #expect(Files.names(directory.at("below")) == ["f", "second"])
        for name in ["first", "below/second"] {
            #expect(try Directory.isLink(directory.path.appending(FilePath(name).components)))
        }
        #expect(try ReportFile.place(directory.at("first")) == .file(directory.at("below/../below/./f"), exists: true))
    }

    @Test func refused() throws {
        let directory = try TemporaryDirectory()
        try ReportFileTests.link(directory.at("loop"), to: "loop")
        try ReportFileTests.link(directory.at("astray"), to: "missing/f")
        try ReportFileTests.link(directory.at("folder"), to: ".")
        for name in ["loop", "astray", "folder", "", ".", "missing/f"] {
            let error = try ReportFileTests.failure(directory.path.appending(FilePath(name).components))
            #expect(error?.code == .cannotCreate, "\(name): \(String(describing: error))")
        }
        for path in ["/dev/fd/12345", "/"] {
            #expect(try ReportFileTests.failure(FilePath(path))?.code == .cannotCreate, "\(path)")
        }
        #expect(Files.names(directory.path) == ["astray", "folder", "loop"])
    }

    /// W12: a FIFO is written into once somebody reads it, and stays one.
    @Test func pipe() throws {
        let directory = try TemporaryDirectory()
        let made = try Subprocess(
            Subprocess.find("mkfifo"), [Array(directory.at("p").string.utf8)], environment: [:]
        ).wait()
        #expect(made.status == 0)
        let reader = try Subprocess(Subprocess.find("cat"), [Array(directory.at("p").string.utf8)], environment: [:])
        let parts = (0..<50_000).map { "\($0)\n" }
        try ReportFile.write(parts, to: directory.at("p"))
        #expect(try reader.wait().output == parts.joined())
        #expect(try Directory.kind(directory.at("p")) == .other)
        #expect(Files.names(directory.path) == ["p"])
    }

    /// A reader that goes away is no error.
    @Test func closedPipe() throws {
        let directory = try TemporaryDirectory()
        _ = try Subprocess(Subprocess.find("mkfifo"), [Array(directory.at("p").string.utf8)], environment: [:]).wait()
        signal(SIGPIPE, SIG_IGN)
        let reader = try Subprocess(
            Subprocess.find("head"), [Array("-c1".utf8), Array(directory.at("p").string.utf8)], environment: [:])
        try ReportFile.write((0..<200_000).lazy.map { "\($0)\n" }, to: directory.at("p"))
        #expect(try reader.wait().output == "0")
    }

    // MARK: - What killed runs leave

    /// W11: a temporary file that nobody writes is replaced; of a hard link only the name goes.
    @Test func leftover() throws {
        let directory = try TemporaryDirectory()
        let (path, temporary) = (directory.at("f"), directory.at(".f.ingot-tmp"))
        try Files.write("half", to: temporary)
        try ReportFile.write(["new"], to: path)
        #expect(try ReportFileTests.text(path) == "new")
        try Files.write("precious", to: directory.at("other"))
        try FileManager.default.linkItem(atPath: directory.at("other").string, toPath: temporary.string)
        try ReportFile.write(["newer"], to: path)
        #expect(try ReportFileTests.text(path) == "newer")
        #expect(try ReportFileTests.text(directory.at("other")) == "precious")
        #expect(Files.names(directory.path) == ["f", "other"])
    }

    /// W11: what no run of ours left is neither followed nor removed.
    @Test func planted() throws {
        let directory = try TemporaryDirectory()
        try Files.write("victim", to: directory.at("victim"))
        let temporary = directory.at(".f.ingot-tmp")
        try ReportFileTests.link(temporary, to: "victim")
        #expect(try ReportFileTests.failure(directory.at("f"))?.code == .cannotCreate)
        #expect(try ReportFileTests.text(directory.at("victim")) == "victim")
        try Directory.removeTree(temporary)
        try Directory.create(temporary)
        #expect(try ReportFileTests.failure(directory.at("f"))?.code == .cannotCreate)
        #expect(Files.names(directory.path) == [".f.ingot-tmp", "victim"])
    }

    /// W11: one that another run writes is left alone.
    @Test func lockedByAnother() throws {
        let directory = try TemporaryDirectory()
        let temporary = directory.at(".f.ingot-tmp")
        try Files.write("half", to: temporary)
        do {
            let other = try Descriptor(temporary, flags: 0, code: .inputOutput)
            #expect(try other.tryLock())
            let error = try ReportFileTests.failure(directory.at("f"))
            #expect(error?.code == .locked && error?.code.kind == .tryAgain, "\(String(describing: error))")
            #expect(try ReportFileTests.text(temporary) == "half")
        }
        // A process that another test starts may have a copy of the lock until it becomes its program.
        for _ in 0..<6000 {
            guard try ReportFileTests.failure(directory.at("f"))?.code == .locked else { break }
            usleep(10_000)
        }
        #expect(try ReportFileTests.text(directory.at("f")) == "new")
    }

    /// W11: of many runs at once that begin with a leftover, each writes all of its text or is told to wait, and nothing is left.
    @Test func manyWriters() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("f")
        for round in 0..<40 {
            try Files.write("half", to: directory.at(".f.ingot-tmp"))
            let results = try await withThrowingTaskGroup(of: IngotError.Code?.self) { group in
                for writer in 0..<6 {
                    group.addTask {
                        do {
                            try ReportFile.write([String(repeating: "\(writer)", count: 50_000)], to: path)
                            return nil
                        } catch let error as IngotError {
                            return error.code
                        }
                    }
                }
                return try await group.reduce(into: [IngotError.Code?]()) { $0.append($1) }
            }
            #expect(
                results.contains(nil) && results.allSatisfy { $0 == nil || $0 == .locked }, "round \(round): \(results)"
            )
            let text = try ReportFileTests.text(path)
            #expect(text.count == 50_000 && Set(text).count == 1, "round \(round)")
            #expect(Files.names(directory.path) == ["f"], "round \(round)")
            try Directory.removeTree(path)
        }
    }

    // MARK: - Faults

    /// W01: every call of a report fails once: the old report or the new one is there, and the next run writes it.
    @Test(arguments: [Errno.ioError, .noSpace, .permissionDenied], [true, false])
    func oneCallFails(error: Errno, hasLeftover: Bool) throws {
        var tried = 0
        while tried < 200 {
            let directory = try TemporaryDirectory()
            let path = directory.at("f")
            try Files.write("old", to: path)
            try ReportFileTests.chmod(path, 0o640)
            if hasLeftover { try Files.write("half", to: directory.at(".f.ingot-tmp")) }
            let calls = Number()
            let victim = tried
            let hook = SystemCallHook { (_) throws(Errno) in
                let number = calls.value.withLock { count in
                    count += 1
                    return count - 1
                }
                if number == victim { throw error }
            }
            let failed = try SystemCallHook.$current.withValue(hook) { try ReportFileTests.failure(path) }
            if calls.value.withLock({ $0 }) <= tried { break }
            let text = try ReportFileTests.text(path)
            #expect(text == "new" || text == "old" && failed != nil, "call \(tried)")
            if failed == nil { #expect(Files.names(directory.path) == ["f"], "call \(tried)") }
            try ReportFile.write(["again"], to: path)
            #expect(try ReportFileTests.text(path) == "again" && Files.names(directory.path) == ["f"], "call \(tried)")
            #expect(try ReportFileTests.mode(path) & 0o137 == 0, "call \(tried)")
            tried += 1
        }
        #expect(tried > 8 && tried < 200)
        Tally.print(tried, "W01 system calls of a report failed once")
    }
}
