import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Memory stays within `--max-memory` and the program itself, mapped pages counted, however large the model is.
@Suite struct MemoryTests {
    /// 384 MiB of bf16 in matrices of 64 MiB, as a sparse file: what is read is zeros, and is read all the same.
    private static func source(in directory: TemporaryDirectory) throws -> FilePath {
        let count = 64 << 20
        let entries = (0..<6).map { index in
            "\"model.layers.\(index).w.weight\":{\"dtype\":\"BF16\",\"shape\":[4096,8192],"
                + "\"data_offsets\":[\(index * count),\((index + 1) * count)]}"
        }
        let header = Array("{\(entries.joined(separator: ","))}".utf8)
        let length = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
        let path = directory.at("large.safetensors")
        try Files.write(length + header, to: path)
        try Files.patch([0], at: 8 + header.count + 6 * count - 1, in: path)
        return path
    }

    private func peak(_ arguments: [String]) throws -> UInt64 {
        let result = try IngotProcess.run(arguments + ["--max-memory", "24MiB", "--format", "json"])
        #expect(result.status == 0, "\(result.errors)")
        let report = try JSONValue.parse(Array(result.output.utf8))
        return try #require(report["peak_resident_bytes"]?.unsigned)
    }

    @Test(arguments: ["trellis", "uniform", "lossless"]) func staysWithinTheBudget(scheme: String) throws {
        let directory = try TemporaryDirectory()
        let source = try MemoryTests.source(in: directory)
        let sealed = directory.at("sealed")
        let bound: UInt64 = (24 + 48) << 20
        #expect(try peak(["convert", source.string, sealed.string, "--scheme", scheme]) < bound)
        #expect(try peak(["verify", sealed.string, "--against", source.string]) < bound)
    }
}
