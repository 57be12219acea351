package import Architectures
package import TensorModel

/// What deserves attention in moments: too little text, experts that saw too little, halves that disagree.
package enum MomentsWarnings {
    /// Tokens per column below which there is a warning.
    package static let fewTokens = 10.0
    /// Disagreement of the halves above which there is a warning: 2^0.25 is 19 %.
    package static let highDisagreement = 0.25

    /// An input, and the tokens that reached it for each of its columns; nil if they are not known.
    package struct Seen {
        let input: LinearInput
        let perColumn: Double?

        /// Makes an entry.
        package init(_ input: LinearInput, perColumn: Double?) { (self.input, self.perColumn) = (input, perColumn) }
    }

    private static let limit = "fewer than \(NumberText.fixed(fewTokens, 0)) tokens per column"
    private static let advice = "more text makes better moments"

    /// Warns of a text that is too short for some inputs. Inputs of experts do not count; `experts` warns of them.
    package static func shortText(_ all: [Seen], _ path: String) -> IngotWarning? {
        let all = all.filter { $0.input.expert == nil }
        let few = all.filter { $0.perColumn ?? .infinity < fewTokens }
        guard let fewest = fewest(few) else { return nil }
        return IngotWarning(
            file: path, "\(few.count) of \(all.count) inputs saw \(limit), the fewest \(fewest): \(advice)")
    }

    /// Warns of experts that saw few tokens. Moments of fewer tokens than columns have no full rank: those experts and their layers are
    /// counted apart.
    package static func experts(_ all: [Seen], _ path: String) -> IngotWarning? {
        let all = all.filter { $0.input.expert != nil }
        let few = all.filter { $0.perColumn ?? .infinity < fewTokens }
        guard let fewest = fewest(few) else { return nil }
        let poor = few.filter { $0.perColumn ?? 0 < 1 }.map(\.input)
        let (experts, layers) = (Set(poor.map { [$0.layer, $0.expert] }).count, Set(poor.map(\.layer)).count)
        let rank =
            poor.isEmpty
            ? ""
            : "; \(experts) \(experts == 1 ? "expert" : "experts") in \(layers) \(layers == 1 ? "layer" : "layers") saw fewer tokens than columns"
        return IngotWarning(
            file: path,
            "\(few.count) of \(all.count) inputs of experts saw \(limit), the fewest \(fewest)\(rank): \(advice)")
    }

    /// Warns of halves of the text that disagree.
    static func halves(_ rows: [MomentsSummary.Row], _ path: String) -> IngotWarning? {
        let high = rows.filter { $0.disagreement ?? 0 > highDisagreement }
        guard let worst = high.max(by: { $0.disagreement ?? 0 < $1.disagreement ?? 0 }) else { return nil }
        return IngotWarning(
            file: path,
            "the halves of the text disagree at \(high.count) of \(rows.count) inputs, most at \(worst.input) (\(NumberText.fixed(worst.disagreement ?? 0, 2)) octaves): \(advice)"
        )
    }

    /// The input with the fewest tokens per column, in words.
    private static func fewest(_ list: [Seen]) -> String? {
        list.min { $0.perColumn ?? 0 < $1.perColumn ?? 0 }.map {
            "at \($0.input) (\(NumberText.fixed($0.perColumn ?? 0, 2)))"
        }
    }
}
