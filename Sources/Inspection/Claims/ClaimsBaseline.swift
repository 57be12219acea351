import FileAccess
package import SystemPackage
package import TensorModel

/// Sets the limits of claims to what was measured, with some tolerance.
package struct ClaimsBaseline {
    /// What became of a claim.
    package struct Change: Sendable, Hashable {
        /// The claim with its tensors.
        package let title: String
        /// The limit before and after; nil where there was or is none.
        package let old: String?, new: String?
        /// Why it stayed as it was; nil where it was measured.
        package let reason: String?
        /// What would let it be measured.
        package let remedy: Remedy?
    }

    /// A rule with a new limit; or the old rule, why it stays, and what would let it be measured.
    private typealias Update = (rule: Claim.Rule, reason: String?, remedy: Remedy?)

    private let facts: ClaimFacts
    private let evaluation: ClaimEvaluation
    private let tolerance: Double
    private let files: ClaimDigests

    /// Prepares an update.
    ///
    /// - Parameter tolerance: by what share of what was measured a later checkpoint may be worse; 0 or more.
    package init(_ facts: ClaimFacts, tolerance: Double) {
        self.facts = facts
        self.tolerance = tolerance
        evaluation = ClaimEvaluation(facts)
        files = ClaimDigests(facts)
    }

    /// The file with new limits, and what changed; claims keep their order, tensors, levels and notes.
    package func update(_ file: ClaimsFile) throws -> (file: ClaimsFile, changes: [Change]) {
        var file = file
        var changes: [Change] = []
        for index in file.claims.indices {
            let claim = file.claims[index]
            let (rule, reason, remedy) = try update(claim)
            file.claims[index].rule = rule
            let title = claim.patterns.map { patterns in
                "\(rule.kind.rawValue) of \(patterns.map(\.text).joined(separator: ", "))"
            }
            changes.append(
                Change(
                    title: title ?? rule.kind.rawValue, old: claim.rule.limitText, new: rule.limitText, reason: reason,
                    remedy: remedy))
        }
        return (file, changes)
    }

    /// A file that claims everything that was measured.
    package func make(at path: FilePath) throws -> (file: ClaimsFile, changes: [Change]) {
        let rules: [Claim.Rule] =
            [.bytes(.total, 1), .bytes(.largestFile, 1)] + Claim.FigureRule.allCases.map { .figure($0, 0) }
            + [.finite, .bytes(.peakMemory, 1), .digests(.source, []), .digests(.output, [])]
        var claims: [Claim] = []
        var changes: [Change] = []
        for rule in rules {
            let (found, reason, remedy) = try update(Claim(rule))
            if reason == nil { claims.append(Claim(found)) }
            changes.append(
                Change(
                    title: rule.kind.rawValue, old: nil, new: reason == nil ? found.limitText : nil, reason: reason,
                    remedy: remedy))
        }
        return (ClaimsFile(path, claims), changes)
    }

    private func update(_ claim: Claim) throws -> Update {
        let rule = claim.rule
        if case .digests(let which, let entries) = rule { return try digests(which, entries) }
        let found: ClaimEvaluation.Finding
        switch try evaluation.measure(claim) {
        case .unknown(let reason, let remedy): return (rule, reason, remedy)
        case .nothing(let reason): return (rule, reason, nil)
        case .known(let finding): found = finding
        }
        switch (rule, found.worst) {
        case (.bytes(let which, _), .bytes(let bytes)):
            let limit = (Double(bytes) * (1 + tolerance)).rounded(.up)
            return (.bytes(which, max(1, max(bytes, UInt64(exactly: limit) ?? .max))), nil, nil)
        case (.figure(let which, _), .figure(let figure)):
            guard let limit = limit(which, figure), which.allows(limit) else {
                return (rule, "measured is \(ClaimNumber.text(figure)), which is no limit", nil)
            }
            return (.figure(which, limit), nil, nil)
        case (.finite, _):
            return (rule, found.offenders == 0 ? nil : "there are weights that are not finite", nil)
        default: return (rule, "nothing was measured", nil)
        }
    }

    /// A limit that what was measured holds, worse by the tolerance and rounded outward for people.
    private func limit(_ rule: Claim.FigureRule, _ found: Double) -> Double? {
        guard found.isFinite else { return nil }
        let slack = 1 + tolerance
        switch rule {
        // The size may grow by the tolerance, and so may the angle and the noise.
        case .reduction: return ClaimNumber.outward(1 - (1 - found) * slack, places: 4, isMinimum: true)
        case .cosine:
            return max(-1, ClaimNumber.outward(min(found, 1 - (1 - found) * slack), places: 6, isMinimum: true))
        case .signalToNoise:
            return ClaimNumber.outward(found - ClaimsBaseline.decibels(slack), places: 2, isMinimum: true)
        case .bitsPerWeight, .relativeMSE, .maxError:
            return ClaimNumber.limit(found * slack, digits: 4, isMinimum: false)
        }
    }

    /// 10 log10 of a factor from 1 to 2, by the series of artanh; a little too large rather than too small.
    private static func decibels(_ factor: Double) -> Double {
        let ratio = (factor - 1) / (factor + 1)
        var (sum, power) = (0.0, ratio)
        for order in stride(from: 1, through: 41, by: 2) {
            sum += power / Double(order)
            power *= ratio * ratio
        }
        return 2 * sum * 4.342_944_819_032_52 * (1 + 1e-12)
    }

    /// Digests of the files that are named and there, and of all weight files.
    private func digests(_ rule: Claim.DigestRule, _ entries: [Claim.NamedDigest]) throws -> Update {
        guard rule == .output || facts.sourcePath != nil else {
            return (.digests(rule, entries), "there is no source to hash", .option(.compareWithSource))
        }
        var names = entries.map(\.file)
        let named = Set(names.map { TensorName($0) })
        for name in rule == .source ? facts.sourceFiles : facts.weightFiles where !named.contains(TensorName(name)) {
            names.append(name)
        }
        let found = try names.compactMap { name in
            try files.digest(rule, name).map { Claim.NamedDigest(file: name, digest: $0) }
        }
        return (.digests(rule, found), found.isEmpty ? "there is no file to hash" : nil, nil)
    }
}

extension Claim.Rule {
    /// The limit in words; nil where the claim has none.
    fileprivate var limitText: String? {
        switch self {
        case .bytes(_, let bytes): "\(bytes) bytes"
        case .figure(_, let figure): ClaimNumber.text(figure)
        case .finite: nil
        case .digests(_, let entries): entries.map { "\($0.file) \($0.digest)" }.joined(separator: ", ")
        }
    }
}
