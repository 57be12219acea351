import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Writing: a name appears with all of its bytes or not at all, and one writer at a time has a target.
@Suite struct WritingTests {
    // MARK: - Files

    /// Appends around the size of the buffer, zeros, and bytes written over afterwards.
    @Test func bytesOfAFile() throws {
        let directory = try TemporaryDirectory()
        var expected: [UInt8] = []
        var file = try AtomicFile(directory.at("f"))
        for (number, count) in [0, 1, 1 << 20, 5, (1 << 20) - 5, 6, 3 << 20, (1 << 20) - 1, 1, 1, 70_000].enumerated() {
            let bytes = [UInt8](repeating: UInt8(number + 1), count: count)
            try file.append(bytes.span)
            expected += bytes
            try file.appendZeros(UInt64(number * 1000))
            expected += [UInt8](repeating: 0, count: number * 1000)
            #expect(file.byteCount == UInt64(expected.count))
        }
        for offset in [0, 1, (1 << 20) - 2, expected.count - 3] {
            try file.overwrite([9, 8, 7].span, at: UInt64(offset))
            expected.replaceSubrange(offset..<offset + 3, with: [9, 8, 7])
        }
        #expect(Files.names(directory.path) == [".f.ingot-tmp"])
        try file.publish()
        #expect(Files.names(directory.path) == ["f"])
        #expect(try Files.read(directory.at("f")) == expected)
    }

    @Test func droppedFile() throws {
        let directory = try TemporaryDirectory()
        try Files.write("old", to: directory.at("f"))
        do {
            var file = try AtomicFile(directory.at("f"))
            try file.append([1, 2, 3].span)
            #expect(Files.names(directory.path).count == 2)
        }
        #expect(Files.names(directory.path) == ["f"])
        #expect(try Files.read(directory.at("f")) == Array("old".utf8))
    }

    /// The temporary file is created anew (O_EXCL): one that is there, or a link, is never written through.
    @Test func temporaryFileIsNew() throws {
        let directory = try TemporaryDirectory()
        try Files.write("victim", to: directory.at("victim"))
        try FileManager.default.createSymbolicLink(
            atPath: directory.at(".f.ingot-tmp").string, withDestinationPath: "victim")
        let error = try #require(throws: IngotError.self) { try WholeFile.write([1], to: directory.at("f")) }
        #expect(error.code == .cannotCreate)
        #expect(try Files.read(directory.at("victim")) == Array("victim".utf8))
    }

    @Test func modeFollowsTheMask() throws {
        let directory = try TemporaryDirectory()
        try WholeFile.write([1], to: directory.at("f"))
        try Files.write([1], to: directory.at("plain"))
        let attributes = try FileManager.default.attributesOfItem(atPath: directory.at("f").string)
        let mode = try #require(attributes[.posixPermissions] as? Int)
        #expect(mode & 0o111 == 0 && mode & 0o600 == 0o600)
    }

    @Test func copies() throws {
        let directory = try TemporaryDirectory()
        for count in [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000] {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            try Files.write(bytes, to: directory.at("from"))
            let result = try WholeFile.copy(directory.at("from"), to: directory.at("to"))
            #expect(try Files.read(directory.at("to")) == bytes)
            #expect(result.hash == ContentHash(of: bytes.span) && result.byteCount == UInt64(count))
        }
        #expect(throws: IngotError.self) { try WholeFile.read(directory.at("from"), limit: 2_999_999) }
    }

    // MARK: - Directories

    private static let parts = [".d.ingot-lock", ".d.ingot-partial"]

    private func build(_ target: FilePath, _ text: String, force: Bool = false) throws {
        let replaceable: ((FilePath) throws -> DirectorySnapshot)? = force ? { try DirectorySnapshot(of: $0) } : nil
        let builder = try DirectoryBuilder.begin(target, replaceable: replaceable)
        try WholeFile.write(Array(text.utf8), to: builder.staging.appending("f"))
        try builder.publish()
    }

    @Test func directoryAppearsComplete() throws {
        let directory = try TemporaryDirectory()
        let builder = try DirectoryBuilder.begin(directory.at("d"), replaceable: nil)
        #expect(Files.names(directory.path) == WritingTests.parts)
        try WholeFile.write([1], to: builder.staging.appending("f"))
        try builder.publish()
        #expect(Files.names(directory.path) == ["d"])
        #expect(Files.names(directory.at("d")) == ["f"])
    }

    @Test func droppedDirectory() throws {
        let directory = try TemporaryDirectory()
        do {
            let builder = try DirectoryBuilder.begin(directory.at("d"), replaceable: nil)
            try Directory.create(builder.staging.appending("below"))
            try WholeFile.write([1], to: builder.staging.appending("below").appending("f"))
        }
        #expect(Files.names(directory.path) == [])
    }

    /// W06: the second writer of a target is told so.
    @Test func secondWriter() throws {
        let directory = try TemporaryDirectory()
        let first = try DirectoryBuilder.begin(directory.at("d"), replaceable: nil)
        try WholeFile.write([1], to: first.staging.appending("f"))
        let error = try #require(throws: IngotError.self) {
            _ = try DirectoryBuilder.begin(directory.at("d"), replaceable: nil)
        }
        #expect(error.code == .locked && error.code.exitStatus == 75)
        // The refused one touched nothing of the first.
        #expect(Files.names(directory.path) == WritingTests.parts)
        _ = try DirectoryBuilder.begin(directory.at("e"), replaceable: nil)
        try first.publish()
        #expect(Files.names(directory.path) == ["d"])
    }

    @Test func leftoversOfAKilledRun() throws {
        let directory = try TemporaryDirectory()
        let staging = directory.at(".d.ingot-partial")
        try Directory.create(staging)
        try Directory.create(staging.appending("below"))
        try Files.write("half", to: staging.appending(".f.ingot-tmp"))
        try Files.write("half", to: staging.appending("below").appending("g"))
        try Files.write("victim", to: directory.at("victim"))
        try FileManager.default.createSymbolicLink(
            atPath: staging.appending("link").string, withDestinationPath: "../victim")
        try Files.write("", to: directory.at(".d.ingot-lock"))
        try build(directory.at("d"), "new")
        #expect(Files.names(directory.path) == ["d", "victim"])
        #expect(Files.names(directory.at("d")) == ["f"])
    }

    /// A link under the staging directory's name goes; what it leads to stays.
    @Test func leftoverThatIsALink() throws {
        let directory = try TemporaryDirectory()
        try Directory.create(directory.at("precious"))
        try Files.write("x", to: directory.at("precious").appending("f"))
        try FileManager.default.createSymbolicLink(
            atPath: directory.at(".d.ingot-partial").string, withDestinationPath: "precious")
        try build(directory.at("d"), "new")
        #expect(Files.names(directory.path) == ["d", "precious"])
        #expect(Files.names(directory.at("precious")) == ["f"])
    }

    @Test func existingTargets() throws {
        let directory = try TemporaryDirectory()
        try build(directory.at("d"), "old")
        let error = try #require(throws: IngotError.self) { try build(directory.at("d"), "new") }
        #expect(error.code == .cannotCreate)
        try build(directory.at("d"), "new", force: true)
        #expect(try Files.read(directory.at("d").appending("f")) == Array("new".utf8))
        #expect(Files.names(directory.path) == ["d"])
        try Files.write("x", to: directory.at("file"))
        #expect(throws: IngotError.self) { try build(directory.at("file"), "new", force: true) }
        #expect(try Files.read(directory.at("file")) == Array("x".utf8))
        #expect(Files.names(directory.path) == ["d", "file"])
    }

    @Test func targetAppearsDuringTheRun() throws {
        let directory = try TemporaryDirectory()
        let builder = try DirectoryBuilder.begin(directory.at("d"), replaceable: nil)
        try Directory.create(directory.at("d"))
        try Files.write("other", to: directory.at("d").appending("g"))
        do {
            try builder.publish()
            Issue.record("published over another directory")
        } catch let error as IngotError {
            #expect(error.code == .cannotCreate)
        }
        #expect(Files.names(directory.path) == ["d"])
        #expect(Files.names(directory.at("d")) == ["g"])
    }

    @Test(arguments: ["/", "", ".", "..", "/proc/ingot-test", "/dev/null/d"])
    func impossibleTargets(path: String) throws {
        let error = try #require(throws: IngotError.self) {
            _ = try DirectoryBuilder.begin(FilePath(path), replaceable: nil)
        }
        #expect(error.code.exitStatus == 73, "\(error)")
    }
}
