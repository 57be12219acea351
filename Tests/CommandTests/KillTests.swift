import Container
import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Conversions killed at random moments, again and again: what there is then is whole, and the next run goes on from it.
@Suite(.serialized) struct KillTests {
    private static let all = 200
    private static let kills = Share.count(of: all)
    private static let shardCount = 6

    /// A source that takes about a tenth of a second, and what is made of it.
    private struct Place {
        let directory: TemporaryDirectory
        let original: FilePath
        let source: FilePath
        let target: FilePath
        let expected: [String: [UInt8]]
        let seconds: Double

        init() throws {
            directory = try TemporaryDirectory()
            let block = SampleTensor("block", .f16, [64, 1024]).bytes
            let bytes = (0..<4).flatMap { _ in block }
            original = try SampleSource.write(
                (0..<KillTests.shardCount).map { index in
                    let name = "layers.\(index)"
                    return [
                        SampleTensor("\(name).weight", .f16, [256, 1024], bytes: bytes),
                        SampleTensor("\(name).norm.weight", .bf16, [1024], seed: UInt64(index)),
                    ]
                }, to: directory.at("original"))
            source = directory.at("source")
            target = directory.at("sealed")
            let clock = ContinuousClock()
            let begin = clock.now
            let result = try IngotProcess.run(Place.arguments(original, target))
            let time = (clock.now - begin).components
            seconds = Double(time.seconds) + Double(time.attoseconds) / 1e18
            #expect(result.status == 0, "\(result.errors)")
            expected = try Files.snapshot(target)
            try Directory.removeTree(target)
        }

        static func arguments(_ source: FilePath, _ target: FilePath) -> [String] {
            ["convert", source.string, target.string, "--scheme", "uniform", "--jobs", "2", "--quiet"]
        }

        func arguments(consumes: Bool) -> [String] {
            Place.arguments(source, target) + (consumes ? ["--consume-source"] : [])
        }

        func shards(_ path: FilePath) -> [String] { Files.names(path).filter { $0.hasSuffix(".safetensors") } }
    }

    /// What must hold whenever a run ended; the number of finished shards.
    @discardableResult
    private func checkInvariant(_ place: Place, _ what: String) throws -> Int {
        let known: Set<String> = [
            "original", "source", "sealed", ".sealed.ingot-lock", ".sealed.ingot-partial", ".sealed.ingot-journal",
        ]
        #expect(known.isSuperset(of: Files.names(place.directory.path)), "\(what)")
        if try Directory.kind(place.target) != nil {
            #expect(try Files.snapshot(place.target) == place.expected, "\(what): the target is whole")
        }
        let work = place.directory.at(".sealed.ingot-partial")
        let finished = place.shards(work).filter { !$0.hasPrefix(".") }
        for name in finished {
            #expect(throws: Never.self, "\(what): \(name)") { _ = try SealedShard(work.appending(name)) }
            #expect(try Files.read(work.appending(name)) == place.expected[name], "\(what): \(name)")
        }
        for name in place.shards(place.original) where FileIdentity(place.source.appending(name)) == nil {
            let isCovered = try finished.contains(name) || Directory.kind(place.target) != nil
            #expect(isCovered, "\(what): \(name) is neither in the source nor in the output")
        }
        return finished.count
    }

    /// W03: two hundred runs are killed, or a share of them.
    @Test func killedAtRandomMoments() throws {
        let place = try Place()
        var system = SystemRandomNumberGenerator()
        let seed = UInt64.random(in: 0...UInt64.max, using: &system)
        var generator = SeededGenerator(seed)
        var (killed, runs, chains, resumed) = (0, 0, 0, 0)
        // Runs become faster and slower with what else the machine does: about three of four are to be killed.
        var latest = place.seconds * 0.9
        while killed < KillTests.kills, runs < 4 * KillTests.kills {
            let consumes = chains % 2 == 1
            chains += 1
            try Files.copyTree(place.original, to: place.source)
            for link in 0..<Int.random(in: 1...5, using: &generator) {
                let process = try IngotProcess.start(place.arguments(consumes: consumes))
                let moment = Double.random(in: 0...latest, using: &generator)
                Thread.sleep(forTimeInterval: moment)
                process.signal(9)
                let result = try process.wait()
                runs += 1
                let what = "seed \(seed), chain \(chains), run \(link), consuming \(consumes), after \(moment) s"
                if result.signalled { killed += 1 }
                latest *= result.signalled ? 1.01 : 0.97
                #expect(result.signalled || [0, 73].contains(result.status), "\(what): \(result.errors)")
                if try checkInvariant(place, what) > 0 { resumed += 1 }
                if try Directory.kind(place.target) != nil { break }
            }
            let what = "seed \(seed), chain \(chains), consuming \(consumes)"
            let isPublished = try Directory.kind(place.target) != nil
            let hasJournal = FileIdentity(place.directory.at(".sealed.ingot-journal")) != nil
            // Where the last run ended between its last two steps, the same command says that it is finished.
            let status: Int32 = isPublished && !hasJournal ? 73 : 0
            let result = try IngotProcess.run(place.arguments(consumes: consumes))
            #expect(result.status == status, "\(what): \(result.errors)")
            try checkInvariant(place, what)
            #expect(try Files.snapshot(place.target) == place.expected, "\(what)")
            #expect(place.shards(place.source).isEmpty == consumes, "\(what)")
            let names = Files.names(place.directory.path).filter { $0 != ".sealed.ingot-lock" || status == 0 }
            // A lock of a killed run alone is empty, and the next run's.
            #expect(names.filter { $0 != ".sealed.ingot-lock" } == ["original", "sealed", "source"], "\(what)")
            for name in ["sealed", "source", ".sealed.ingot-lock"] {
                try Directory.removeTree(place.directory.at(name))
            }
        }
        Tally.print(killed, of: KillTests.all, "W03 kills")
        print("\(killed) of \(runs) runs killed in \(chains) chains; \(resumed) left finished shards")
        #expect(killed >= KillTests.kills, "only \(killed) of \(runs) runs were still there to be killed")
        #expect(resumed > KillTests.kills / 10)
    }
}
