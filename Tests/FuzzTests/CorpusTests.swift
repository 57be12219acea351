import Foundation
import FuzzTargets
import TestSupport
import Testing

/// What the fuzzer found, and inputs that reach what it reached, given to the parsers again.
@Suite struct CorpusTests {
    private static let corpus = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Fuzz/Corpus")

    /// A parser that breaks a promise ends the process, and the suite with it.
    @Test(arguments: FuzzTarget.allCases) func corpusIsReplayed(target: FuzzTarget) throws {
        let directory = CorpusTests.corpus.appendingPathComponent(target.rawValue)
        let files = try FileManager.default.contentsOfDirectory(at: directory, includingPropertiesForKeys: nil)
        #expect(!files.isEmpty)
        for file in files { target.run([UInt8](try Data(contentsOf: file))) }
        Tally.print(files.count, "inputs of the fuzzer replayed, \(target.rawValue)")
    }

    /// Seeds are good inputs: a seed that its parser refuses would lead the fuzzer nowhere.
    @Test(arguments: FuzzTarget.allCases) func seedsAreAccepted(target: FuzzTarget) async throws {
        let seeds = try await FuzzSeeds.make(target)
        #expect(!seeds.isEmpty)
        #expect(seeds.contains { target.accepts($0) })
        for seed in seeds { target.run(seed) }
    }

    /// Every seed with each of its bytes changed once, up to a few hundred of them: a fuzzer that needs no fuzzer.
    @Test(arguments: FuzzTarget.allCases) func changedSeeds(target: FuzzTarget) async throws {
        var (tried, all) = (0, 0)
        for seed in try await FuzzSeeds.make(target).prefix(4) where !seed.isEmpty {
            let places = Array(stride(from: 0, to: seed.count, by: max(1, seed.count / 100)))
            all += 4 * places.count
            for index in Share.of(places) {
                for change: UInt8 in [0x01, 0x80, 0xFF] {
                    var bytes = seed
                    bytes[index] ^= change
                    target.run(bytes)
                }
                target.run(Array(seed.prefix(index)))
                tried += 4
            }
        }
        Tally.print(tried, of: all, "changed seeds, \(target.rawValue)")
    }
}
