import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Each kind of claim, held and missed by a hair: a limit that is met exactly is held.
@Suite struct ClaimEvaluationTests {
    static func tensor(
        _ name: String, encoded: Bool = true, elements: Int = 1000, bytes: UInt64 = 500, mse: Double = 0.01,
        snr: Double = 20, max: Double = 0.5, cosine: Double? = 0.99, measured: Bool = true, nonFinite: UInt64? = 0
    ) -> ClaimFacts.Tensor {
        ClaimFacts.Tensor(
            TensorName(name), isEncoded: encoded, elements: elements, byteCount: bytes,
            error: ClaimFacts.Error(
                relativeMSE: mse, signalToNoise: snr, maxError: max, cosine: cosine, isMeasured: measured,
                noise: mse * 100, signal: 100),
            nonFinite: nonFinite)
    }

    /// Two encoded tensors, the second the worse one, and one that is kept.
    static func facts() -> ClaimFacts {
        ClaimFacts(
            path: "sealed",
            files: [
                .init(name: "model-1.safetensors", byteCount: 700), .init(name: "model-2.safetensors", byteCount: 800),
                .init(name: "config.json", byteCount: 20),
            ], outputBytes: 1500, sourceBytes: 6000,
            tensors: [
                tensor("a.q.weight"),
                tensor("b.q.weight", bytes: 600, mse: 0.02, snr: 17, max: 0.75, cosine: 0.98),
                tensor("norm.weight", encoded: false, bytes: 2000, mse: 0, snr: .infinity, max: 0, cosine: 1),
            ], peakMemory: 1 << 20, sourcePath: "source")
    }

    private func evaluate(_ rule: Claim.Rule, _ patterns: [String]? = nil, _ facts: ClaimFacts = facts()) throws
        -> ClaimResult
    {
        try ClaimEvaluation(facts).evaluate(Claim(rule, patterns: patterns?.compactMap { NamePattern($0) }))
    }

    @Test(arguments: [(Claim.ByteRule.total, UInt64(1520)), (.largestFile, 800), (.peakMemory, 1 << 20)])
    func bytes(rule: Claim.ByteRule, limit: UInt64) throws {
        let (held, missed) = (try evaluate(.bytes(rule, limit)), try evaluate(.bytes(rule, limit - 1)))
        #expect(held.status == .pass && missed.status == .fail)
        #expect(missed.measured == .bytes(limit) && missed.limit == .bytes(limit - 1))
        #expect(missed.offender == (rule == .largestFile ? "model-2.safetensors" : nil))
        #expect(missed.basis == (rule == .peakMemory ? .report : .file))
    }

    @Test(arguments: [
        (Claim.FigureRule.reduction, 0.75), (.bitsPerWeight, 4.4), (.relativeMSE, 0.02), (.signalToNoise, 17),
        (.maxError, 0.75), (.cosine, 0.98), (.overallRelativeMSE, 0.015),
    ])
    func figures(rule: Claim.FigureRule, limit: Double) throws {
        let isMinimum = [.reduction, .signalToNoise, .cosine].contains(rule)
        let held = try evaluate(.figure(rule, limit))
        let missed = try evaluate(.figure(rule, isMinimum ? limit.nextUp : limit.nextDown))
        #expect(held.status == .pass, "\(held)")
        #expect(missed.status == .fail, "\(missed)")
        #expect(missed.measured == .figure(limit))
        #expect(missed.offender == (rule == .reduction ? nil : "b.q.weight"))
        #expect(missed.offenders == (rule == .reduction ? 0 : 1))
        #expect(missed.message().contains("to do: "))
        // What was measured and what was claimed differ in the message, too.
        #expect(
            missed.message().contains("\(limit)")
                && !missed.message().contains("\(limit), claimed is at most \(limit),"))
        #expect(held.basis == ([.reduction, .bitsPerWeight].contains(rule) ? .file : .source))
    }

    /// Facts in which the encoded tensors have errors over activations; nil for one that is not calibrated.
    private func facts(_ errors: [Double?], measured: Bool = false) -> ClaimFacts {
        var facts = ClaimEvaluationTests.facts()
        for (index, error) in errors.enumerated() {
            facts.tensors[index].activationError = error.map { .init(relative: $0, isMeasured: measured) }
        }
        return facts
    }

    /// The largest error over activations decides, by the certificates or as it was measured.
    @Test(arguments: [false, true]) func activationErrors(measured: Bool) throws {
        let facts = facts([0.125, 0.25], measured: measured)
        let held = try evaluate(.figure(.relativeActivationError, 0.25), nil, facts)
        #expect(held.status == .pass && held.measured == .figure(0.25), "\(held)")
        #expect(held.basis == (measured ? .source : .certificate))
        #expect(!held.message().contains("not judged"))
        let missed = try evaluate(.figure(.relativeActivationError, 0.2), nil, facts)
        #expect(missed.status == .fail && missed.offender == "b.q.weight" && missed.offenders == 1, "\(missed)")
        #expect(try evaluate(.figure(.relativeActivationError, 0.125), ["a.*"], facts).status == .pass)
        #expect(try evaluate(.figure(.relativeActivationError, 0.1), ["a.*"], facts).status == .fail)
        // The relative MSE keeps its meaning.
        #expect(try evaluate(.figure(.relativeMSE, 0.02), nil, facts).measured == .figure(0.02))
    }

    /// Tensors that are not calibrated are not judged, and a claim that judges none never passes.
    @Test func activationErrorsThatAreNotKnown() throws {
        let some = try evaluate(.figure(.relativeActivationError, 0.2), nil, facts([0.125, nil]))
        #expect(some.status == .pass && some.message().contains("(1 not calibrated: not judged)"), "\(some.message())")
        for limit in [0, 1, 1e300] {
            let none = try evaluate(.figure(.relativeActivationError, limit))
            #expect(none.status == .fail && none.message().contains("checks nothing"), "\(none.message())")
            let other = try evaluate(.figure(.relativeActivationError, limit), ["b.*"], facts([0.125, nil]))
            #expect(other.status == .fail, "\(other.message())")
        }
        // NaN counts as the worst error in any place, of the relative MSE too.
        var broken = ClaimEvaluationTests.facts()
        broken.tensors[0] = ClaimEvaluationTests.tensor("a.q.weight", mse: .nan)
        #expect(try evaluate(.figure(.relativeMSE, 1e300), nil, broken).status == .fail)
        for error in [Double.nan, .infinity] {
            let found = try evaluate(.figure(.relativeActivationError, 1e300), nil, facts([error, 0.125]))
            #expect(found.status == .fail && found.offender == "a.q.weight", "\(found)")
        }
    }

    /// Of all selected tensors together: 3 of 200; of one: 1 of 100.
    @Test func overall() throws {
        #expect(try evaluate(.figure(.overallRelativeMSE, 0.01), ["a.*"]).status == .pass)
        let found = try evaluate(.figure(.overallSignalToNoise, 18))
        #expect(found.status == .pass && found.message().contains("together, most in b.q.weight"), "\(found.message())")
        #expect(try evaluate(.figure(.overallSignalToNoise, 18.3)).status == .fail)
        var facts = ClaimEvaluationTests.facts()
        facts.tensors.append(
            ClaimFacts.Tensor(TensorName("x"), isEncoded: true, elements: 1, byteCount: 1, error: nil, nonFinite: 0))
        #expect(try evaluate(.figure(.overallRelativeMSE, 1), nil, facts).status == .skip)
        #expect(try evaluate(.figure(.overallRelativeMSE, 1), ["norm*"]).status == .fail, "a claim that checks nothing")
    }

    @Test func patterns() throws {
        #expect(try evaluate(.figure(.relativeMSE, 0.01), ["a.*"]).status == .pass)
        let all = try evaluate(.figure(.relativeMSE, 0.005), ["*.q.*", "norm*"])
        #expect(all.status == .fail && all.offenders == 2 && all.offender == "b.q.weight")
        #expect(all.pattern == "*.q.*, norm*" && all.title == "max_relative_mse of *.q.*, norm*")
        #expect(all.message().contains("and 1 more"))
        #expect(try evaluate(.figure(.bitsPerWeight, 4), ["a.*"]).status == .pass)
        // A claim that checks nothing is no claim.
        for rule in [Claim.Rule.figure(.relativeMSE, 1), .figure(.bitsPerWeight, 64), .finite] {
            let nothing = try evaluate(rule, ["*", "c.*"])
            #expect(nothing.status == .fail && nothing.message().contains("no tensor matches c.*"))
        }
        #expect(try evaluate(.figure(.bitsPerWeight, 64), ["norm*"]).message().contains("no encoded tensor"))
    }

    @Test func nonFiniteWeights() throws {
        #expect(try evaluate(.finite).status == .pass)
        var facts = ClaimEvaluationTests.facts()
        facts.tensors.append(ClaimEvaluationTests.tensor("c", encoded: false, nonFinite: nil))
        #expect(try evaluate(.finite, nil, facts).status == .skip)
        facts.tensors.append(ClaimEvaluationTests.tensor("d", encoded: false, nonFinite: 3))
        let found = try evaluate(.finite, nil, facts)
        #expect(found.status == .fail && found.measured == .count(3) && found.offender == "d")
    }

    /// Figures that are no numbers fail, whatever the limit.
    @Test func notANumber() throws {
        var facts = ClaimEvaluationTests.facts()
        facts.tensors.append(ClaimEvaluationTests.tensor("n", mse: .nan, snr: .nan, max: .nan, cosine: .nan))
        for rule in [Claim.FigureRule.relativeMSE, .signalToNoise, .maxError, .cosine] {
            let found = try evaluate(
                .figure(rule, rule == .cosine ? -1 : rule == .signalToNoise ? -1e9 : 1e9), nil, facts)
            #expect(found.status == .fail && found.offender == "n", "\(found)")
        }
    }

    /// What nobody knows is skipped, with the reason; what is known to fail fails.
    @Test func unknown() throws {
        var facts = ClaimEvaluationTests.facts()
        (facts.sourceBytes, facts.peakMemory, facts.sourcePath) = (nil, nil, nil)
        facts.tensors = [ClaimEvaluationTests.tensor("a", cosine: nil, measured: false)]
        #expect(try evaluate(.figure(.reduction, 0), nil, facts).remedy == .option(.compareWithSource))
        #expect(try evaluate(.bytes(.peakMemory, 1), nil, facts).remedy == .option(.giveConversionReport))
        let cosine = try evaluate(.figure(.cosine, 0), nil, facts)
        #expect(cosine.status == .skip && cosine.remedy == .option(.compareWithSource) && cosine.basis == nil)
        let error = try evaluate(.figure(.relativeMSE, 0.01), nil, facts)
        #expect(error.status == .pass && error.basis == .certificate)
        facts.tensors.append(
            ClaimFacts.Tensor(TensorName("b"), isEncoded: true, elements: 1, byteCount: 1, error: nil, nonFinite: nil))
        #expect(try evaluate(.figure(.relativeMSE, 0.01), nil, facts).status == .skip)
        #expect(try evaluate(.figure(.relativeMSE, 0.001), nil, facts).status == .fail)
    }

    @Test func digests() throws {
        let directory = try TemporaryDirectory()
        var facts = ClaimEvaluationTests.facts()
        facts.path = directory.path
        try Files.write("abc", to: directory.at("one"))
        let right = SHA256Digest(of: Array("abc".utf8).span)
        let wrong = SHA256Digest(of: Array("abd".utf8).span)
        func found(_ entries: [(String, SHA256Digest)], _ rule: Claim.DigestRule = .output) throws -> ClaimResult {
            try evaluate(.digests(rule, entries.map { .init(file: $0.0, digest: $0.1) }), nil, facts)
        }
        #expect(try found([("one", right)]).status == .pass)
        let failed = try found([("one", wrong), ("two", right)])
        #expect(failed.status == .fail && failed.offender == "one" && failed.offenders == 2)
        #expect(try found([("two", right)]).message().contains("no file two"))
        facts.sourcePath = nil
        #expect(try found([("one", right)], .source).status == .skip)
        // A source of one file is named by its name.
        facts.sourcePath = directory.at("one")
        #expect(try found([("one", right)], .source).status == .pass)
        #expect(try found([("two", right)], .source).status == .fail)
    }

    @Test func levelsAndOrder() throws {
        func claim(_ rule: Claim.Rule, _ level: Claim.Level) -> Claim { Claim(rule, level: level, note: "why") }
        var facts = ClaimEvaluationTests.facts()
        facts.peakMemory = nil
        let claims = [
            claim(.bytes(.total, 1), .off), claim(.bytes(.peakMemory, 1), .error), claim(.bytes(.total, 9999), .error),
            claim(.figure(.maxError, 0.01), .warn), claim(.figure(.maxError, 0.7), .error),
            claim(.figure(.relativeMSE, 0.001), .error),
        ]
        let report = try ClaimEvaluation(facts).run(claims, subject: "sealed", file: "claims.json")
        let words = report.results.map { "\($0.word) \($0.kind.rawValue)" }
        #expect(
            words == [
                "FAIL max_relative_mse", "FAIL max_error", "WARN max_error", "SKIP max_total_bytes",
                "SKIP max_peak_memory", "PASS bytes_intact", "PASS certificates_hold", "PASS source_matches",
                "PASS max_total_bytes",
            ])
        #expect(!report.holds && report.failed.count == 2 && report.warned.count == 1)
        #expect(report.summary == "2 failed, 1 warning, 4 passed, 2 skipped")
        #expect(report.message(report.results[0]).contains(" (why); to do: "))
        let warned = try ClaimEvaluation(facts).run([claims[3]], subject: "", file: nil)
        #expect(warned.holds && warned.summary == "1 warning, 3 passed")
    }

    @Test func alwaysChecked() throws {
        var facts = ClaimEvaluationTests.facts()
        facts.failures = [
            IngotError(.certificateMismatch, tensor: TensorName("a"), found: "another error"),
            IngotError(.sourceMismatch, tensor: TensorName("b"), found: "another hash"),
            IngotError(.sourceMismatch, tensor: TensorName("c"), found: "another hash"),
        ]
        let report = try ClaimEvaluation(facts).run([], subject: "", file: nil)
        #expect(report.failed.map(\.kind) == [.certificatesHold, .sourceMatches])
        #expect(report.failed.map(\.offender) == ["a", "b"] && report.failed.map(\.offenders) == [1, 2])
        (facts.failures, facts.sourcePath, facts.comparison) = ([], nil, nil)
        let alone = try ClaimEvaluation(facts).run([], subject: "", file: nil)
        #expect(alone.holds && alone.results.map(\.status) == [.skip, .skip, .pass])
    }
}
