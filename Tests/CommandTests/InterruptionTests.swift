import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Signals and full disks in the middle of a conversion: the target is absent or whole, and the next run makes it.
@Suite(.serialized) struct InterruptionTests {
    /// A source that takes a good part of a second.
    private struct Place {
        let directory: TemporaryDirectory
        let source: FilePath
        let target: FilePath

        init(rows: Int = 6000) throws {
            directory = try TemporaryDirectory()
            let block = SampleTensor("block", .f16, [64, 1024]).bytes
            let bytes = (0..<rows / 64 + 1).flatMap { _ in block }.prefix(rows * 2048)
            source = try SampleSource.write(
                (0..<2).map { [SampleTensor("layers.\($0).weight", .f16, [rows, 1024], bytes: Array(bytes))] },
                to: directory.at("source"))
            target = directory.at("sealed")
        }

        var arguments: [String] { ["convert", source.string, target.string, "--jobs", "1"] }
        var leftovers: [String] { Files.names(directory.path).filter { $0 != "source" && $0 != "sealed" } }
    }

    /// Starts a conversion and waits until its first shard grows.
    private func startAndWait(_ place: Place) throws -> Subprocess {
        let process = try IngotProcess.start(place.arguments)
        let staging = place.directory.at(".sealed.ingot-partial")
        process.wait { !Files.names(staging).isEmpty }
        return process
    }

    /// W10: stopped by a signal, it leaves what can be gone on from, and says so by its exit status.
    @Test(arguments: [(2, 130, "interrupted"), (15, 143, "terminated")])
    func signals(number: Int32, status: Int32, code: String) throws {
        let place = try Place()
        // On a busy machine the conversion may be over before the signal is sent: try again.
        for _ in 0..<20 {
            let process = try startAndWait(place)
            process.signal(number)
            let result = try process.wait()
            if result.status == 0 {
                try Directory.removeTree(place.target)
                continue
            }
            #expect(!result.signalled && result.status == status, "\(result.errors)")
            #expect(result.errors.contains("error: \(code): "))
            #expect(result.output.isEmpty)
            // Shards may have been finished; then they wait for the next run, and the message says so.
            let isKept = result.errors.contains(" of 2 shards are done")
            #expect(place.leftovers == (isKept ? [".sealed.ingot-journal", ".sealed.ingot-partial"] : []))
            #expect(try IngotProcess.run(place.arguments).status == 0)
            #expect(Files.names(place.directory.path) == ["sealed", "source"])
            return
        }
        Issue.record("no conversion was still running when its signal came")
    }

    /// W06: a second writer is told so.
    @Test func secondWriter() throws {
        let place = try Place()
        let first = try startAndWait(place)
        let second = try IngotProcess.run(place.arguments)
        let result = try first.wait()
        #expect(result.status == 0, "\(result.errors)")
        // Locked, or, had the first one finished meanwhile, in the way.
        #expect([75, 73].contains(second.status), "\(second.errors)")
        #expect(Files.names(place.directory.path) == ["sealed", "source"])
    }

    // MARK: - Full disks

    /// W01: a limit on the size of files, by which SIGXFSZ comes.
    @Test func fileTooLarge() throws {
        let place = try Place(rows: 1000)
        let result = try IngotProcess.shell("ulimit -f 64; exec \"$INGOT\" \"$@\"", place.arguments)
        #expect(!result.signalled && result.status == 74, "\(result.errors)")
        #expect(result.errors.hasPrefix("error: outOfSpace: "))
        #expect(Files.names(place.directory.path) == ["source"])
    }

    /// W01: a real full disk of one MiB; only root can make one.
    @Test func fullDisk() throws {
        let place = try Place(rows: 3000)
        let disk = place.directory.at("disk")
        guard let mounted = try MountedDisk.mount(at: disk, "size=1m", for: "a full disk") else { return }
        defer { mounted.unmount() }
        let target = disk.appending("sealed").string
        for scheme in ["lossless", "uniform"] {
            let result = try IngotProcess.run(["convert", place.source.string, target, "--scheme", scheme])
            #expect(result.status == 74, "\(result.errors)")
            #expect(result.errors.hasPrefix("error: outOfSpace: "))
            // What was finished, if anything was, stays for when there is room.
            let isKept = result.errors.contains(" of 2 shards are done")
            #expect(Files.names(disk) == (isKept ? [".sealed.ingot-journal", ".sealed.ingot-partial"] : []))
            for name in Files.names(disk) { try Directory.removeTree(disk.appending(name)) }
        }
        let small = try SampleSource.write(
            [[SampleTensor("a.weight", .f16, [64, 64])]], to: place.directory.at("small"))
        #expect(try IngotProcess.run(["convert", small.string, target]).status == 0)
        #expect(Files.names(disk) == ["sealed"])
    }

    /// W01: disks that fill after every page up to the one that has room for all.
    @Test func fullDiskAtEveryPage() throws {
        let place = try Place(rows: 40)
        var tried = 0
        for pages in 1... {
            let disk = place.directory.at("disk\(pages)")
            guard let mounted = try MountedDisk.mount(at: disk, "size=\(pages * 4)k", for: "full disks") else { return }
            defer { mounted.unmount() }
            let result = try IngotProcess.run(["convert", place.source.string, disk.appending("sealed").string])
            tried += 1
            if result.status == 0 { break }
            #expect([73, 74].contains(result.status), "\(pages) pages: \(result.errors)")
            #expect(result.errors.hasPrefix("error: outOfSpace: "), "\(pages) pages: \(result.errors)")
            let isKept = result.errors.contains(" of 2 shards are done")
            #expect(Files.names(disk) == (isKept ? [".sealed.ingot-journal", ".sealed.ingot-partial"] : []))
            try #require(pages < 200)
        }
        #expect(tried > 8)
        Tally.print(tried, "W01 sizes of a real full disk")
    }

    /// W01: files that may not grow beyond so many bytes, up to the first size that is enough.
    @Test func fileLimitAtManyBytes() throws {
        let place = try Place(rows: 40)
        var tried = 0
        for bytes in stride(from: 1, to: 200_000, by: 499) {
            let result = try IngotProcess.shell(
                "exec prlimit --fsize=\(bytes) \"$INGOT\" convert \"$1\" \"$2\" --jobs 1",
                [place.source.string, place.target.string])
            tried += 1
            if result.status == 0 { break }
            #expect(!result.signalled && result.status == 74, "\(bytes) bytes: \(result.status) \(result.errors)")
            #expect(Files.names(place.directory.path).contains("sealed") == false, "\(bytes) bytes")
            for name in place.leftovers { try Directory.removeTree(place.directory.at(name)) }
        }
        #expect(tried > 20)
        #expect(try IngotProcess.run(["verify", place.target.string]).status == 0)
        Tally.print(tried, "W01 limits on the size of files")
    }

    /// A disk with room for one shard of two: the second comes when there is more.
    @Test func fullDiskThatGrows() throws {
        let place = try Place(rows: 400)
        let disk = place.directory.at("disk")
        guard let mounted = try MountedDisk.mount(at: disk, "size=384k", for: "a full disk that grows") else { return }
        defer { mounted.unmount() }
        let arguments = ["convert", place.source.string, disk.appending("sealed").string, "--scheme", "uniform"]
        for _ in 0..<2 {
            let result = try IngotProcess.run(arguments)
            #expect(result.status == 74 && result.errors.contains("error: outOfSpace: "), "\(result.errors)")
            #expect(result.errors.contains("1 of 2 shards are done"), "\(result.errors)")
            #expect(Files.names(disk) == [".sealed.ingot-journal", ".sealed.ingot-partial"])
            #expect(Files.names(disk.appending(".sealed.ingot-partial")) == [SampleSource.shardName(0, of: 2)])
        }
        let grown = try IngotProcess.shell("mount -o remount,size=4m \"$1\"", [disk.string])
        #expect(grown.status == 0, "\(grown.errors)")
        let result = try IngotProcess.run(arguments)
        #expect(result.status == 0 && result.output.contains("1 of 2 shards were finished"), "\(result.errors)")
        #expect(Files.names(disk) == ["sealed"])
    }
}
