import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Claims about what a conversion did to a model's predictions.
@Suite struct QualityClaimTests {
    private static let hash = ContentHash(high: 1, low: 2)

    private static func facts(sequences: Int = 10, error: Double? = 0.001) -> ClaimFacts {
        var facts = ClaimEvaluationTests.facts()
        func figures(_ name: String, _ divergence: Double) -> QualityFacts.Figures {
            QualityFacts.Figures(
                name: name, sequences: sequences, divergence: .init(divergence, error),
                perplexityRatio: .init(1.01, error), agreement: .init(0.95, error))
        }
        facts.quality = QualityFacts(all: figures("all texts", 0.01), texts: [(hash, figures("code.txt", 0.02))])
        return facts
    }

    private func evaluate(
        _ rule: Claim.QualityRule, _ limit: Double, _ confidence: Double? = nil, _ text: ContentHash? = nil,
        _ facts: ClaimFacts = facts()
    ) throws -> ClaimResult {
        let scope = Claim.QualityScope(confidence: confidence, text: text)
        return try ClaimEvaluation(facts).evaluate(Claim(.quality(rule, limit, scope)))
    }

    @Test(arguments: [
        (Claim.QualityRule.divergence, 0.01), (.perplexityRatio, 1.01), (.agreement, 0.95),
    ])
    func measuredValues(rule: Claim.QualityRule, value: Double) throws {
        let held = try evaluate(rule, value)
        let missed = try evaluate(rule, rule == .agreement ? value.nextUp : value.nextDown)
        #expect(held.status == .pass && held.basis == .evaluation && held.measured == .figure(value), "\(held)")
        #expect(missed.status == .fail && missed.remedy != nil, "\(missed)")
    }

    /// Quantiles of Student's distribution from the table of Abramowitz and Stegun (26.10), one-sided: sequences, confidence, t.
    @Test(arguments: [
        (2, 0.95, 6.314), (2, 0.999, 318.309), (3, 0.975, 4.303), (4, 0.95, 2.353), (5, 0.995, 4.604), (6, 0.9, 1.476),
        (11, 0.95, 1.812), (31, 0.975, 2.042), (61, 0.95, 1.671), (121, 0.995, 2.617), (1_000_000, 0.95, 1.645),
    ])
    func bounds(sequences: Int, confidence: Double, quantile: Double) throws {
        let facts = QualityClaimTests.facts(sequences: sequences)
        for (rule, value) in [(Claim.QualityRule.divergence, 0.01), (.perplexityRatio, 1.01), (.agreement, 0.95)] {
            let sign = rule == .agreement ? -1.0 : 1
            let near = quantile * 0.001
            // The table has three decimals.
            let room = 0.0011 * 0.001
            guard value + sign * (near + room) >= 0, rule != .agreement || near < 0.9 else { continue }
            let held = try evaluate(rule, value + sign * (near + room), confidence, nil, facts)
            let missed = try evaluate(rule, value + sign * (near - room), confidence, nil, facts)
            #expect(held.status == .pass, "\(held)")
            #expect(missed.status == .fail && missed.finding.contains("% confidence"), "\(missed)")
        }
    }

    @Test func texts() throws {
        let held = try evaluate(.divergence, 0.02, nil, QualityClaimTests.hash)
        #expect(held.status == .pass && held.finding.contains("code.txt"))
        #expect(held.title == "max_kl of text 000000000000")
        #expect(try evaluate(.divergence, 0.019, nil, QualityClaimTests.hash).status == .fail)
        let other = try evaluate(.divergence, 1, nil, ContentHash(high: 3, low: 4))
        #expect(other.status == .fail && other.remedy == .option(.recordText))
    }

    /// A claim that nothing can show does not pass.
    @Test func unknown() throws {
        let single = try evaluate(.divergence, 1, 0.95, nil, QualityClaimTests.facts(sequences: 1, error: nil))
        #expect(single.status == .fail && single.finding.contains("standard error"))
        let missing = try evaluate(.divergence, 1, nil, nil, ClaimEvaluationTests.facts())
        #expect(missing.status == .skip && missing.remedy == .option(.giveText))
    }

    /// What a baseline writes holds, is read back, and is missed by figures that are worse by more than the tolerance.
    @Test(arguments: [0, 0.05, 0.5]) func baselines(tolerance: Double) throws {
        let facts = QualityClaimTests.facts()
        let (file, _) = try ClaimsBaseline(facts, tolerance: tolerance).make(at: "claims.json")
        let claims = file.claims.filter { [.divergence, .perplexityRatio, .agreement].contains($0.rule.kind) }
        #expect(claims.count == 3)
        #expect(try ClaimsFile.parse(file.encoded(), "claims.json").encoded() == file.encoded())
        #expect(try ClaimEvaluation(facts).run(claims, subject: "", file: nil).holds)
        var worse = facts
        let t = 1.8331
        func worst(_ value: Double, from base: Double) -> QualityFacts.Estimate {
            .init(base + (value - base) * (1 + tolerance) * 1.01, 0.001)
        }
        let figures = QualityFacts.Figures(
            name: "code.txt", sequences: 10, divergence: worst(0.02 + t * 0.001, from: 0),
            perplexityRatio: worst(1.01 + t * 0.001, from: 1), agreement: worst(0.95 - t * 0.001, from: 1))
        worse.quality = QualityFacts(all: figures, texts: [(QualityClaimTests.hash, figures)])
        #expect(try ClaimEvaluation(worse).run(claims, subject: "", file: nil).failed.count == 3)
    }

    private static let report =
        #"{"schema":"ingot.evaluate","schema_version":1,"texts":[TEXT],"all":ALL}"#
    private static let all =
        #"{"sequences":2,"kl":{"value":0.5,"standard_error":0.1},"perplexity_ratio":{"value":1,"standard_error":null},"top1":{"value":1,"standard_error":0}}"#
    private static let text =
        #"{"name":"a","text_xxh3_128":null,"ids_xxh3_128":"00000000000000010000000000000002","#
        + String(all.dropFirst())

    private func facts(_ report: String) throws -> QualityFacts {
        let filled = report.replacing("TEXT", with: QualityClaimTests.text).replacing(
            "ALL", with: QualityClaimTests.all)
        return try QualityReport(JSONValue.parse(Array(filled.utf8)), path: "evaluation.json").facts()
    }

    @Test func reports() throws {
        let found = try facts(QualityClaimTests.report)
        #expect(found.all.divergence == .init(0.5, 0.1) && found.all.perplexityRatio == .init(1, nil))
        #expect(found.texts.count == 1 && found.texts[0].hash == QualityClaimTests.hash)
    }

    /// Reports that are no evaluation against a reference.
    @Test(arguments: [
        ("ingot.evaluate", "ingot.verify", "schema"),
        (#""schema_version":1"#, #""schema_version":2"#, "schema_version"),
        ("[TEXT]", "[]", "no texts"), ("[TEXT]", "{}", "no texts"), (#""all":ALL"#, #""al":1"#, "no texts"),
        ("ALL", "[]", "all.sequences"), ("TEXT", "{}", "texts[0]"),
        ("00000000000000010000000000000002", "0", "texts[0]"), (#""sequences":2"#, #""sequences":0"#, "sequences"),
        (#""sequences":2"#, #""sequences":1e30"#, "sequences"), (#""kl":{"value":0.5,"#, #""kl":{"#, "kl"),
        (#""kl":{"value":0.5,"standard_error":0.1}"#, #""kl":null"#, "kl"),
        (#""standard_error":0.1"#, #""standard_error":-1"#, "kl"),
        (#""standard_error":0.1"#, #""standard_error":"x""#, "kl"),
        (#""value":0.5"#, #""value":1e999"#, "kl"),
    ])
    func malformed(old: String, new: String, word: String) throws {
        let base = QualityClaimTests.report.replacing(
            "TEXT", with: old == "[TEXT]" || old == "TEXT" ? "TEXT" : QualityClaimTests.text
        )
        .replacing("ALL", with: old.contains("ALL") ? "ALL" : QualityClaimTests.all)
        let edited = base.replacing(old, with: new)
        #expect(edited != base)
        let error = #expect(throws: IngotError.self) { _ = try facts(edited) }
        #expect(error?.code == .reportInvalid && error?.file == "evaluation.json", "\(error as Any)")
        #expect(error?.found.contains(word) == true, "\(error as Any)")
    }
}
