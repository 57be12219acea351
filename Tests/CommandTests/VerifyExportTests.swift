import ConversionSupport
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `ingot verify` of what is not ours, and of ours against something else than its source: weights are compared.
@Suite struct VerifyExportTests {
    private func json(_ arguments: [String], status: Int32 = 0) throws -> JSONValue {
        let result = try IngotProcess.run(["verify"] + arguments + ["--format", "json"])
        #expect(result.status == status, "\(result.errors)")
        return try JSONValue.parse(Array(result.output.utf8))
    }

    private func exported(_ sample: CommandSample, _ type: String) throws -> String {
        let path = sample.at("export-\(type)")
        let result = try IngotProcess.run(
            ["export", sample.sealed.string, path, "--to", "safetensors", "--dtype", type])
        #expect(result.status == 0, "\(result.errors)")
        return path
    }

    /// In binary32 an export has the weights that are sealed; against the source, their error is the certificate's.
    @Test func ofAnExport() async throws {
        let sample = try await CommandSample()
        let path = try exported(sample, "f32")
        let own = try json([path, "--against", sample.sealed.string])
        #expect(own["holds"]?.bool == true && own["comparison"]?.string == "weights")
        #expect(own["intact"]?.bool == true && own["format"]?.string == "safetensors")
        for tensor in own["tensors"]?.array ?? [] {
            #expect(tensor["certificate"] == .null)
            #expect(tensor["measured"] == .null || tensor["measured"]?["changed"]?.unsigned == 0)
        }
        let certified = try json([sample.sealed.string])
        let measured = try json([path, "--against", sample.source.string])
        #expect(measured["holds"]?.bool == true && measured["tensors"]?.array?.count == 8)
        for sealed in certified["tensors"]?.array ?? [] where sealed["scheme"]?.string != "kept" {
            let tensor = measured["tensors"]?.array?.first { $0["name"] == sealed["name"] }
            let found = try #require(tensor?["measured"]?["relative_mse"]?.figure)
            let stated = try #require(sealed["certificate"]?["relative_mse"]?.figure)
            #expect(abs(found - stated) <= 1e-6 * stated)
        }
    }

    /// One of ours against another of ours: both are intact, and the weights differ.
    @Test func ofTwoOfOurs() async throws {
        let sample = try await CommandSample()
        let other = sample.at("other")
        #expect(
            try IngotProcess.run(["convert", sample.source.string, other, "--scheme", "uniform", "--bits", "8"]).status
                == 0)
        let report = try json([other, "--against", sample.sealed.string])
        #expect(report["holds"]?.bool == true && report["intact"]?.bool == true)
        #expect(report["comparison"]?.string == "weights")
        let errors = (report["tensors"]?.array ?? []).compactMap { $0["measured"]?["relative_mse"]?.figure }
        #expect(errors.contains { $0 > 1e-4 })
    }

    /// A tensor that went, one that was changed in its counts, and what claims say of a format without hashes.
    @Test func whatDoesNotHold() async throws {
        let sample = try await CommandSample()
        let path = try exported(sample, "f16")
        var tensors = try Verbs.tensors(FilePath(path)).values.sorted { $0.name < $1.name }
        tensors.removeAll { $0.name == "model.layers.0.norm.weight" }
        let poorer = try SampleSource.write([tensors], to: sample.directory.at("poorer"))
        let report = try json([poorer.string, "--against", sample.source.string], status: 1)
        #expect(report["failures"]?.array?.compactMap { $0["tensor"]?.string } == ["model.layers.0.norm.weight"])
        let text = try IngotProcess.run(["verify", poorer.string, "--against", sample.source.string])
        #expect(text.status == 1 && text.output.hasPrefix("FAIL  1 tensor is not the source's"), "\(text.output)")

        let claims = sample.directory.at("claims.json")
        try ClaimsTests.write(#"{"claim": "max_relative_mse", "limit": 0.1}"#, to: claims)
        let held = try json([path, "--against", sample.source.string, "--claims", claims.string])
        let status = (held["claims"]?.array ?? []).map { "\($0["status"]?.string ?? "") \($0["claim"]?.string ?? "")" }
        #expect(
            status == ["skip certificates_hold", "skip source_matches", "pass bytes_intact", "pass max_relative_mse"])
        try ClaimsTests.write(#"{"claim": "max_relative_mse", "limit": 1e-9}"#, to: claims)
        _ = try json([path, "--against", sample.source.string, "--claims", claims.string], status: 1)
    }

    /// The manifest of an export to safetensors has the hash of every file; another export or a conversion does not carry it on.
    @Test func manifestOfSafetensors() async throws {
        let sample = try await CommandSample()
        let path = try exported(sample, "bf16")
        #expect(try json([path])["intact"]?.bool == true)
        #expect(try IngotProcess.run(["export", path, sample.at("again")]).status == 0)
        let first = FilePath(path), second = FilePath(sample.at("again"))
        let names = [first, second].map { Files.names($0).filter { $0 != "ingot-export.json" }.sorted() }
        #expect(names[0] == names[1] && Files.names(first).contains("ingot-export.json"))
        #expect(try json([second.string, "--against", path])["holds"]?.bool == true)
        #expect(
            try Files.read(first.appending("ingot-export.json")) != Files.read(second.appending("ingot-export.json")))
        #expect(try IngotProcess.run(["convert", path, sample.at("converted")]).status == 0)
        #expect(!Files.names(FilePath(sample.at("converted"))).contains("ingot-export.json"))
        #expect(try IngotProcess.run(["export", path, second.string, "--force"]).status == 0)
        for name in [names[0].first ?? "", names[0].first { $0.hasSuffix(".safetensors") } ?? ""] {
            let file = second.appending(name)
            var bytes = try Files.read(file)
            bytes[bytes.count - 3] ^= 1
            try Files.write(bytes, to: file)
            let damaged = try IngotProcess.run(["verify", second.string])
            #expect(damaged.status == 65 && (damaged.output + damaged.errors).contains(name), "\(damaged.errors)")
            #expect(try IngotProcess.run(["export", path, second.string, "--force"]).status != 0)
            bytes[bytes.count - 3] ^= 1
            try Files.write(bytes, to: file)
        }
    }

    /// A format without hashes, and nothing to compare with: there is nothing to check.
    @Test func withoutASource() async throws {
        let sample = try await CommandSample()
        let result = try IngotProcess.run(["verify", sample.source.string])
        #expect(result.status == 66 && result.errors.contains("--against SOURCE"), "\(result.errors)")
    }
}
