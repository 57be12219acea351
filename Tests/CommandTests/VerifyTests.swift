import ConversionSupport
import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What `ingot verify --against` measures, and what it says of it.
@Suite struct VerifyTests {
    private static let goldens = FilePath(#filePath).removingLastComponent().appending("Goldens")

    private func expect(_ text: String, golden name: String, _ location: SourceLocation = #_sourceLocation) throws {
        let path = VerifyTests.goldens.appending(name)
        if ProcessInfo.processInfo.environment["INGOT_UPDATE_GOLDENS"] == "1" { try Files.write(text, to: path) }
        let golden = String(decoding: try Files.read(path), as: UTF8.self)
        #expect(text == golden, "INGOT_UPDATE_GOLDENS=1 writes \(name) anew", sourceLocation: location)
    }

    private func report(_ arguments: [String], status: Int32 = 0) throws -> JSONValue {
        let result = try IngotProcess.run(["verify"] + arguments + ["--format", "json"])
        #expect(result.status == status, "\(result.errors)")
        return try JSONValue.parse(Array(result.output.utf8))
    }

    // MARK: - Values

    /// The command's figures against those of a loop over the exported weights.
    @Test(arguments: [("trellis", 2), ("trellis", 4), ("uniform", 3), ("lossless", 4)])
    func figuresAreThoseOfTheWeights(scheme: String, bits: Int) async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            [
                [
                    SampleTensor("a.q_proj.weight", .f16, [130, 200], .gaussian, seed: 3),
                    SampleTensor("b.q_proj.weight", .bf16, [64, 96], .heavy, seed: 4),
                    SampleTensor("c.q_proj.weight", .f32, [700, 600], .scaled, seed: 5),
                    SampleTensor("d.q_proj.weight", .f16, [40, 64], .sparse, seed: 6),
                    SampleTensor("e.norm.weight", .f32, [77], seed: 7),
                ]
            ], to: directory.at("source"))
        let sealed = directory.at("sealed").string
        let options = scheme == "lossless" ? [] : ["--bits", "\(bits)"]
        let converted = try IngotProcess.run(["convert", source.string, sealed, "--scheme", scheme] + options)
        #expect(converted.status == 0, "\(converted.errors)")
        let exported = directory.at("exported")
        #expect(try IngotProcess.run(["export", sealed, exported.string, "--dtype", "f32"]).status == 0)
        let (before, after) = (try Verbs.tensors(source), try Verbs.tensors(exported))
        var flips: UInt64 = 0
        for tensor in try report([sealed, "--against", source.string])["tensors"]?.array ?? [] {
            let name = TensorName(try #require(tensor["name"]?.string))
            let (original, restored) = (try #require(before[name]), try #require(after[name]))
            let naive = NaiveErrors(original, restored)
            let measured = try #require(tensor["measured"])
            #expect(measured["max_error"]?.figure == naive.maxError)
            #expect(measured["changed"]?.unsigned == naive.changed)
            #expect(measured["sign_flips"]?.unsigned == naive.signFlips)
            #expect(measured["zeroed"]?.unsigned == naive.zeroed)
            flips += naive.signFlips
            let relative = try #require(measured["relative_mse"]?.figure)
            #expect(abs(relative - naive.relativeMSE) <= 1e-12 * naive.relativeMSE, "\(name)")
            let cosine = try #require(measured["cosine"]?.figure)
            #expect(abs(cosine - naive.cosine) <= 1e-12)
            let limit = try #require(measured["error_p999"]?.figure)
            #expect(
                limit >= naive.p999Error && limit <= naive.p999Error * 1.016, "\(name): \(limit) \(naive.p999Error)")
            // Both histograms count every weight that is not outside.
            for key in ["statistics", "source_statistics"] {
                let statistics = tensor[key]
                #expect(statistics?["count"]?.unsigned == UInt64(naive.errors.count))
                #expect(statistics?["nan"]?.unsigned == 0)
            }
            #expect(tensor["histograms"]?["source"] == tensor["source_statistics"]?["histogram"]?["counts"])
            let bins = tensor["histograms"]?["restored"]?.array ?? []
            let inside = bins.reduce(0) { $0 + ($1.unsigned ?? 0) }
            #expect(bins.count == 64 && inside <= UInt64(naive.errors.count))
            #expect(Double(inside) >= 0.97 * Double(naive.errors.count), "\(name)")
            #expect(tensor["elements"]?.unsigned == UInt64(naive.errors.count))
            #expect(tensor["source_bytes"]?.unsigned == UInt64(original.bytes.count))
        }
        #expect(scheme == "lossless" ? flips == 0 : flips > 0)
    }

    /// Without a source: what is restored, and no figure that would need one.
    @Test func withoutASource() async throws {
        let directory = try TemporaryDirectory()
        let mask: [Float] = [0, -.infinity, .nan, 1]
        let source = try SampleSource.write(
            [
                [
                    SampleTensor("a.weight", .f16, [8, 96]),
                    SampleTensor("mask", .bf16, [4], values: mask),
                ]
            ], to: directory.at("source"))
        let sealed = directory.at("sealed")
        try await Verbs.convert(source, to: sealed)
        let found = try report([sealed.string])
        #expect(found["compared"]?.bool == false && found["holds"]?.bool == true)
        let tensors = found["tensors"]?.array ?? []
        #expect(tensors.count == 2)
        for tensor in tensors {
            #expect(tensor["measured"] == .null && tensor["source_statistics"] == .null)
            #expect(tensor["histograms"] == .null && tensor["source_bytes"] == .null)
        }
        let statistics = tensors.first { $0["name"]?.string == "mask" }?["statistics"]
        #expect(statistics?["nan"]?.unsigned == 1 && statistics?["infinite"]?.unsigned == 1)
        #expect(statistics?["zeros"]?.unsigned == 1 && statistics?["max"]?.figure == 1)
        let text = try IngotProcess.run(["verify", sealed.string]).output
        #expect(text.contains("NaN or infinity in mask: 1 NaN, 1 infinite"))
        // The same weights, counted beside a source.
        let beside = try report([sealed.string, "--against", source.string])["tensors"]?.array ?? []
        #expect(beside.map { $0["statistics"] } == tensors.map { $0["statistics"] })
    }

    // MARK: - Forms

    /// The same report in each form; places, times and memory left out.
    @Test func forms() async throws {
        let sample = try await CommandSample()
        let verify = ["verify", sample.sealed.string, "--against", sample.source.string]
        func output(_ arguments: [String]) throws -> String {
            let result = try IngotProcess.run(verify + arguments)
            #expect(result.status == 0 && result.errors.isEmpty, "\(result.errors)")
            return result.output
        }
        try expect(try output([]), golden: "verify.txt")
        try expect(try output(["--color", "always", "--top", "2"]), golden: "verify-color.txt")
        try expect(try output(["--format", "csv"]), golden: "verify.csv")
        try expect(try output(["--format", "markdown"]), golden: "verify.md")
        let json = try JSONValue.parse(Array(try output(["--format", "json"]).utf8))
        try expect(VerifyTests.lines(json), golden: "verify.json.txt")
        // The whole tree at once and piece by piece give the same text.
        let whole = try output(["--format", "json"])
        #expect(try JSONValue.parse(Array(whole.utf8)).text(indented: true) + "\n" == whole)
        let file = sample.at("report.csv")
        #expect(try output(["--format", "csv", "--output", file]).isEmpty)
        #expect(try Files.read(FilePath(file)) == Array(try output(["--format", "csv"]).utf8))
        // A terminal of 80 columns.
        let script = Subprocess.find("script")
        guard FileManager.default.isExecutableFile(atPath: script.string) else {
            print("no script(1) here: the text is not tested on a terminal")
            return
        }
        for (more, name) in [("", "verify-80.txt"), (" --color never", "verify-80-plain.txt")] {
            let result = try IngotProcess.shell(
                "script -qec \"stty cols 80; '$INGOT' verify '$1' --against '$2'\(more)\" /dev/null",
                [sample.sealed.string, sample.source.string])
            let text = result.output.replacing("\r\n", with: "\n")
            try expect(text, golden: name)
            for line in text.split(separator: "\n") {
                #expect(line.replacing(/\u{1B}\[[0-9]*m/, with: "").count <= 80, "\(line)")
            }
        }
    }

    /// A report with one member of the top level, and one tensor, on a line.
    private static func lines(_ report: JSONValue) -> String {
        var text = ""
        for member in report.object ?? [] {
            switch member.key {
            case "seconds", "peak_resident_bytes": text += "\(member.key): ...\n"
            case "tensors": for tensor in member.value.array ?? [] { text += rounded(tensor).text() + "\n" }
            default: text += "\(member.key): \(rounded(member.value).text())\n"
            }
        }
        return text
    }

    /// Logarithms differ in their last bits from one C library to the next.
    private static func rounded(_ value: JSONValue) -> JSONValue {
        switch value {
        case .number(let number): .number((number * 1e9).rounded() / 1e9)
        case .array(let items): .array(items.map(rounded))
        case .object(let members): .object(members.map { .init($0.key, rounded($0.value)) })
        default: value
        }
    }

    /// Names that would break a table or a page do not.
    @Test func namesInTables() async throws {
        let directory = try TemporaryDirectory()
        let name = "a,\"b\"|<script>`c`_d\u{1B}[1m.weight"
        let source = try SampleSource.write([[SampleTensor(name, .f16, [8, 96])]], to: directory.at("source"))
        let sealed = directory.at("sealed")
        try await Verbs.convert(source, to: sealed)
        let verify = ["verify", sealed.string, "--against", source.string, "--format"]
        let csv = try IngotProcess.run(verify + ["csv"]).output
        #expect(csv.contains("\r\n\"a,\"\"b\"\"|<script>`c`_d\\u{1b}[1m.weight\",other,,"))
        #expect(csv.hasSuffix("\r\n"))
        let markdown = try IngotProcess.run(verify + ["markdown"]).output
        #expect(markdown.contains("| ``a,\"b\"\\u{7c}<script>`c`_d\\u{1b}[1m.weight`` | uniform 4 g32 |"))
    }

    // MARK: - Files that no manifest names

    /// What stands in a checkpoint and in no manifest: weights are refused, anything else is told.
    @Test func unlistedFilesInACheckpoint() async throws {
        let sample = try await CommandSample()
        let verify = ["verify", sample.sealed.string]
        let pipe = try IngotProcess.shell("mkfifo \"$1/pipe\" && ln -s nowhere \"$1/link\"", [sample.sealed.string])
        try #require(pipe.status == 0)
        let result = try IngotProcess.run(verify)
        #expect(result.status == 0)
        let lines = result.errors.split(separator: "\n").filter { $0.hasPrefix("warning: ") }
        #expect(lines.count == 2 && lines[0].contains("link") && lines[1].contains("pipe"), "\(result.errors)")
        try Directory.create(sample.sealed.appending("sub"))
        try Files.write("", to: sample.sealed.appending("sub").appending("x.safetensors"))
        let refused = try IngotProcess.run(verify)
        #expect(refused.status == 65 && refused.errors.hasPrefix("error: manifestInvalid: "), "\(refused.errors)")
    }
}

/// Errors of a tensor by a plain loop.
struct NaiveErrors {
    var errors: [Double] = [], maxError = 0.0
    var changed: UInt64 = 0, signFlips: UInt64 = 0, zeroed: UInt64 = 0
    private var signal = 0.0, noise = 0.0, product = 0.0, energy = 0.0

    init(_ original: SampleTensor, _ restored: SampleTensor) {
        guard let from = original.type.quantizable, let to = restored.type.quantizable else { return }
        for index in 0..<original.shape.reduce(1, *) {
            let before = Double(FloatBytes.decode(original.bytes, index, from))
            let after = Double(FloatBytes.decode(restored.bytes, index, to))
            // The certificate's differences are of binary64; errors are sorted by those of binary32.
            errors.append(Double(abs(Float(before) - Float(after))))
            maxError = max(maxError, abs(before - after))
            signal += before * before
            noise += (before - after) * (before - after)
            product += before * after
            energy += after * after
            if before != after { changed += 1 }
            if before * after < 0 { signFlips += 1 }
            if before != 0, after == 0 { zeroed += 1 }
        }
    }

    var relativeMSE: Double { noise == 0 ? 0 : noise / signal }
    var cosine: Double { noise == 0 ? 1 : product / (signal * energy).squareRoot() }
    var p999Error: Double {
        errors.isEmpty ? 0 : errors.sorted()[Int((Double(errors.count) * 0.999).rounded(.up)) - 1]
    }
}

extension JSONValue {
    /// A number, however it is written.
    var figure: Double? {
        switch self {
        case .number(let number): number
        case .unsigned(let number): Double(number)
        default: nil
        }
    }
}
