import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Foundation
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Files in a checkpoint that its manifest does not name: shards are refused, anything else is a warning.
@Suite struct UnlistedFileTests {
    /// A converted checkpoint of two shards.
    private struct Sample {
        let directory: TemporaryDirectory
        let path: FilePath

        init() async throws {
            directory = try TemporaryDirectory()
            path = directory.at("sealed")
            try await Verbs.convert(
                SampleSource.write(SampleSource.small(), to: directory.at("source")), to: path)
        }

        func failure() async throws -> IngotError? {
            try await Verbs.failure { try await Verbs.verify(path) }
        }

        func link(_ name: String, to target: String) throws {
            try FileManager.default.createSymbolicLink(
                atPath: path.appending(name).string, withDestinationPath: target)
        }
    }

    @Test(arguments: ["sub/x.safetensors", "x.safetensors", "sub/deeper/x.safetensors"])
    func unlistedShard(name: String) async throws {
        let sample = try await Sample()
        let place = sample.path.pushing(FilePath(name))
        for folder in ["sub", "sub/deeper"] where name.hasPrefix(folder + "/") {
            try Directory.create(sample.path.pushing(FilePath(folder)))
        }
        try SampleSource.writeShard([SampleTensor("a", .f16, [2])], to: place)
        let error = try await sample.failure()
        #expect(error?.code == .manifestInvalid && error?.code.kind == .badData)
        #expect(error?.file == place.string)
    }

    @Test func unlistedPipeAndDanglingLink() async throws {
        let sample = try await Sample()
        let status = unsafe mkfifo(sample.path.appending("pipe").string, 0o600)
        try #require(status == 0)
        try sample.link("dangling", to: "nowhere")
        let report = try await Verbs.verify(sample.path)
        #expect(report.holds)
        let names = ["dangling", "pipe"].map { sample.path.appending($0).string }
        #expect(report.warnings.map(\.file).filter { names.contains($0) }.sorted() == names)
    }

    @Test func danglingLinkWithAShardsName() async throws {
        let sample = try await Sample()
        try sample.link("q.safetensors", to: "nowhere")
        let error = try await sample.failure()
        #expect(error?.code == .manifestInvalid && error?.code.kind == .badData)
        #expect(error?.file == sample.path.appending("q.safetensors").string)
    }
}
