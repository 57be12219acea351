import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What the command says and how it ends where a conversion is resumed, consumed or followed.
@Suite(.serialized) struct ResumptionTests {
    /// Three shards, of which some are missing.
    private struct Place {
        let directory: TemporaryDirectory
        let source: FilePath
        let target: FilePath
        let last: FilePath
        private let bytes: [UInt8]

        init() throws {
            directory = try TemporaryDirectory()
            source = try SampleSource.write(
                (0..<3).map { [SampleTensor("layers.\($0).weight", .f16, [64, 256], seed: UInt64($0))] },
                to: directory.at("source"))
            target = directory.at("sealed")
            last = source.appending(SampleSource.shardName(2, of: 3))
            bytes = try Files.read(last)
            try Directory.removeFile(last)
        }

        func fetchLast() throws { try Files.write(bytes, to: last) }

        func run(_ options: String...) throws -> Subprocess.Result { try IngotProcess.run(arguments + options) }

        var arguments: [String] { ["convert", source.string, target.string] }
        var work: FilePath { directory.at(".sealed.ingot-partial") }
        var finished: [String] { Files.names(work).filter { $0.hasSuffix(".safetensors") } }

        /// How many shards the journal names. A shard has its name before that, for as long as the disk takes.
        var journaled: Int {
            let journal = (try? Files.read(directory.at(".sealed.ingot-journal"))) ?? []
            return String(decoding: journal, as: UTF8.self).split(separator: "{\"event\":\"sealed\",").count - 1
        }
        var leftovers: [String] { Files.names(directory.path).filter { $0 != "source" && $0 != "sealed" } }

        /// Starts a conversion that waits for the last shard.
        func startWaiting() throws -> Subprocess {
            let process = try IngotProcess.start(arguments + ["--follow"])
            process.wait { journaled >= 2 }
            // Most runs wait by then; one that does not yet leaves the same.
            Thread.sleep(forTimeInterval: 0.5)
            return process
        }
    }

    @Test(arguments: [(2, 130, "interrupted"), (15, 143, "terminated")])
    func signalWhileWaiting(number: Int32, status: Int32, code: String) throws {
        let place = try Place()
        let process = try place.startWaiting()
        process.signal(number)
        let result = try process.wait()
        #expect(!result.signalled && result.status == status, "\(result.errors)")
        #expect(result.errors.contains("error: \(code): ") && result.errors.contains("2 of 3 shards are done"))
        #expect(place.finished.count == 2)
        #expect(place.leftovers == [".sealed.ingot-journal", ".sealed.ingot-partial"])
        try place.fetchLast()
        let resumed = try place.run()
        #expect(resumed.status == 0 && resumed.output.contains("2 of 3 shards were finished by an earlier run"))
        #expect(place.leftovers == [])
    }

    /// A source in one file, killed or interrupted behind some of its tensors: the same command goes on from them, to the same bytes.
    @Test(arguments: [9, 2]) func endedInsideAFile(number: Int32) throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("model.safetensors")
        let block = SampleTensor("block", .f16, [64, 2048]).bytes
        let bytes = (0..<16).flatMap { _ in block }
        try SampleSource.writeShard(
            (0..<40).map { SampleTensor("layers.\($0).weight", .f16, [1024, 2048], bytes: bytes) }, to: source)
        let arguments = ["convert", source.string, directory.at("sealed").string, "--scheme", "uniform", "--bits", "8"]
        let process = try IngotProcess.start(arguments)
        process.wait {
            let journal = (try? Files.read(directory.at(".sealed.ingot-journal"))) ?? []
            // A line whose end is not written yet does not count.
            let lines = journal[..<(journal.lastIndex(of: UInt8(ascii: "\n")) ?? 0)]
            return String(decoding: lines, as: UTF8.self).contains("{\"event\":\"encoded\"")
        }
        process.signal(number)
        let ended = try process.wait()
        if number == 9 {
            #expect(ended.signalled)
        } else {
            #expect(ended.status == 130, "\(ended.errors)")
            #expect(ended.errors.contains("tensors are done: the same command goes on from there"), "\(ended.errors)")
        }
        #expect(Files.names(directory.at(".sealed.ingot-partial")) == [".model.safetensors.ingot-tmp"])
        let resumed = try IngotProcess.run(arguments)
        #expect(resumed.status == 0, "\(resumed.errors)")
        #expect(resumed.errors.contains("of 40 tensors were encoded by an earlier run; checked, and kept"))
        #expect(resumed.output.contains("of 40 matrices were encoded by an earlier run"), "\(resumed.output)")
        let whole = try IngotProcess.run(
            [
                "convert", source.string, directory.at("whole").string, "--scheme", "uniform", "--bits", "8", "--jobs",
                "1",
            ])
        #expect(whole.status == 0, "\(whole.errors)")
        let name = "model.safetensors"
        #expect(
            try Files.read(directory.at("sealed").appending(name)) == Files.read(directory.at("whole").appending(name)))
    }

    @Test func killedWhileWaiting() throws {
        let place = try Place()
        let process = try place.startWaiting()
        process.signal(9)
        #expect(try process.wait().signalled)
        #expect(place.finished.count == 2)
        let other = try place.run("--codec", "none")
        #expect(other.status == 73 && other.errors.contains("codec"), "\(other.errors)")
        #expect(place.finished.count == 2)
        try place.fetchLast()
        let resumed = try place.run("--follow")
        #expect(resumed.status == 0 && resumed.output.contains("2 of 3 shards"), "\(resumed.errors)")
        #expect(place.leftovers == [])
    }

    @Test func timeoutOfADownload() throws {
        let place = try Place()
        let result = try place.run("--follow", "--follow-timeout", "1")
        #expect(result.status == 75 && result.errors.contains("error: sourceIncomplete: "), "\(result.errors)")
        #expect(place.finished.count == 2)
        try place.fetchLast()
        #expect(try place.run("--follow").status == 0)
        #expect(place.leftovers == [])
    }

    @Test(arguments: [
        ["--follow", "--bpw", "4"], ["--follow", "--target-size", "1MiB"], ["--follow-timeout", "5"],
        ["--follow", "--follow-timeout", "0"],
    ])
    func optionsThatContradict(options: [String]) throws {
        let place = try Place()
        try place.fetchLast()
        let result = try IngotProcess.run(place.arguments + options)
        #expect(result.status == 64 && result.output.isEmpty, "\(result.errors)")
        #expect(place.leftovers == [] && Files.names(place.directory.path) == ["source"])
    }

    @Test func consumedSource() throws {
        let place = try Place()
        try place.fetchLast()
        #expect(try place.run("--consume-source").status == 0)
        #expect(Files.names(place.source) == ["config.json", "model.safetensors.index.json"])
        #expect(place.leftovers == [])
        let verified = try IngotProcess.run(["verify", place.target.string])
        #expect(verified.status == 0, "\(verified.errors)")
    }
}
