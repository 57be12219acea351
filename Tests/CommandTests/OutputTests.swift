import Checkpoints
import Container
import ConversionSupport
import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What the command does not write over: links, and files of the user.
@Suite struct OutputTests {
    private func expect(
        _ status: Int32, _ code: IngotError.Code, _ arguments: [String], location: SourceLocation = #_sourceLocation
    ) throws {
        let result = try IngotProcess.run(arguments, location: location)
        #expect(result.status == status, "\(arguments) \(result.errors)", sourceLocation: location)
        let first = "error: \(code.rawValue): "
        #expect(result.errors.hasPrefix(first), "\(arguments) \(result.errors)", sourceLocation: location)
    }

    /// An output that is a symbolic link is refused before the values of the source are looked at.
    @Test(arguments: [[], ["--force"]])
    func outputThatIsALink(options: [String]) async throws {
        let sample = try await CommandSample()
        let nan = try SampleSource.write(
            [[SampleTensor("a.weight", .f32, [32, 32], values: [Float](repeating: 1, count: 1023) + [.nan])]],
            to: sample.directory.at("nan"))
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
}
