import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Machines that are too small or will not be written to: an error, nothing under the target's name, and nothing in the way of the
/// next run.
@Suite(.serialized) struct EnvironmentTests {
    private static func source(in directory: TemporaryDirectory) throws -> FilePath {
        let block = SampleTensor("block", .f16, [64, 1024]).bytes
        let bytes = Array((0..<64).flatMap { _ in block })
        return try SampleSource.write(
            (0..<2).map { [SampleTensor("layers.\($0).weight", .f16, [4096, 1024], bytes: bytes)] },
            to: directory.at("source"))
    }

    /// W09: an address space that has no room for the mapping.
    @Test func addressSpaceTooSmall() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("huge.safetensors")
        let header = "{\"a.weight\":{\"dtype\":\"F16\",\"shape\":[1000000,1000],\"data_offsets\":[0,2000000000]}}"
        let length = (0..<8).map { UInt8(truncatingIfNeeded: header.utf8.count >> (8 * $0)) }
        try Files.write(length + Array(header.utf8), to: path)
        try Files.patch([0], at: 8 + header.utf8.count + 2_000_000_000 - 1, in: path)
        let result = try IngotProcess.shell(
            "ulimit -v 1500000; exec \"$INGOT\" convert \"$1\" \"$2\"", [path.string, directory.at("sealed").string])
        #expect(!result.signalled && result.status == 74, "\(result.errors)")
        #expect(result.errors.contains("mmap failed"))
        #expect(Files.names(directory.path) == ["huge.safetensors"])
    }

    /// W09: memory that runs out on the way, at any of these sizes. Swift ends a process whose allocation fails; what it
    /// leaves is what a killed one leaves.
    @Test(arguments: [4, 8, 12, 16, 24, 32, 48]) func memoryRunsOut(megabytes: Int) throws {
        let directory = try TemporaryDirectory()
        let source = try EnvironmentTests.source(in: directory)
        let target = directory.at("sealed")
        let result = try IngotProcess.shell(
            "ulimit -c 0; ulimit -d \(megabytes * 1024); exec timeout -s KILL 60 \"$INGOT\" convert \"$1\" \"$2\" --jobs 2",
            [source.string, target.string])
        let left = Files.names(directory.path)
        #expect(left.contains("sealed") == (result.status == 0), "\(result.errors)")
        let known: Set<String> = [
            ".sealed.ingot-journal", ".sealed.ingot-lock", ".sealed.ingot-partial", "sealed", "source",
        ]
        #expect(known.isSuperset(of: left), "\(left)")
        #expect(try IngotProcess.run(["convert", source.string, target.string, "--force"]).status == 0)
        #expect(Files.names(directory.path) == ["sealed", "source"])
        #expect(try IngotProcess.run(["verify", target.string, "--against", source.string]).status == 0)
    }

    /// W16: any limit on open files, from the three that a program begins with on: an error, and no signal.
    @Test(arguments: 3...32) func openFiles(limit: Int) throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(SampleSource.small(), to: directory.at("source"))
        let target = directory.at("sealed")
        for verb in ["convert", "inspect", "verify"] {
            let arguments = verb == "convert" ? "\"$1\" \"$2\" --jobs 2" : verb == "inspect" ? "\"$1\"" : "\"$2\""
            let result = try IngotProcess.shell(
                "for f in {3..99}; do eval \"exec $f>&-\"; done; ulimit -c 0; ulimit -n \(limit); exec \"$INGOT\" \(verb) \(arguments)",
                [source.string, target.string])
            // The loader of shared libraries ends with 127 where it cannot open them.
            #expect(
                !result.signalled && [0, 66, 74, 127].contains(result.status),
                "\(verb): \(result.status) \(result.errors)")
            if result.status == 74 {
                #expect(result.errors.contains("ulimit -n"), "\(result.errors)")
            }
            #expect(limit < 16 || result.status == 0, "\(verb): \(result.errors)")
        }
        let left = Files.names(directory.path)
        #expect(left == ["source"] || left == ["sealed", "source"], "\(left)")
    }

    /// W05: a file system that is mounted read-only; only root can make one.
    @Test func readOnly() throws {
        let directory = try TemporaryDirectory()
        let source = try EnvironmentTests.source(in: directory)
        let disk = directory.at("disk")
        guard let mounted = try MountedDisk.mount(at: disk, "ro,size=1m", for: "a read-only file system") else {
            return
        }
        defer { mounted.unmount() }
        let result = try IngotProcess.run(["convert", source.string, disk.appending("sealed").string])
        #expect(result.status == 73, "\(result.errors)")
        #expect(result.errors.hasPrefix("error: cannotCreate: "))
        // A source there can be read, but not consumed.
        let copied = try IngotProcess.shell(
            "mount -o remount,rw,size=64m \"$1\" && cp -r \"$2\" \"$1/source\" && mount -o remount,ro \"$1\"",
            [disk.string, source.string])
        #expect(copied.status == 0, "\(copied.errors)")
        let arguments = ["convert", disk.appending("source").string, directory.at("sealed").string]
        let consuming = try IngotProcess.run(arguments + ["--consume-source"])
        #expect(consuming.status == 64, "\(consuming.errors)")
        #expect(try IngotProcess.run(arguments).status == 0)
    }
}
