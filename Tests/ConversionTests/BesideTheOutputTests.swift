import Conversion
import ConversionSupport
import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Other things under the names of lock, journal and work directory: nothing is written through them, and none is cut or removed.
@Suite struct BesideTheOutputTests {
    enum Verb: CaseIterable, Sendable {
        case convert, resume, export
    }

    /// A place with a victim, and one of the verbs about to be run.
    private struct Scene {
        let place: ShardedPlace
        let verb: Verb
        let victim: FilePath
        let original: FilePath

        init(_ verb: Verb) async throws {
            place = try ShardedPlace()
            self.verb = verb
            victim = place.directory.at("victim")
            original = place.directory.at("original")
            try await Verbs.convert(place.source, to: original, place.options)
            if verb == .resume { try await place.interrupt(after: 1) }
        }

        func at(_ kind: String) -> FilePath { place.directory.at(".sealed.ingot-\(kind)") }

        func run() async throws {
            if verb == .export { return try await Verbs.export(original, to: place.target) }
            try await place.convert()
        }

        func link(_ kind: String) throws {
            try FileManager.default.createSymbolicLink(
                atPath: at(kind).string, withDestinationPath: victim.string)
        }

        /// Requires that the verb is refused, and that everything stays as it is.
        func expectRefusal(
            _ kind: String, _ word: String, location: SourceLocation = #_sourceLocation
        ) async throws {
            let before = try Files.snapshot(place.directory.path)
            let names = Files.names(place.directory.path)
            let error = try await Verbs.failure { try await run() }
            #expect(error?.code == .cannotCreate && error?.code.kind == .cannotCreate, sourceLocation: location)
            #expect(error?.file == at(kind).string, "\(String(describing: error))", sourceLocation: location)
            #expect(error?.found.contains(word) == true, "\(error?.found ?? "")", sourceLocation: location)
            #expect(try Files.snapshot(place.directory.path) == before, sourceLocation: location)
            let lock = ".sealed.ingot-lock"
            #expect(
                Files.names(place.directory.path).filter { $0 != lock } == names.filter { $0 != lock },
                sourceLocation: location)
            #expect(try kind != "lock" || Directory.links(at(kind)) != nil, sourceLocation: location)
        }

        func expectSuccess() async throws {
            try await run()
            #expect(place.leftovers.filter { $0.hasPrefix(".") } == [])
        }
    }

    // MARK: - The lock

    /// W14: a link under the lock's name makes no file elsewhere.
    @Test(arguments: Verb.allCases, [false, true])
    func lockThatIsALink(verb: Verb, isDangling: Bool) async throws {
        let scene = try await Scene(verb)
        if !isDangling { try Files.write("victim", to: scene.victim) }
        try scene.link("lock")
        try await scene.expectRefusal("lock", "symbolic link")
        #expect((FileIdentity(scene.victim) == nil) == isDangling)
        try Directory.removeFile(scene.at("lock"))
        try await scene.expectSuccess()
    }

    @Test(arguments: Verb.allCases)
    func lockThatIsNoFile(verb: Verb) async throws {
        let scene = try await Scene(verb)
        try Directory.create(scene.at("lock"))
        try await scene.expectRefusal("lock", "no regular file")
        try Directory.removeTree(scene.at("lock"))
        #expect(mkfifo(scene.at("lock").string, 0o600) == 0)
        try await scene.expectRefusal("lock", "no regular file")
        try Directory.removeTree(scene.at("lock"))
        try await scene.expectSuccess()
    }

    /// A lock that is another name of a file with content is locked, and never written.
    @Test(arguments: Verb.allCases)
    func lockThatIsAHardLink(verb: Verb) async throws {
        let scene = try await Scene(verb)
        try Files.write("victim", to: scene.victim)
        try FileManager.default.linkItem(atPath: scene.victim.string, toPath: scene.at("lock").string)
        try await scene.expectSuccess()
        #expect(try Files.read(scene.victim) == Array("victim".utf8))
    }

    // MARK: - The journal

    /// W14: a second name of another file is not cut before anything is known of it; nor a second name of a journal.
    @Test(arguments: Verb.allCases, ["victim", "", "0123456789abcdef {}\n"])
    func journalThatIsAHardLink(verb: Verb, text: String) async throws {
        let scene = try await Scene(verb)
        try? Directory.removeFile(scene.at("journal"))
        try Files.write(text, to: scene.victim)
        try FileManager.default.linkItem(atPath: scene.victim.string, toPath: scene.at("journal").string)
        try await scene.expectRefusal("journal", "2 names")
        #expect(try Files.read(scene.victim) == Array(text.utf8))
        try Directory.removeFile(scene.at("journal"))
        try await scene.expectSuccess()
    }

    /// The journal of an interrupted run that got a second name.
    @Test func ownJournalWithTwoNames() async throws {
        let scene = try await Scene(.resume)
        try FileManager.default.linkItem(atPath: scene.at("journal").string, toPath: scene.victim.string)
        try await scene.expectRefusal("journal", "2 names")
        try Directory.removeFile(scene.victim)
        try await scene.expectSuccess()
    }

    @Test(arguments: Verb.allCases, [false, true])
    func journalThatIsALink(verb: Verb, isDangling: Bool) async throws {
        let scene = try await Scene(verb)
        try? Directory.removeFile(scene.at("journal"))
        if !isDangling { try Files.write("victim", to: scene.victim) }
        try scene.link("journal")
        try await scene.expectRefusal("journal", "symbolic link")
        #expect((FileIdentity(scene.victim) == nil) == isDangling)
    }

    /// What does not begin as a journal does is no journal.
    @Test(
        arguments: Verb.allCases,
        ["work of years\n", "{\"event\":\"begin\"}\n", "\0\0\0\0 something", "0123456789abcd, or so", "abc-def+012!"])
    func journalOfOtherContent(verb: Verb, text: String) async throws {
        let scene = try await Scene(verb)
        try Files.write(text, to: scene.at("journal"))
        try await scene.expectRefusal("journal", "other content")
    }

    @Test(arguments: Verb.allCases)
    func journalThatIsNoFile(verb: Verb) async throws {
        let scene = try await Scene(verb)
        try? Directory.removeFile(scene.at("journal"))
        try Directory.create(scene.at("journal"))
        try Files.write("x", to: scene.at("journal").appending("f"))
        try await scene.expectRefusal("journal", "no file")
        try Directory.removeTree(scene.at("journal"))
        #expect(mkfifo(scene.at("journal").string, 0o600) == 0)
        try await scene.expectRefusal("journal", "no file")
    }

    // MARK: - The work directory

    /// A file where the output is to grow is none of ours.
    @Test(arguments: [Verb.convert, .export])
    func workThatIsAFile(verb: Verb) async throws {
        let scene = try await Scene(verb)
        try Files.write("mine", to: scene.at("partial"))
        try await scene.expectRefusal("partial", "a file")
        try Directory.removeFile(scene.at("partial"))
        try await scene.expectSuccess()
    }

    /// A link there goes; what it leads to stays, with a journal beside it or without.
    @Test(arguments: Verb.allCases)
    func workThatIsALink(verb: Verb) async throws {
        let scene = try await Scene(verb)
        try Directory.removeTree(scene.at("partial"))
        try Directory.create(scene.victim)
        try Files.write("x", to: scene.victim.appending("f"))
        try scene.link("partial")
        try await scene.expectSuccess()
        #expect(Files.names(scene.victim) == ["f"])
    }
}
