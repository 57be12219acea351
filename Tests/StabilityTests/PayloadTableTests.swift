import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Foundation
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// The bytes of every payload and kept tensor that `convert` writes for SampleWeights, against a table that version 0.1.0 made.
///
/// Headers, `config.json` and the manifest are left out: they name the version of the writer. `INGOT_UPDATE_PAYLOADS=1` writes the
/// table anew; a difference in it is a change of what users' conversions give.
@Suite struct PayloadTableTests {
    /// The sources: name in the table, and path below SampleWeights.
    static let sources = ["fp16", "bf16", "fp32"]

    private func path(_ source: String) -> FilePath {
        source == "fp16" ? Repository.sampleWeights : Repository.sampleWeights.appending(source)
    }

    private func table(_ source: String) -> FilePath {
        Repository.fixtures.appending("payloads-\(source).txt")
    }

    // MARK: - What is converted

    /// One conversion: its title in the table, and its options.
    private struct Case {
        let title: String
        let options: ConversionOptions

        /// Whether its bytes depend on the version of a codec library.
        var dependsOnLibrary: Bool { options.encoding.codec == .zstd || options.encoding.codec == .lz4 }
    }

    private static func trellis(_ goal: RateGoal, _ codec: Codec, states: Int = 8) -> Case {
        var options = Verbs.options(.trellis, codec: codec, jobs: 2)
        options.encoding.goal = goal
        options.encoding.states = states
        let asked =
            switch goal {
            case .bits(let bits): "bits \(bits)"
            case .averageBits(let bits): "bpw \(bits)"
            case .relativeMSE(let error): "relative-mse \(error)"
            case .totalBytes(let bytes): "target-size \(bytes)"
            }
        return Case(title: "trellis \(codec.name) states \(states) \(asked)", options: options)
    }

    private static func uniform(
        _ codec: Codec, bits: Int, group: Int = 64, symmetric: Bool = false, scales: UniformScales = .searched
    ) -> Case {
        let kind = (symmetric ? "symmetric " : "") + scales.rawValue
        let title = "uniform \(codec.name) bits \(bits) group \(group) \(kind)"
        return Case(
            title: title,
            options: Verbs.options(
                .uniform, bits: bits, group: group, symmetric: symmetric, scales: scales, codec: codec, jobs: 2))
    }

    /// Every scheme, codec, number of states and kind of goal.
    ///
    /// - Parameter targetSize: bytes of the whole output for the goal of a size.
    private static func cases(targetSize: UInt64) -> [Case] {
        var cases: [Case] = []
        for codec in [Codec.zstd, .rans] {
            for states in TrellisParameters.stateCounts {
                for goal in [RateGoal.bits(4), .averageBits(3.5), .relativeMSE(5e-3), .totalBytes(targetSize)] {
                    cases.append(trellis(goal, codec, states: states))
                }
            }
            for bits in [1.5, 2, 3, 5, 6, 8] { cases.append(trellis(.bits(bits), codec)) }
        }
        for codec in [Codec.lz4, .none] {
            for states in TrellisParameters.stateCounts { cases.append(trellis(.bits(4), codec, states: states)) }
            for bits in [2.0, 3, 8] { cases.append(trellis(.bits(bits), codec)) }
            cases.append(trellis(.relativeMSE(5e-3), codec))
        }
        for codec in [Codec.zstd, .lz4, .none] {
            cases.append(uniform(codec, bits: 4))
            let lossless = Verbs.options(.lossless, codec: codec, jobs: 2)
            cases.append(Case(title: "lossless \(codec.name)", options: lossless))
        }
        for bits in [2, 3, 5, 6, 8] { cases.append(uniform(.zstd, bits: bits)) }
        cases.append(uniform(.zstd, bits: 4, group: 32))
        cases.append(uniform(.zstd, bits: 4, group: 128))
        cases.append(uniform(.zstd, bits: 4, symmetric: true))
        cases.append(uniform(.zstd, bits: 4, scales: .minmax))
        return cases
    }

    // MARK: - The table

    /// The hashes of a checkpoint's payloads and kept tensors, a line each, sorted by tensor.
    private func lines(_ checkpoint: FilePath) throws -> [String] {
        var lines: [String] = []
        for shard in try SealedCheckpoint(checkpoint).shards {
            for payload in shard.payloads {
                lines.append("\(payload.name.text) \(try shard.file.hash(of: payload.range))")
            }
            for tensor in shard.kept {
                lines.append("\(tensor.name.text) kept \(try shard.file.hash(of: tensor.range))")
            }
        }
        return lines.sorted()
    }

    /// The table as text: the libraries' versions, then a title and the lines of each conversion.
    private func text(_ source: String, _ cases: [Case]) async throws -> [String: [String]] {
        let directory = try TemporaryDirectory()
        var found: [String: [String]] = [:]
        for (index, item) in cases.enumerated() {
            let target = directory.at("\(index)")
            try await Verbs.convert(path(source), to: target, item.options)
            found[item.title] = try lines(target)
            try Directory.removeTree(target)
        }
        return found
    }

    private func read(_ path: FilePath) throws -> (codecs: String, cases: [String: [String]]) {
        var cases: [String: [String]] = [:]
        var codecs = ""
        var title = ""
        for line in String(decoding: try Files.read(path), as: UTF8.self).split(separator: "\n").map(String.init) {
            if line.hasPrefix("codecs: ") {
                codecs = String(line.dropFirst("codecs: ".count))
            } else if line.hasPrefix("# ") {
                title = String(line.dropFirst(2))
                cases[title] = []
            } else {
                cases[title, default: []].append(line)
            }
        }
        return (codecs, cases)
    }

    /// Rows of codecs whose library has another version than the table's are not compared: their bytes are the library's choice.
    @Test(arguments: sources)
    func payloadsAreThoseOfTheTable(source: String) async throws {
        let sourceBytes = try Files.snapshot(path(source)).reduce(UInt64(0)) {
            $1.key.contains("/") || !$1.key.hasSuffix(".safetensors") ? $0 : $0 + UInt64($1.value.count)
        }
        var companions: UInt64 = 0
        if source == "fp16" { companions = 600_000 }
        let cases = PayloadTableTests.cases(targetSize: companions + sourceBytes * (source == "fp32" ? 15 : 30) / 100)
        let updates = ProcessInfo.processInfo.environment["INGOT_UPDATE_PAYLOADS"] == "1"
        let tried = updates ? cases : Share.ofTable(cases)
        let found = try await text(source, tried)
        if updates {
            let titles = cases.map(\.title)
            let text = titles.map { "# \($0)\n" + (found[$0] ?? []).joined(separator: "\n") }
            try Files.write(
                "codecs: \(CodecLibraries.versions)\n" + text.joined(separator: "\n") + "\n", to: table(source))
        }
        let expected = try read(table(source))
        #expect(expected.cases.count == cases.count && expected.cases.values.allSatisfy { !$0.isEmpty })
        let hasLibraries = expected.codecs == CodecLibraries.versions
        for item in tried where hasLibraries || !item.dependsOnLibrary {
            #expect(found[item.title] == expected.cases[item.title], "\(source), \(item.title)")
        }
        Tally.print(tried.count { hasLibraries || !$0.dependsOnLibrary }, "conversions of \(source) against the table")
    }
}
