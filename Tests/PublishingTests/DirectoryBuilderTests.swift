import FileAccess
import Foundation
import Publishing
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// A directory appears under its name with everything in it or not at all, and one writer at a time has a target.
@Suite struct DirectoryBuilderTests {
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
        #expect(Files.names(directory.path) == DirectoryBuilderTests.parts)
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
        #expect(error.code == .locked && error.code.kind == .tryAgain)
        // The refused one touched nothing of the first.
        #expect(Files.names(directory.path) == DirectoryBuilderTests.parts)
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
        #expect(error.code.kind == .cannotCreate, "\(error)")
    }
}
