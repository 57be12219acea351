import ConversionSupport
import FileAccess
import Foundation
import SystemPackage
import TestSupport
import Testing

/// The command as built beside these tests, or the one `INGOT` names.
enum IngotProcess {
    /// Path of the executable.
    static let program: FilePath = {
        if let named = ProcessInfo.processInfo.environment["INGOT"], let start = named.first {
            let folder = FileManager.default.currentDirectoryPath
            return start == "/" ? FilePath(named) : FilePath(folder).appending(FilePath(named).components)
        }
        let tests = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return FilePath(tests).removingLastComponent().appending("ingot")
    }()

    /// An environment without a terminal, 80 columns wide.
    static let environment = ["COLUMNS": "80", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"]

    /// Starts the command.
    static func start(_ arguments: [String], output: Subprocess.Output = .file) throws -> Subprocess {
        try Subprocess(program, arguments.map { Array($0.utf8) }, environment: environment, output: output)
    }

    /// Runs the command to its end; ending by a signal fails the test.
    ///
    /// What a run tells of its progress is left out of its errors, unless `--progress` asked for it: the smallest one tells it too
    /// where a busy disk lets it wait for seconds.
    static func run(
        _ arguments: [String], output: Subprocess.Output = .file, location: SourceLocation = #_sourceLocation
    ) throws -> Subprocess.Result {
        let result = try start(arguments, output: output).wait()
        #expect(!result.signalled, "ended by signal \(result.status - 128)", sourceLocation: location)
        return arguments.contains("--progress") ? result : withoutProgress(result)
    }

    private static func withoutProgress(_ result: Subprocess.Result) -> Subprocess.Result {
        result.errorsReplaced(
            result.errors.replacing(
                /(?m)^(\d+ %, |planning rates|verifying |waiting for |[^ ]+\.safetensors: sealed, ).*\n/, with: ""))
    }

    /// Runs a line of bash, in which `$INGOT` is the command and `$1`, `$2` and so on are the arguments.
    static func shell(_ line: String, _ arguments: [String]) throws -> Subprocess.Result {
        let all = ["-c", line, "bash"] + arguments
        let result = try Subprocess(
            Subprocess.find("bash"), all.map { Array($0.utf8) },
            environment: environment.merging(["INGOT": program.string]) { $1 }
        ).wait()
        return withoutProgress(result)
    }
}

/// A small source, and the checkpoint made of it.
struct CommandSample {
    let directory: TemporaryDirectory
    let source: FilePath
    let sealed: FilePath

    init(seed: UInt64 = 1) async throws {
        directory = try TemporaryDirectory()
        source = try SampleSource.write(SampleSource.small(seed: seed), to: directory.at("source"))
        sealed = directory.at("sealed")
        try await Verbs.convert(source, to: sealed)
    }

    func at(_ name: String) -> String { directory.at(name).string }
}

/// A file system in memory, mounted in a directory; only root can make one.
struct MountedDisk {
    /// Where it is.
    let path: FilePath

    /// Mounts one; nil where that is not allowed here, which is printed with what is not tested then.
    static func mount(at path: FilePath, _ options: String, for what: String) throws -> MountedDisk? {
        try Directory.create(path)
        let mounted = try IngotProcess.shell("mount -t tmpfs -o \(options) tmpfs \"$1\"", [path.string])
        guard mounted.status == 0 else {
            print("no tmpfs could be mounted here: \(what) is not tested")
            return nil
        }
        return MountedDisk(path: path)
    }

    /// Unmounts it.
    func unmount() { _ = try? IngotProcess.shell("umount \"$1\"", [path.string]) }
}
