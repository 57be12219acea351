import Checkpoints
import FileAccess
import Foundation
import Publishing
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Every exit status the help names, from every verb that can end with it.
@Suite struct ExitStatusTests {
    /// Runs and requires a status; errors go to standard error alone, and begin with their code.
    private func expect(
        _ status: Int32, _ code: IngotError.Code? = nil, _ arguments: [String],
        location: SourceLocation = #_sourceLocation
    ) throws {
        let result = try IngotProcess.run(arguments, location: location)
        #expect(result.status == status, "\(arguments) \(result.errors)", sourceLocation: location)
        #expect(result.output.isEmpty, "\(arguments)", sourceLocation: location)
        #expect(!result.errors.isEmpty, "\(arguments)", sourceLocation: location)
        if let code {
            let first = "error: \(code.rawValue): "
            #expect(result.errors.hasPrefix(first), "\(result.errors)", sourceLocation: location)
        }
    }

    @Test func success() async throws {
        let sample = try await CommandSample()
        let runs = [
            ["convert", sample.source.string, sample.at("new")], ["inspect", sample.source.string],
            ["inspect", sample.sealed.string], ["verify", sample.sealed.string],
            ["verify", sample.sealed.string, "--against", sample.source.string],
            ["export", sample.sealed.string, sample.at("out")],
            ["convert", sample.source.string, sample.at("new"), "--force", "--scheme", "lossless", "--codec", "lz4"],
            ["export", sample.sealed.string, sample.at("out"), "--force", "--dtype", "f32"],
        ]
        for arguments in runs {
            let result = try IngotProcess.run(arguments)
            #expect(result.status == 0, "\(arguments): \(result.errors)")
            #expect(!result.output.isEmpty && result.errors.isEmpty, "\(arguments): \(result.errors)")
        }
    }

    @Test func claims() async throws {
        let sample = try await CommandSample()
        let other = try SampleSource.write(SampleSource.small(seed: 2), to: sample.directory.at("other"))
        let result = try IngotProcess.run(["verify", sample.sealed.string, "--against", other.string])
        #expect(result.status == 1)
        #expect(result.errors.hasPrefix("error: sourceMismatch: "))
        #expect(!result.output.isEmpty)
    }

    @Test func usage() async throws {
        let sample = try await CommandSample()
        let (source, sealed, new) = (sample.source.string, sample.sealed.string, sample.at("new"))
        let runs = [
            ["frobnicate"], ["convert"], ["convert", source], ["convert", source, new, "more"], ["--frobnicate"],
            ["help", "frobnicate"],
            ["convert", "", new], ["convert", source, new, "--bits", "0.9"], ["convert", source, new, "--bits", "9"],
            ["convert", source, new, "--bits", "four"], ["convert", source, new, "--bits", "nan"],
            ["convert", source, new, "--bits", "3.5", "--scheme", "uniform"],
            ["convert", source, new, "--bits", "3.5", "--codec", "none"], ["convert", source, new, "--bpw", "8.6"],
            ["convert", source, new, "--bits", "4", "--bpw", "4"], ["convert", source, new, "--states", "12"],
            ["convert", source, new, "--relative-mse", "0"], ["convert", source, new, "--relative-mse", "nan"],
            ["convert", source, new, "--target-size", "1"], ["convert", source, new, "--target-size", "1TiB"],
            ["convert", source, new, "--relative-mse", "0.1", "--scheme", "uniform"],
            ["convert", source, new, "--group-size", "48"], ["convert", source, new, "--scales", "minmax"],
            ["convert", source, new, "--scheme", "lossless", "--scales", "searched"],
            ["convert", source, new, "--scheme", "lossless", "--bits", "4"],
            ["plan", source, "--scales", "minmax"],
            ["convert", source, new, "--scheme", "uniform", "--scales", "absmax"],
            ["convert", source, new, "--scheme", "magic"], ["convert", source, new, "--codec", "gzip"],
            ["convert", source, new, "--jobs", "0"], ["convert", source, new, "--jobs", "-1"],
            ["convert", source, new, "--jobs", "99999999999999999999"],
            ["convert", source, new, "--max-memory", "lots"], ["convert", source, new, "--max-memory", "1"],
            ["convert", source, new, "--max-memory", "18446744073709551615TiB"],
            ["convert", source, new, "--on-nonfinite", "hope"], ["convert", source, new, "--format", "xml"],
            ["convert", source, new, "--key", "model"], ["plan", source, "--key", "model"],
            ["inspect", source, "--key", "model"], ["diff", source, sealed, "--key", "model"],
            ["verify", sealed, "--against", source, "--key", "model"], ["verify", sealed, "--key", "model"],
            ["inspect"], ["verify", sealed, "more"], ["verify"], ["verify", sealed, "--against"],
            ["verify", sealed, "--max-memory", "13MiB"], ["export", sealed], ["export", sealed, new, "--to", "gguf9"],
            ["export", sealed, new, "--dtype", "f8"], ["export", sealed, new, "--max-memory", "0"],
        ]
        for arguments in runs { try expect(64, nil, arguments) }
        #expect(Files.names(sample.directory.path) == ["sealed", "source"])
    }

    @Test func badData() async throws {
        let sample = try await CommandSample()
        try Files.write("GGUF and so on", to: sample.directory.at("model.gguf"))
        try Files.write("short", to: sample.directory.at("short.safetensors"))
        try Directory.create(sample.directory.at("empty"))
        for name in ["model.gguf", "short.safetensors", "empty"] {
            try expect(65, nil, ["convert", sample.at(name), sample.at("new")])
            try expect(65, nil, ["inspect", sample.at(name)])
            try expect(65, nil, ["verify", sample.sealed.string, "--against", sample.at(name)])
        }
        try expect(65, .notARegularFile, ["inspect", "/dev/zero"])
        let nan = try SampleSource.write(
            [[SampleTensor("a.weight", .f32, [32, 32], values: [Float](repeating: 1, count: 1023) + [.nan])]],
            to: sample.directory.at("nan"))
        try expect(65, .nonFinite, ["convert", nan.string, sample.at("new")])
        try Files.patch([0xFF], at: 2000, in: sample.sealed.appending(SampleSource.shardName(1, of: 2)))
        try expect(65, nil, ["verify", sample.sealed.string])
        // Damage wins over a claim that does not hold.
        try expect(65, nil, ["verify", sample.sealed.string, "--against", nan.string])
        #expect(!Files.names(sample.directory.path).contains("new"))
    }

    @Test func noInput() async throws {
        let sample = try await CommandSample()
        let missing = sample.at("missing")
        try expect(66, .noInput, ["convert", missing, sample.at("new")])
        try expect(66, .noInput, ["inspect", missing])
        try expect(66, .noInput, ["verify", missing])
        try expect(66, .noInput, ["verify", sample.sealed.string, "--against", missing])
        try expect(66, .noInput, ["verify", sample.source.string])
        try expect(66, .noInput, ["export", missing, sample.at("new")])
        try expect(66, nil, ["inspect", String(repeating: "x/", count: 3000)])
        try expect(66, nil, ["inspect", String(repeating: "y", count: 5000)])
    }

    @Test("W05 a report never replaces what it is about") func reportsOverInputs() async throws {
        let sample = try await CommandSample()
        let (source, sealed) = (sample.source.string, sample.sealed.string)
        let shard = SampleSource.shardName(0, of: 2)
        let before = try Files.snapshot(sample.directory.path)
        let outputs = [
            "\(source)/\(shard)", "\(source)/model.safetensors.index.json", "\(sealed)/ingot-manifest.json",
            "\(sealed)/report.html",
        ]
        for output in outputs {
            try expect(73, .cannotCreate, ["inspect", source, "-o", "\(source)/\(shard)"])
            try expect(73, .cannotCreate, ["diff", source, sealed, "-o", output])
            try expect(73, .cannotCreate, ["verify", sealed, "--against", source, "-o", output])
        }
        try expect(73, .cannotCreate, ["inspect", "\(source)/\(shard)", "-o", "\(sealed)/../source/\(shard)"])
        #expect(try Files.snapshot(sample.directory.path) == before)
        for _ in 0..<2 {
            #expect(try IngotProcess.run(["inspect", source, "-o", sample.at("report.txt")]).status == 0)
        }
        #expect(try IngotProcess.run(["inspect", source, "-o", "\(source)/report.txt"]).status == 0)
    }

    @Test("What a failed download leaves is called so", arguments: ["x.safetensors", "x.gguf", "x.bin", "x.npy"])
    func pointersAndPages(_ name: String) throws {
        let directory = try TemporaryDirectory()
        try Files.write("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", to: directory.at(name))
        try expect(65, .unsupportedSource, ["inspect", directory.at(name).string])
        #expect(try IngotProcess.run(["inspect", directory.at(name).string]).errors.contains("git lfs pull"))
        try Files.write("<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n", to: directory.at(name))
        #expect(try IngotProcess.run(["inspect", directory.at(name).string]).errors.contains("a web page"))
    }

    /// What a file holds decides, not its name.
    @Test(arguments: ["x.gguf", "x.npy", "x.npz", "x.bin", "x.safetensors", "x"])
    func misnamed(_ name: String) async throws {
        let sample = try await CommandSample()
        let path = sample.directory.at(name)
        let archive = PyTorchImage.stateDictionary([SampleTensor("a.weight", .f16, [2, 64])]).bytes
        let shard = try Files.read(sample.source.appending(SampleSource.shardName(0, of: 2)))
        // A header whose length is what gzip begins with.
        let header = Array(#"{"a":{"dtype":"F16","shape":[1,1],"data_offsets":[0,2]}}"#.utf8)
        let length = 0x088B1F
        let padded = header + [UInt8](repeating: 0x20, count: length - header.count)
        let odd = ZipImage.number(UInt64(length), 8) + padded + [0, 0]
        for bytes in [shard, archive, odd] {
            try Files.write(bytes, to: path)
            let result = try IngotProcess.run(["inspect", path.string])
            #expect(result.status == 0, "\(result.errors)")
        }
    }

    @Test(
        "P01 other formats are called by their names", arguments: ["x.gguf", "x.npy", "x.h5", "x.bin", "x.safetensors"])
    func foreignFormats(_ name: String) throws {
        let directory = try TemporaryDirectory()
        let starts: [(String, [UInt8])] = [
            ("HDF5", [0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A]), ("gzip", [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3]),
            ("zstd", [0x28, 0xB5, 0x2F, 0xFD, 0x04]), ("xz", [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0, 0]),
            ("7-Zip", [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C]),
        ]
        for (format, start) in starts {
            try Files.write(start + [UInt8](repeating: 0, count: 600), to: directory.at(name))
            try expect(65, .unsupportedSource, ["inspect", directory.at(name).string])
            #expect(try IngotProcess.run(["inspect", directory.at(name).string]).errors.contains(format))
        }
    }

    @Test func cannotCreate() async throws {
        let sample = try await CommandSample()
        let (source, sealed) = (sample.source.string, sample.sealed.string)
        try expect(73, .cannotCreate, ["convert", source, sealed])
        try expect(73, .cannotCreate, ["convert", source, source, "--force"])
        try expect(73, .cannotCreate, ["convert", source, source + "/below"])
        try expect(73, .cannotCreate, ["convert", source, sample.at("missing/below")])
        try expect(73, .cannotCreate, ["convert", source, "/proc/ingot"])
        try expect(73, .cannotCreate, ["export", sealed, sealed])
        try expect(73, .cannotCreate, ["export", sealed, source, "--force"])
    }

    @Test func locked() async throws {
        let sample = try await CommandSample()
        let builder = try DirectoryBuilder.begin(sample.directory.at("new"), replaceable: nil)
        try expect(75, .locked, ["convert", sample.source.string, sample.at("new")])
        try expect(75, .locked, ["export", sample.sealed.string, sample.at("new")])
        #expect(try Directory.kind(builder.staging) == .directory)
    }

    /// A reader that goes away does not hide that a claim does not hold.
    @Test func brokenPipeKeepsTheStatus() async throws {
        let sample = try await CommandSample()
        let other = try SampleSource.write(SampleSource.small(seed: 2), to: sample.directory.at("other"))
        for wait in ["", "sleep 0.3;"] {
            let line = "set -o pipefail; { \(wait) \"$INGOT\" verify \"$1\" --against \"$2\"; } | true"
            #expect(try IngotProcess.shell(line, [sample.sealed.string, other.string]).status == 1)
            #expect(try IngotProcess.shell(line, [sample.sealed.string, sample.source.string]).status == 0)
        }
    }
}
