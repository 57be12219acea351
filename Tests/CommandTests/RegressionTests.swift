import Checkpoints
import Container
import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What the command once did wrong, as a user meets it: exit status, message, and what is left.
@Suite struct RegressionTests {
    private func expect(
        _ status: Int32, _ code: IngotError.Code, _ arguments: [String], location: SourceLocation = #_sourceLocation
    ) throws {
        let result = try IngotProcess.run(arguments, location: location)
        #expect(result.status == status, "\(arguments) \(result.errors)", sourceLocation: location)
        let first = "error: \(code.rawValue): "
        #expect(result.errors.hasPrefix(first), "\(arguments) \(result.errors)", sourceLocation: location)
    }

    /// A reader that goes away does not hide that a claim does not hold.
    @Test func brokenPipeKeepsTheStatus() async throws {
        let sample = try await CommandSample()
        let other = try SampleSource.write(SampleSource.small(seed: 2), to: sample.directory.at("other"))
        for wait in ["", "sleep 0.3;"] {
            let line = "set -o pipefail; { \(wait) \"$INGOT\" verify \"$1\" --against \"$2\"; } | true"
            #expect(try IngotProcess.shell(line, [sample.sealed.string, other.string]).status == 1)
            #expect(try IngotProcess.shell(line, [sample.sealed.string, sample.source.string]).status == 0)
        }
    }

    /// An output that is a symbolic link is refused before the values of the source are looked at.
    @Test(arguments: [[], ["--force"]])
    func outputThatIsALink(options: [String]) async throws {
        let sample = try await CommandSample()
        let nan = try SampleSource.write(
            [[SampleTensor("a.weight", .f32, [1, 2], values: [1, .nan])]], to: sample.directory.at("nan"))
        try Directory.create(sample.directory.at("empty"))
        try await Verbs.convert(sample.source, to: sample.directory.at("old"))
        for target in ["nowhere", "empty", "old"] {
            let link = sample.at("to-\(target)")
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: target)
            let names = Files.names(sample.directory.path)
            let before = try Files.snapshot(sample.directory.path)
            for source in [nan, sample.source] {
                try expect(73, .cannotCreate, ["convert", source.string, link] + options)
            }
            try expect(73, .cannotCreate, ["export", sample.sealed.string, link] + options)
            #expect(Files.names(sample.directory.path) == names)
            #expect(try Files.snapshot(sample.directory.path) == before)
            #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == target)
        }
    }

    /// A table of 38 GB, by the description: refused in a process that may have 4 GiB.
    @Test func hugeTableIsNotAllocated() async throws {
        let directory = try TemporaryDirectory()
        try HollowCheckpoint.write(
            shape: [600_000_000, 262_144], frontBytes: 64, payloadBytes: 1 << 20, to: directory.at("hollow"))
        for verb in ["verify", "inspect"] {
            let line = "ulimit -v 4194304; exec \"$INGOT\" \"$1\" \"$2\""
            let result = try IngotProcess.shell(line, [verb, directory.at("hollow").string])
            #expect(result.status == 65 && result.errors.hasPrefix("error: payloadInvalid: "), "\(result.errors)")
        }
    }

    /// `--force` replaces a checkpoint and nothing else.
    @Test func forceAndFilesOfTheUsers() async throws {
        let sample = try await CommandSample()
        let arguments = ["convert", sample.source.string, sample.sealed.string, "--force"]
        try Directory.create(sample.sealed.appending("mine"))
        let place = sample.sealed.appending("mine").appending("thesis.tex")
        try Files.write("work of years", to: place)
        try expect(73, .cannotCreate, arguments)
        #expect(try Files.read(place) == Array("work of years".utf8))
        try Directory.removeTree(sample.sealed.appending("mine"))
        #expect(try IngotProcess.run(arguments).status == 0)
        try Files.write("{}", to: sample.sealed.appending(Manifest.fileName))
        let before = try Files.snapshot(sample.sealed)
        try expect(73, .cannotCreate, arguments)
        #expect(try Files.snapshot(sample.sealed) == before)
    }

    /// What stands in a checkpoint and in no manifest: weights are refused, anything else is told.
    @Test func strangersInACheckpoint() async throws {
        let sample = try await CommandSample()
        let verify = ["verify", sample.sealed.string]
        let pipe = try IngotProcess.shell("mkfifo \"$1/pipe\" && ln -s nowhere \"$1/link\"", [sample.sealed.string])
        try #require(pipe.status == 0)
        let result = try IngotProcess.run(verify)
        #expect(result.status == 0)
        let lines = result.errors.split(separator: "\n").filter { $0.hasPrefix("warning: ") }
        #expect(lines.count == 2 && lines[0].contains("link") && lines[1].contains("pipe"), "\(result.errors)")
        try Directory.create(sample.sealed.appending("sub"))
        try Files.write("", to: sample.sealed.appending("sub").appending("x.safetensors"))
        try expect(65, .manifestInvalid, verify)
    }
}
