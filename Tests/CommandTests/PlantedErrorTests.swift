import Container
import ConversionSupport
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Errors planted in a checkpoint whose hashes all hold: `verify --against` names the tensor on its first screen.
@Suite struct PlantedErrorTests {
    /// What a screen of a small terminal shows.
    private static let screen = 20

    /// A checkpoint of 300 tensors, in scheme `uniform` with codes that no codec compressed.
    private struct Sample {
        let directory: TemporaryDirectory
        let source: FilePath, sealed: FilePath
        var shard: ForgedShard

        static func matrix(_ layer: Int) -> String { "model.layers.\(layer).self_attn.q_proj.weight" }
        static func norm(_ layer: Int) -> String { "model.layers.\(layer).input_layernorm.weight" }

        init() async throws {
            directory = try TemporaryDirectory()
            source = directory.at("source")
            sealed = directory.at("sealed")
            let tensors = (100..<250).flatMap { layer in
                [
                    SampleTensor(Sample.matrix(layer), .f16, [8, 96]),
                    SampleTensor(Sample.norm(layer), .f16, [96]),
                ]
            }
            try SampleSource.write([tensors], to: source)
            try await Verbs.convert(source, to: sealed, Verbs.options(codec: .none))
            shard = try ForgedShard(sealed.appending("model.safetensors"))
        }

        /// Where a tensor's bytes are.
        func range(of tensor: String) throws -> Range<Int> {
            let header = try JSONValue.parse(Array(shard.header.utf8))
            let found = header[tensor]?["data_offsets"]?.array?.compactMap(\.unsigned)
            let offsets = try #require(found)
            return shard.dataStart + Int(offsets[0])..<shard.dataStart + Int(offsets[1])
        }

        /// Changes one code of a matrix by 8 steps; the chunk's checksum holds, its error sums are what they were.
        mutating func changeCode(of tensor: String, at byte: Int) throws {
            let payload = try range(of: tensor).lowerBound
            let entry = payload + 64
            let chunk = payload + shard.number(at: entry)
            shard.bytes[chunk + byte] ^= 0x80
            // Codes, and two byte planes each of scales and biases.
            let count = (0..<5).reduce(0) { $0 + shard.number(at: entry + 48 + 8 * $1, 4) }
            shard.set(ContentHash.checksum64(Array(shard.bytes[chunk..<chunk + count]).span), at: entry + 8)
        }

        /// Lets two tensors have each other's name.
        mutating func exchange(_ one: String, _ other: String) {
            let between = String(repeating: "#", count: one.utf8.count)
            shard.header = shard.header.replacing(one, with: between).replacing(other, with: one)
                .replacing(between, with: other)
        }

        func verify(_ options: [String] = []) throws -> Subprocess.Result {
            try IngotProcess.run(["verify", sealed.string, "--against", source.string] + options)
        }
    }

    private func firstScreen(_ result: Subprocess.Result) -> String {
        result.output.split(separator: "\n", omittingEmptySubsequences: false).prefix(PlantedErrorTests.screen)
            .joined(separator: "\n")
    }

    @Test func code() async throws {
        var sample = try await Sample()
        #expect(try sample.verify().status == 0)
        let before = try report(sample, Sample.matrix(177), status: 0)
        try sample.changeCode(of: Sample.matrix(177), at: 100)
        try sample.shard.publish()
        #expect(try IngotProcess.run(["verify", sample.sealed.string]).status == 0)
        let result = try sample.verify()
        #expect(result.status == 1)
        let screen = firstScreen(result)
        #expect(screen.hasPrefix("FAIL  1 tensor is not what the checkpoint claims (of 300)\n"))
        #expect(screen.contains("\n  \(Sample.matrix(177))  (uniform 4 g32)\n"))
        #expect(screen.contains("an error against the source that is not the certificate's"))
        #expect(screen.contains("    measured") && screen.contains("    certified"))
        #expect(screen.contains("to do: convert the source again"))
        #expect(result.errors.hasPrefix("error: certificateMismatch: "))
        // The certificate is that of before, the measured error larger; every other tensor holds.
        let after = try report(sample, Sample.matrix(177), status: 1)
        #expect(after["certificate"] == before["certificate"])
        let old = try #require(before["measured"]?["relative_mse"]?.figure)
        let new = try #require(after["measured"]?["relative_mse"]?.figure)
        #expect(new > 1.1 * old)
        // It has the largest error of all, too.
        let table = result.output.split(separator: "\n").drop { !$0.hasPrefix("tensor ") }
        #expect(table.dropFirst().first?.contains(".177.") == true, "\(table)")
        for format in ["csv", "markdown"] {
            let lines = try sample.verify(["--format", format]).output.split(separator: "\n")
            let named = lines.filter { $0.contains("certificateMismatch") || $0.contains("not the certificate's") }
            #expect(named.count == 1 && named[0].replacing("\\", with: "").contains(Sample.matrix(177)), "\(named)")
        }
    }

    private func report(_ sample: Sample, _ tensor: String, status: Int32) throws -> JSONValue {
        let result = try sample.verify(["--format", "json"])
        #expect(result.status == status)
        let report = try JSONValue.parse(Array(result.output.utf8))
        let found = report["tensors"]?.array?.first { $0["name"]?.string == tensor }
        return try #require(found)
    }

    @Test func keptTensor() async throws {
        var sample = try await Sample()
        // The upper byte of a weight: its exponent.
        sample.shard.bytes[try sample.range(of: Sample.norm(240)).lowerBound + 11] ^= 0x10
        try sample.shard.publish()
        let result = try sample.verify()
        #expect(result.status == 1)
        let screen = firstScreen(result)
        #expect(screen.contains("\n  \(Sample.norm(240))  (kept)\n"))
        #expect(screen.contains("    measured") && screen.contains("    kept "))
        let tensor = try report(sample, Sample.norm(240), status: 1)
        #expect(tensor["measured"]?["changed"]?.unsigned == 1)
        let error = try #require(tensor["measured"]?["relative_mse"]?.figure)
        #expect(error > 0)
        let untouched = try report(sample, Sample.norm(239), status: 1)
        #expect(untouched["measured"]?["relative_mse"]?.figure == 0)
        #expect(untouched["measured"]?["changed"]?.unsigned == 0 && untouched["measured"]?["cosine"]?.figure == 1)
    }

    @Test func exchangedTensors() async throws {
        var sample = try await Sample()
        sample.exchange(Sample.matrix(120), Sample.matrix(121))
        try sample.shard.publish()
        let result = try sample.verify()
        #expect(result.status == 1)
        let screen = firstScreen(result).replacing(/\n {4}(?=\S)/, with: " ")
        for (name, other) in [(120, 121), (121, 120)] {
            #expect(screen.contains("\n  \(Sample.matrix(name))  (uniform 4 g32) "), "\(screen)")
            #expect(screen.contains("the source's bytes are those that became `\(Sample.matrix(other))` here"))
        }
        let tensor = try report(sample, Sample.matrix(120), status: 1)
        let error = try #require(tensor["measured"]?["relative_mse"]?.figure)
        let cosine = try #require(tensor["measured"]?["cosine"]?.figure)
        #expect(error > 1 && abs(cosine) < 0.3)
    }

    /// Many offenders: the first with all there is to say, the others by name, the count of the rest.
    @Test func manyOffenders() async throws {
        var sample = try await Sample()
        for layer in 110..<140 { try sample.changeCode(of: Sample.matrix(layer), at: 7) }
        try sample.shard.publish()
        let screen = firstScreen(try sample.verify())
        #expect(screen.hasPrefix("FAIL  30 tensors are not what the checkpoint claims (of 300)\n"))
        for layer in 110..<117 { #expect(screen.contains(Sample.matrix(layer))) }
        #expect(screen.contains("... and 23 more"))
    }
}
