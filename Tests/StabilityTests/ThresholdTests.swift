import Container
import Conversion
import ConversionSupport
import Foundation
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// No version makes SampleWeights larger, or its error larger, than `Tests/Fixtures/thresholds.txt` says.
///
/// A row has the options, the bytes of all tensors as stored (without headers and manifest, which name the version), and the relative mean
/// square error over all encoded tensors. `INGOT_UPDATE_THRESHOLDS=1` writes the table anew. The exact bytes are the subject of `PayloadTableTests`.
@Suite struct ThresholdTests {
    private static let table = Repository.fixtures.appending("thresholds.txt")

    /// One conversion: the options as a user writes them, which are the key of its row, and as values.
    private struct Case {
        let title: String
        let options: ConversionOptions

        /// Whether its bytes depend on the version of a codec library.
        var dependsOnLibrary: Bool { options.encoding.codec == .zstd || options.encoding.codec == .lz4 }
    }

    private static let bits = [2, 3, 4, 6, 8]
    private static let errors = [2e-2, 5e-3, 1e-3]

    private static func trellis(_ goal: RateGoal, _ title: String, _ codec: Codec, states: Int = 8) -> Case {
        var options = Verbs.options(.trellis, codec: codec, jobs: 2)
        options.encoding.goal = goal
        options.encoding.states = states
        let more = states == 8 ? "" : " --states \(states)"
        return Case(title: "--codec \(codec.name) \(title)\(more)", options: options)
    }

    /// Every scheme with every codec it takes.
    private static var cases: [Case] {
        var cases: [Case] = []
        for codec in [Codec.zstd, .rans, .lz4, .none] {
            for bits in bits { cases.append(trellis(.bits(Double(bits)), "--bits \(bits)", codec)) }
            for error in errors { cases.append(trellis(.relativeMSE(error), "--relative-mse \(error)", codec)) }
        }
        for codec in [Codec.zstd, .rans] { cases.append(trellis(.bits(4), "--bits 4", codec, states: 32)) }
        for codec in [Codec.zstd, .lz4, .none] {
            for bits in bits {
                cases.append(
                    Case(
                        title: "--scheme uniform --codec \(codec.name) --bits \(bits)",
                        options: Verbs.options(.uniform, bits: bits, group: 64, codec: codec, jobs: 2)))
            }
            cases.append(
                Case(
                    title: "--scheme lossless --codec \(codec.name)",
                    options: Verbs.options(.lossless, codec: codec, jobs: 2)))
        }
        return cases
    }

    private struct Row {
        let bytes: UInt64
        let error: Double
    }

    private func convert(_ item: Case) async throws -> Row {
        let directory = try TemporaryDirectory()
        let report = try await Verbs.convert(Repository.sampleWeights, to: directory.at("sealed"), item.options)
        let sums = report.tensors.reduce(ErrorSums.zero) { $0 + $1.descriptor.sums }
        return Row(bytes: report.dataBytes, error: sums.relativeMSE)
    }

    private func read() throws -> (codecs: String, rows: [String: Row]) {
        var (codecs, rows) = ("", [String: Row]())
        for line in String(decoding: try Files.read(ThresholdTests.table), as: UTF8.self).split(separator: "\n") {
            if line.hasPrefix("#") { continue }
            if line.hasPrefix("codecs: ") {
                codecs = String(line.dropFirst("codecs: ".count))
                continue
            }
            let parts = line.split(separator: "\t")
            try #require(parts.count == 3, "\(line)")
            rows[String(parts[0])] = Row(
                bytes: try #require(UInt64(parts[1]), "\(line)"), error: try #require(Double(parts[2]), "\(line)"))
        }
        return (codecs, rows)
    }

    private func write(_ found: [(title: String, row: Row)]) throws {
        let rows = found.map { "\($0.title)\t\($0.row.bytes)\t\($0.row.error)\n" }
        let text =
            "# SampleWeights converted: options, bytes of all tensors as stored, relative mean square error. At most these.\n"
            + "codecs: \(CodecLibraries.versions)\n" + rows.joined()
        try Files.write(text, to: ThresholdTests.table)
    }

    /// Where a codec library has another version than the table's, its rows have 1 percent of room: their bytes are the library's choice.
    @Test func noConversionGetsWorse() async throws {
        var found: [(title: String, row: Row)] = []
        let updates = ProcessInfo.processInfo.environment["INGOT_UPDATE_THRESHOLDS"] == "1"
        let tried = updates ? ThresholdTests.cases : Share.ofTable(ThresholdTests.cases)
        for item in tried { found.append((item.title, try await convert(item))) }
        if updates { try write(found) }
        let (codecs, rows) = try read()
        #expect(Set(rows.keys) == Set(ThresholdTests.cases.map(\.title)))
        for (item, (title, row)) in zip(tried, found) {
            let maximum = try #require(rows[title], "no row for \(title)")
            let room = item.dependsOnLibrary && codecs != CodecLibraries.versions ? 1.01 : 1
            #expect(
                Double(row.bytes) <= Double(maximum.bytes) * room,
                "\(title): \(row.bytes) bytes, \(maximum.bytes) at most")
            #expect(row.error <= maximum.error * room, "\(title): relative MSE \(row.error), \(maximum.error) at most")
        }
        Tally.print(found.count, "conversions of SampleWeights against thresholds of bytes and error")
    }
}
