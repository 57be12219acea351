import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `ingot convert --claims`: what does not hold is not published, and not thrown away.
@Suite struct ClaimsGateTests {
    private struct Place {
        let directory: TemporaryDirectory
        let source: FilePath, target: FilePath, claims: FilePath

        init(_ shards: [[SampleTensor]] = SampleSource.small()) throws {
            directory = try TemporaryDirectory()
            source = try SampleSource.write(shards, to: directory.at("source"))
            target = directory.at("sealed")
            claims = directory.at("claims.json")
        }

        func arguments(_ more: [String] = []) -> [String] {
            ["convert", source.string, target.string, "--scheme", "uniform", "--claims", claims.string] + more
        }

        /// Claims that the error stays below a limit.
        func claim(_ limit: Double) throws {
            try ClaimsTests.write(
                #"{"claim": "max_relative_mse", "limit": \#(limit)}, {"claim": "finite"}"#, to: claims)
        }

        /// What a conversion without claims makes.
        func expected() throws -> [String: [UInt8]] {
            let path = directory.at("expected")
            let made = try IngotProcess.run(["convert", source.string, path.string, "--scheme", "uniform"])
            #expect(made.status == 0, "\(made.errors)")
            defer { try? Directory.removeTree(path) }
            return try Files.snapshot(path)
        }

        var names: [String] { Files.names(directory.path) }
    }

    private static let one = [
        [SampleTensor("a.q_proj.weight", .f16, [8, 64]), SampleTensor("norm.weight", .f32, [8])]
    ]

    /// Fails, keeps the work and names it; the same command with other claims goes on from it.
    @Test(arguments: [one, SampleSource.small()]) func failAndResume(shards: [[SampleTensor]]) throws {
        let place = try Place(shards)
        let expected = try place.expected()
        try place.claim(1e-9)
        for _ in 0..<2 {
            let failed = try IngotProcess.run(place.arguments())
            #expect(failed.status == 1 && failed.output.isEmpty, "\(failed.errors)")
            #expect(failed.errors.split(separator: "\n").first { !$0.hasPrefix("model") } == "FAIL  max_relative_mse")
            #expect(failed.errors.contains("error: claimFailed: max_relative_mse: 0.0"))
            #expect(failed.errors.contains("q_proj.weight") && failed.errors.contains("(--restart begins anew)"))
            #expect(failed.errors.contains("the output is kept in \(place.directory.at(".sealed.ingot-partial"))"))
            #expect(place.names == [".sealed.ingot-journal", ".sealed.ingot-partial", "claims.json", "source"])
        }
        try place.claim(0.5)
        let passed = try IngotProcess.run(place.arguments(["--format", "json"]))
        #expect(passed.status == 0, "\(passed.errors)")
        let report = try JSONValue.parse(Array(passed.output.utf8))
        #expect(report["resumed_shards"]?.unsigned == UInt64(shards.count))
        #expect(report["claims"]?.array?.count == 5)
        #expect(try Files.snapshot(place.target) == expected)
        #expect(place.names == ["claims.json", "sealed", "source"])
    }

    @Test func passes() throws {
        let place = try Place()
        let expected = try place.expected()
        try ClaimsTests.write(
            #"{"claim": "max_relative_mse", "limit": 0.5}, {"claim": "max_error", "limit": 0, "level": "warn"}, {"claim": "max_peak_memory", "limit": "4GiB"}"#,
            to: place.claims)
        let result = try IngotProcess.run(place.arguments(["--follow"]))
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.contains("WARN  max_error") && result.output.contains("PASS  max_peak_memory"))
        #expect(result.output.contains("PASS  source_matches") && result.output.contains("claims: 1 warning, 5 passed"))
        #expect(try Files.snapshot(place.target) == expected)
    }

    /// What is there stays there until what replaces it holds.
    @Test func replacing() throws {
        let place = try Place()
        #expect(try IngotProcess.run(["convert", place.source.string, place.target.string, "--bits", "8"]).status == 0)
        let old = try Files.snapshot(place.target)
        try place.claim(1e-9)
        #expect(try IngotProcess.run(place.arguments(["--force"])).status == 1)
        #expect(try Files.snapshot(place.target) == old)
        try place.claim(0.5)
        #expect(try IngotProcess.run(place.arguments(["--force"])).status == 0)
        #expect(try Files.snapshot(place.target) != old)
        #expect(place.names == ["claims.json", "sealed", "source"])
    }

    /// Claims are read before any work.
    @Test func refusals() throws {
        let place = try Place()
        try place.claim(1)
        #expect(try IngotProcess.run(place.arguments(["--consume-source"])).status == 64)
        try Files.write("{}", to: place.claims)
        #expect(try IngotProcess.run(place.arguments()).status == 65)
        try Directory.removeTree(place.claims)
        #expect(try IngotProcess.run(place.arguments()).status == 66)
        #expect(place.names == ["source"])
    }

    /// Killed at any moment, the verification included: the target is absent or whole, and the next run ends it.
    @Test func kills() async throws {
        let block = SampleTensor("block", .f16, [256, 1024]).bytes
        let place = try Place(
            (0..<3).map { [SampleTensor("layers.\($0).weight", .f16, [256, 1024], bytes: block)] })
        let expected = try place.expected()
        try place.claim(0.5)
        let clock = ContinuousClock()
        let begin = clock.now
        #expect(try IngotProcess.run(place.arguments()).status == 0)
        let whole = clock.now - begin
        for round in 0..<40 {
            if round % 4 == 0 { try Directory.removeTree(place.target) }
            let process = try IngotProcess.start(place.arguments())
            try await Task.sleep(for: whole * Double(round % 20) / 18)
            process.signal(9)
            let result = try process.wait()
            // Of a target that is there, what is to be found is that it is there, or that it was made.
            #expect([0, 73, 75, 137].contains(result.status), "\(result.errors)")
            let found = Files.names(place.target)
            if !found.isEmpty { #expect(try Files.snapshot(place.target) == expected) }
        }
        try Directory.removeTree(place.target)
        let last = try IngotProcess.run(place.arguments())
        #expect(last.status == 0, "\(last.errors)")
        #expect(try Files.snapshot(place.target) == expected)
        #expect(place.names == ["claims.json", "sealed", "source"])
    }
}
