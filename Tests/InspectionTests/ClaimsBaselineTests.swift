import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Limits set to what was measured: they hold for it, and for nothing that is worse by more than the tolerance.
@Suite struct ClaimsBaselineTests {
    /// Figures of many sizes; the limits are as tight as their digits allow.
    @Test(arguments: [0, 0.05, 1]) func limits(tolerance: Double) throws {
        var generator = SeededGenerator(7)
        for round in 0..<300 {
            let share = Double(generator.next() >> 11) / Double(1 << 53)
            let scale = [1e-9, 1e-4, 0.03, 1][round % 4]
            var facts = ClaimEvaluationTests.facts()
            let mse = share * scale
            facts.tensors = [
                ClaimEvaluationTests.tensor(
                    "a", bytes: 300 + generator.next() % 500, mse: mse, snr: 50 * share - 10, max: share * scale * 7,
                    cosine: 1 - mse / 2)
            ]
            facts.outputBytes = 1000 + generator.next() % 6000
            let baseline = ClaimsBaseline(facts, tolerance: tolerance)
            let (file, changes) = try baseline.make(at: "claims.json")
            #expect(changes.allSatisfy { $0.reason == nil || $0.title.hasSuffix("_sha256") })
            let report = try ClaimEvaluation(facts).run(file.claims, subject: "", file: nil)
            #expect(report.holds && !report.results.contains { $0.status == .skip }, "\(report.failed)")
            let again = try baseline.update(file)
            #expect(again.file.encoded() == file.encoded(), "an update of what is new changes nothing")
            // Worse by more than the tolerance and a thousandth for the digits: every figure fails.
            var worse = facts
            let slack = (1 + tolerance) * 1.002
            let old = facts.tensors[0]
            worse.tensors = [
                ClaimEvaluationTests.tensor(
                    // Decibels are rounded to 0.01, which is 0.23 % of the noise.
                    "a", bytes: UInt64(Double(old.byteCount) * slack) + 2, mse: mse * slack * 1.005,
                    snr: 50 * share - 14,
                    max: share * scale * 7 * slack, cosine: 1 - mse / 2 * slack - 2e-6)
            ]
            worse.outputBytes = UInt64(Double(facts.outputBytes) * slack) + 2
            worse.files = [.init(name: "a", byteCount: 1 << 40)]
            worse.peakMemory = UInt64(Double(1 << 20) * slack) + 1
            let failed = try ClaimEvaluation(worse).run(file.claims, subject: "", file: nil).failed
            #expect(failed.count == file.claims.count - 1, "all but `finite`: \(failed.map(\.title))")
        }
    }

    /// A new file claims the error over activations of calibrated tensors, and says nothing about it otherwise.
    @Test func activationErrors() throws {
        var facts = ClaimEvaluationTests.facts()
        let plain = try ClaimsBaseline(facts, tolerance: 0.05).make(at: "claims.json")
        #expect(!plain.file.claims.contains { $0.rule.kind == .relativeActivationError })
        #expect(!plain.changes.contains { $0.title == "max_relative_activation_error" })
        facts.tensors[0].activationError = .init(relative: 0.1, isMeasured: false)
        let calibrated = try ClaimsBaseline(facts, tolerance: 0.05).make(at: "claims.json")
        let limit = try #require(calibrated.file.claims.first { $0.rule.kind == .relativeActivationError }).rule
        guard case .figure(_, let value) = limit else { throw IngotError(.usage, found: "\(limit)") }
        #expect(value >= 0.105 && value < 0.1052)
        let old = ClaimsFile("claims.json", [Claim(.figure(.relativeActivationError, 0.5))])
        let kept = try ClaimsBaseline(ClaimEvaluationTests.facts(), tolerance: 0).update(old)
        #expect(kept.file.claims == old.claims && kept.changes[0].reason != nil)
    }

    /// Order, tensors, levels and notes stay; what was not measured keeps its limit.
    @Test func updating() throws {
        var facts = ClaimEvaluationTests.facts()
        facts.peakMemory = nil
        let pattern = try #require(NamePattern("a.*"))
        let file = ClaimsFile(
            "claims.json",
            [
                Claim(.figure(.relativeMSE, 0.5), level: .warn, namesLevel: true, patterns: [pattern], note: "n"),
                Claim(.bytes(.peakMemory, 5)), Claim(.bytes(.total, 1)),
                Claim(.figure(.maxError, 1), patterns: [try #require(NamePattern("none"))]),
                Claim(.figure(.signalToNoise, 3), patterns: [try #require(NamePattern("norm*"))]),
            ])
        let (new, changes) = try ClaimsBaseline(facts, tolerance: 0).update(file)
        #expect(
            new.claims.map(\.rule) == [
                .figure(.relativeMSE, 0.01), .bytes(.peakMemory, 5), .bytes(.total, 1520), .figure(.maxError, 1),
                .figure(.signalToNoise, 3),
            ])
        #expect(new.claims[0].note == "n" && new.claims[0].level == .warn && new.claims[0].patterns == [pattern])
        #expect(changes.map(\.title).prefix(3) == ["max_relative_mse of a.*", "max_peak_memory", "max_total_bytes"])
        #expect(changes[0].old == "0.5" && changes[0].new == "0.01" && changes[0].reason == nil)
        #expect(changes[1].reason != nil && changes[1].remedy == .option(.giveConversionReport))
        #expect(changes[3].reason == "no tensor matches none")
        #expect(changes[4].reason == "measured is inf, which is no limit")
    }
}
