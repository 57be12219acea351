import ConversionSupport
import FileAccess
import SystemPackage
import TestSupport
import Testing

/// Errors of the command line and of paths: what was given, what is allowed, what was perhaps meant.
@Suite struct UsageErrorTests {
    /// Arguments, and a text that the error must have.
    @Test(
        arguments: [
            (["convrt", "a", "b"], "to do: did you mean `ingot convert`?"),
            (["help", "verfy"], "did you mean `ingot help verify`?"),
            (
                ["nonsense"],
                "expected: one of convert, plan, inspect, verify, diff, export, tokenize, evaluate, calibrate, help"
            ),
            (["inspect", "x", "--sort", "sise"], "did you mean --sort size?"),
            (["verify", "x", "--format", "markdwon"], "did you mean --format markdown?"),
            (["convert", "a", "b", "--codec", "zip"], "expected: one of zstd, rans, lz4, none"),
            (["inspect", "x", "--fromat", "json"], "Did you mean '--format'?"), (["inspect"], "<path>"),
            (["convert", "a", "b", "--bits", "12"], "--bits and --bpw must be between 1 and 8.5"),
            (["convert", "a", "b", "--bits-for", "x"], "`x` for --bits-for"),
            (["convert", "a", "b", "--target-size", "1.4MB"], "expected: Size of DEST at most, such as 18GiB"),
            (["convert", "a", "b", "--keep", "["], "`[` for --keep"),
        ] as [([String], String)])
    func usage(arguments: [String], text: String) throws {
        let result = try IngotProcess.run(arguments)
        #expect(result.status == 64 && result.output.isEmpty)
        #expect(result.errors.hasPrefix("error: usage: ") && result.errors.contains(text), "\(result.errors)")
        #expect(result.errors.contains("\n  to do: "), "\(result.errors)")
    }

    /// The directory that does not exist is named, not the lock file that could not be made.
    @Test func missingDirectory() async throws {
        let sample = try await CommandSample()
        for arguments in [
            ["convert", sample.source.string, sample.at("no/such/out")],
            ["export", sample.sealed.string, sample.at("no/such/out")],
        ] {
            let result = try IngotProcess.run(arguments)
            #expect(
                result.status == 73 && result.errors.contains("the directory \(sample.at("no/such")) does not exist"))
            #expect(!result.errors.contains("lock"), "\(result.errors)")
        }
        try Files.write("x", to: FilePath(sample.at("file")))
        let result = try IngotProcess.run(["convert", sample.source.string, sample.at("file/out")])
        #expect(result.status == 73 && result.errors.contains("is not a directory"), "\(result.errors)")
    }

    /// What is no checkpoint is named.
    @Test(
        arguments: [
            (
                "onnx", [0x08, 0x07, 0x12, 0x07] + Array("pytorch".utf8) + [0x1A, 5] + Array("2.1.0".utf8),
                "an ONNX file"
            ),
            (
                "tflite", [0x1C, 0, 0, 0] + Array("TFL3".utf8) + [0x14, 0x20, 1, 2, 3, 4, 5, 6],
                "a TensorFlow Lite file"
            ),
            ("txt", Array("Once upon a time, ä".utf8), "a text file"),
            ("json", Array("{\"a\": [1, 2, 3]}".utf8), "a JSON file"),
            ("html", Array("<!DOCTYPE html><html>".utf8), "a web page"),
            ("safetensors", Array("version https://git-lfs.github.com/spec/v1".utf8), "a Git LFS pointer"),
            ("gz", [0x1F, 0x8B, 0x08, 0, 0, 0, 0, 0, 0, 3, 1, 2], "a file that gzip compressed"),
        ] as [(String, [UInt8], String)])
    func noCheckpoint(ending: String, bytes: [UInt8], name: String) throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("x.\(ending)")
        try Files.write(bytes, to: path)
        for arguments in [["inspect", path.string], ["convert", path.string, directory.at("out").string]] {
            let result = try IngotProcess.run(arguments)
            #expect(result.status == 65 && result.errors.contains(name), "\(result.errors)")
            #expect(!result.errors.contains("header length"), "\(result.errors)")
        }
    }
}
