import Conversion
import FileAccess
import Foundation
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// `--follow` while files change between any two of its looks: each step of a download is done right before some system call.
@Suite struct FollowStepTests {
    typealias Step = @Sendable () throws -> Void

    /// What a program does to a checkpoint's directory, step by step.
    private static func steps(
        _ client: SimulatedDownload.Client, _ files: [String: [UInt8]], _ source: FilePath
    ) -> [Step] {
        let cache = source.appending(".cache").appending("huggingface").appending("download")
        var steps: [Step] = [
            { try FileManager.default.createDirectory(atPath: source.string, withIntermediateDirectories: true) }
        ]
        if client == .hub {
            steps.append {
                try FileManager.default.createDirectory(atPath: cache.string, withIntermediateDirectories: true)
            }
        }
        // Shards last: what comes behind the last of them is waited for by the clock.
        let names = files.keys.sorted()
        for name in names.filter({ !$0.hasPrefix("model-") }) + names.filter({ $0.hasPrefix("model-") }) {
            let bytes = files[name] ?? []
            let path = source.appending(name)
            let partial = client == .hub ? cache.appending("\(name).0123.incomplete") : path
            let control = source.appending(name + ".aria2")
            if client == .preallocated {
                steps.append { try Files.write("control", to: control) }
                steps.append { try Files.write([UInt8](repeating: 0, count: bytes.count), to: path) }
                steps.append {
                    try Files.patch(Array(bytes.suffix(bytes.count / 2)), at: bytes.count - bytes.count / 2, in: path)
                }
                steps.append { try Files.patch(Array(bytes.prefix(bytes.count - bytes.count / 2)), at: 0, in: path) }
                steps.append { try FileManager.default.removeItem(atPath: control.string) }
                continue
            }
            for count in [0, min(10, bytes.count), bytes.count / 2, bytes.count - 1, bytes.count] {
                steps.append { try Files.write(Array(bytes.prefix(count)), to: partial) }
            }
            if client == .hub {
                steps.append { try FileManager.default.moveItem(atPath: partial.string, toPath: path.string) }
            }
        }
        return steps
    }

    @Test(arguments: SimulatedDownload.Client.allCases, [false, true])
    func betweenAnyCalls(client: SimulatedDownload.Client, consumes: Bool) async throws {
        var place = try ShardedPlace()
        place.options.run.follows = true
        place.options.run.consumesSource = consumes
        place.options.run.lookInterval = .milliseconds(1)
        place.options.run.settledAfter = .seconds(3600)
        place.options.run.pauseBetweenFiles = .milliseconds(5)
        let expected = try await place.expected { options in
            options.run.follows = false
            options.run.consumesSource = false
        }
        let files = try Files.snapshot(place.source)
        let source = place.source
        let all = (1...12).flatMap { stride in (0..<16).map { (stride: stride, first: $0) } }
        let tried = Share.of(all)
        for (stride, first) in tried {
            try Directory.removeTree(source)
            let steps = FollowStepTests.steps(client, files, source)
            let failed = Mutex<(any Error)?>(nil)
            let watch = CallWatch { number, _ in
                let (step, rest) = (number - first).quotientAndRemainder(dividingBy: stride)
                guard number >= first, rest == 0, step < steps.count else { return nil }
                do {
                    try steps[step]()
                } catch {
                    failed.withLock { $0 = error }
                }
                return nil
            }
            let what = "a step before every \(stride)th call from \(first) on"
            let error = try await watch.run { try await place.failure() }
            #expect(error == nil, "\(what): \(String(describing: error))")
            #expect(failed.withLock { $0 } == nil, "\(what)")
            if error == nil { try place.expectFinished(expected, what) }
            try Directory.removeTree(place.target)
            for left in place.leftovers { try Directory.removeTree(place.directory.at(left)) }
        }
        Tally.print(tried.count, of: all.count, "downloads with a step before some system calls, \(client)")
    }
}
