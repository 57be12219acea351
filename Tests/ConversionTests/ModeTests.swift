import Container
import Conversion
import ConversionSupport
import FileAccess
import Foundation
import Synchronization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Permissions: copies keep those of their originals, other files get no more than those they are made from, and DEST keeps its own.
@Suite struct ModeTests {
    private static let companions: [(name: String, permissions: Int)] = [
        ("private.txt", 0o600), ("run.sh", 0o755), ("shared.txt", 0o664), ("group.txt", 0o640), ("fixed.txt", 0o444),
        ("all.txt", 0o666), ("own.sh", 0o700), ("config.json", 0o600),
    ]

    private static func source(in directory: TemporaryDirectory, shards: Int = 0o644) throws -> FilePath {
        let source = try SampleSource.write(
            SampleSource.small(), to: directory.at("source"),
            companions: Dictionary(
                uniqueKeysWithValues: companions.map { ($0.name, $0.name == "config.json" ? "{}" : "x") }))
        try Directory.create(source.appending("code"))
        try Files.write("x", to: source.appending("code").appending("open.py"))
        for (name, permissions) in companions { try FileTimes.set(permissions, of: source.appending(name)) }
        try FileTimes.set(0o700, of: source.appending("code"))
        for index in 0..<2 { try FileTimes.set(shards, of: source.appending(SampleSource.shardName(index, of: 2))) }
        return source
    }

    private func expectCopies(in target: FilePath, location: SourceLocation = #_sourceLocation) throws {
        for (name, permissions) in ModeTests.companions {
            #expect(
                try FileTimes.permissions(target.appending(name)) == permissions, "\(name)", sourceLocation: location)
        }
        #expect(try FileTimes.permissions(target.appending("code")) == 0o700, sourceLocation: location)
    }

    /// W18: companions of a conversion, and of an export of it, have the permissions they had.
    @Test func companions() async throws {
        let directory = try TemporaryDirectory()
        let source = try ModeTests.source(in: directory)
        try await Verbs.convert(source, to: directory.at("sealed"))
        try expectCopies(in: directory.at("sealed"))
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"))
        try expectCopies(in: directory.at("out"))
        for target in ["sealed", "out"] {
            #expect(try FileTimes.permissions(directory.at(target)) == FileTimes.masked(0o777))
        }
    }

    /// Set-user-ID and set-group-ID are not handed on.
    @Test func specialBits() async throws {
        let directory = try TemporaryDirectory()
        let source = try ModeTests.source(in: directory)
        try FileTimes.set(0o6755, of: source.appending("run.sh"))
        try await Verbs.convert(source, to: directory.at("sealed"))
        #expect(try FileTimes.permissions(directory.at("sealed").appending("run.sh")) == 0o755)
    }

    /// W18: group and others may read shards, index and manifest only if they may read the source's shards.
    @Test(arguments: [0o600, 0o640, 0o644, 0o444, 0o400])
    func shards(permissions: Int) async throws {
        let directory = try TemporaryDirectory()
        let source = try ModeTests.source(in: directory, shards: 0o644)
        let private1 = SampleSource.shardName(1, of: 2)
        try FileTimes.set(permissions, of: source.appending(private1))
        try await Verbs.convert(source, to: directory.at("sealed"))
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"))
        let narrow = FileTimes.masked(0o666) & (permissions | 0o600)
        for target in [directory.at("sealed"), directory.at("out")] {
            for name in [private1, "model.safetensors.index.json", Manifest.fileName]
            where FileIdentity(target.appending(name)) != nil {
                #expect(try FileTimes.permissions(target.appending(name)) == narrow, "\(name)")
            }
            let open = target.appending(SampleSource.shardName(0, of: 2))
            #expect(try FileTimes.permissions(open) == FileTimes.masked(0o644))
        }
    }

    /// At no moment has a file more permissions than at the end.
    @Test func fromTheFirstMoment() async throws {
        let directory = try TemporaryDirectory()
        let source = try ModeTests.source(in: directory, shards: 0o600)
        let staging = directory.at(".sealed.ingot-partial")
        let widest = Mutex<[String: Int]>([:])
        let watch = CallWatch { _, call in
            // Not by the calls that are watched.
            let names = (try? FileManager.default.contentsOfDirectory(atPath: staging.string)) ?? []
            for name in names {
                guard let now = try? FileTimes.permissions(staging.appending(name)) else { continue }
                let final = name.hasPrefix(".") ? String(name.dropFirst().dropLast(".ingot-tmp".count)) : name
                widest.withLock { $0[final, default: 0] |= now }
            }
            return nil
        }
        try await watch.run { _ = try await Verbs.convert(source, to: directory.at("sealed")) }
        let seen = widest.withLock { $0 }
        #expect(seen.count >= 12)
        for (name, permissions) in seen {
            let final = try FileTimes.permissions(directory.at("sealed").appending(name))
            #expect(permissions == final, "\(name)")
        }
    }

    /// A directory that is replaced hands its permissions on; while the new one grows it has no more than those.
    @Test(arguments: [0o700, 0o750, 0o755, 0o2770, 0o711])
    func replacedDirectory(permissions: Int) async throws {
        let directory = try TemporaryDirectory()
        let source = try ModeTests.source(in: directory)
        var options = Verbs.options()
        options.run.force = true
        try await Verbs.convert(source, to: directory.at("sealed"), options)
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"))
        for name in ["sealed", "out"] { try FileTimes.set(permissions, of: directory.at(name)) }
        let widest = Mutex(0)
        let watch = CallWatch { _, _ in
            for name in [".sealed.ingot-partial", ".out.ingot-partial"] {
                if let now = try? FileTimes.permissions(directory.at(name)) { widest.withLock { $0 |= now } }
            }
            return nil
        }
        try await watch.run {
            _ = try await Verbs.convert(source, to: directory.at("sealed"), options)
            try await Verbs.export(directory.at("sealed"), to: directory.at("out"), force: true)
        }
        for name in ["sealed", "out"] { #expect(try FileTimes.permissions(directory.at(name)) == permissions) }
        #expect(widest.withLock { $0 } & 0o077 & ~permissions == 0)
        try expectCopies(in: directory.at("sealed"))
    }

    /// A file system that has no permissions, such as FAT, refuses to set some: the output is made all the same.
    @Test func fileSystemWithoutPermissions() async throws {
        let place = try ShardedPlace()
        let expected = try await place.expected()
        let watch = CallWatch { _, call in call.name.hasSuffix("chmod") ? .notPermitted : nil }
        try await watch.run { _ = try await place.convert() }
        #expect(watch.trace.contains { $0.name == "fchmod" })
        try FileTimes.set(0o700, of: place.target)
        try await watch.run { _ = try await place.convert { $0.run.force = true } }
        try place.expectFinished(expected)
    }

    /// Work that an earlier run left under a wider mask is narrowed too.
    @Test func resumedWork() async throws {
        let place = try ShardedPlace()
        try await place.convert()
        let old = try Files.snapshot(place.target)
        try Directory.rename(place.target, to: place.directory.at("away"))
        try await place.interrupt(after: 1)
        try Directory.rename(place.directory.at("away"), to: place.target)
        try FileTimes.set(0o700, of: place.target)
        let widest = Mutex(0)
        let watch = CallWatch { _, call in
            if call.path.hasSuffix(ShardedPlace.temporaryName(2)), let now = try? FileTimes.permissions(place.work) {
                widest.withLock { $0 |= now }
            }
            return nil
        }
        let report = try await watch.run { try await place.convert { $0.run.force = true } }
        #expect(report.resumedShards == 1)
        #expect(widest.withLock { $0 } == 0o700)
        #expect(try FileTimes.permissions(place.target) == 0o700)
        try place.expectFinished(old)
    }
}
