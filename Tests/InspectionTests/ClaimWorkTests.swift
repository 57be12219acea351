import Inspection
import TensorModel
import TestSupport
import Testing

/// Claims, tensors and patterns by the thousand: each pattern is matched once, and what would take too long is refused.
@Suite struct ClaimWorkTests {
    private static func patterns(_ texts: [String]) -> [NamePattern] { texts.compactMap { NamePattern($0) } }

    /// The tensors are those that each pattern by itself matches, whatever it begins with.
    @Test func sameTensors() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = SeededGenerator(seed)
        let letters = Array("ab.é*")
        func text(_ maximum: Int, _ letters: [Character]) -> String {
            String(
                (0..<Int(generator.next() % UInt64(maximum))).map { _ in
                    letters[Int(generator.next() % UInt64(letters.count))]
                })
        }
        for _ in 0..<300 {
            let names = Set((0..<40).map { _ in TensorName(text(7, letters)) }).sorted()
            let selection = TensorSelection(names)
            for _ in 0..<20 {
                let chosen =
                    ClaimWorkTests.patterns((0..<3).map { _ in text(6, letters + ["?"]) + "*" + text(3, letters) })
                    + ClaimWorkTests.patterns([names.randomElement(using: &generator)?.text ?? ""])
                let found = try selection.tensors(chosen)
                if let none = chosen.first(where: { pattern in !names.contains { pattern.matches($0) } }) {
                    #expect(found == .nothing(none), "seed \(seed)")
                } else {
                    let expected = names.indices.filter { index in chosen.contains { $0.matches(names[index]) } }
                    #expect(found == .tensors(expected), "seed \(seed)")
                }
            }
        }
    }

    /// A pattern that comes again costs no matching, and one that begins with fixed text none of the names that do not.
    @Test func eachPatternOnce() throws {
        let names = (0..<2000).map { TensorName("model.layers.\($0).self_attn.q_proj.weight") }
        let selection = TensorSelection(names)
        let pattern = ClaimWorkTests.patterns(["*.q_proj.*"])
        _ = try selection.tensors(pattern)
        let first = selection.work
        for _ in 0..<10 { _ = try selection.tensors(pattern) }
        // What is left is what each tensor costs in each claim.
        #expect(selection.work - first < 10 * first)
        let narrow = TensorSelection(names)
        for index in 0..<2000 {
            _ = try narrow.tensors(ClaimWorkTests.patterns(["model.layers.\(index).*", names[index].text]))
        }
        #expect(narrow.work < 2000 * 1000, "\(narrow.work)")
    }

    /// 4 MB of claims on the names of a checkpoint of 60,000 tensors, all of which match.
    @Test func largestFile() throws {
        var facts = ClaimEvaluationTests.facts()
        facts.tensors = (0..<60_000).map {
            ClaimEvaluationTests.tensor("model.layers.\($0 / 600).experts.\($0 % 600).w")
        }
        let claims = (0..<10_000).map { number in
            let texts = (0..<14).map { "model.layers.\((number + $0) % 100).experts.\(number % 60)\($0)?.[v-w]" }
            return Claim(
                .figure(.maxError, 1), patterns: ClaimWorkTests.patterns(texts.map { $0.replacing("?", with: "*") }))
        }
        #expect(claims.reduce(0) { $0 + ($1.patterns ?? []).reduce(0) { $0 + $1.text.utf8.count } } > 3_900_000)
        let report = try ClaimEvaluation(facts).run(claims, subject: "", file: nil)
        #expect(report.results.count == 10_003)
    }

    /// Patterns that begin with a star are matched with every name; many of them on many names are too much.
    @Test func refused() throws {
        let names = (0..<5000).map { TensorName("model.layers.\($0).weight") }
        let selection = TensorSelection(names, limit: 10_000_000)
        let error = try #require(throws: IngotError.self) {
            for number in 0..<10_000 {
                _ = try selection.tensors(ClaimWorkTests.patterns(["*\(number % 5000).w*\(number)*", "*"]))
            }
        }
        #expect(error.code == .claimsInvalid && error.found.contains("5000 tensors"), "\(error)")
        #expect(selection.work < 11_000_000)
        #expect(error.remedy.text.contains("Specs/claims.md"))
    }
}
