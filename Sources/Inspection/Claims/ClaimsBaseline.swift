import FileAccess
package import SystemPackage
package import TensorModel

/// Sets the limits of claims to the measured values plus a tolerance.
package struct ClaimsBaseline {
    /// Change of one claim.
    package struct Change: Sendable, Hashable {
        /// The claim with its tensors.
        package let title: String
        /// Limit before and after; nil if there is none.
        package let old: String?, new: String?
        /// Why the limit stays; nil if it was measured.
        package let reason: String?
        /// What a user can do so that the value is measured.
        package let remedy: Remedy?
    }

    /// A rule with a new limit and no reason; or the old rule, the reason why it stays, and a remedy.
    private typealias Update = (rule: Claim.Rule, reason: String?, remedy: Remedy?)

    private let facts: ClaimFacts
    private let evaluation: ClaimEvaluation
    private let tolerance: Double
    private let pinsOutput: Bool
    private let files: ClaimDigests

    /// Prepares an update.
    ///
    /// - Parameters:
    ///   - tolerance: how much worse than measured the limits are, as a share of the measured value; 0 or more.
    ///   - pinsOutput: whether a new file claims the digests of the checkpoint's files, which another conversion would not have.
    package init(_ facts: ClaimFacts, tolerance: Double, pinsOutput: Bool = false) {
        self.pinsOutput = pinsOutput
        self.facts = facts
        self.tolerance = tolerance
        evaluation = ClaimEvaluation(facts)
        files = ClaimDigests(facts)
    }

    /// Returns the file with new limits, and the changes. Order, tensors, levels and notes of the claims stay.
    package func update(_ file: ClaimsFile) throws -> (file: ClaimsFile, changes: [Change]) {
        var file = file
        var changes: [Change] = []
        for index in file.claims.indices {
            let claim = file.claims[index]
            let (rule, reason, remedy) = try update(claim)
            file.claims[index].rule = rule
            let title = claim.scope.map { "\(rule.kind.rawValue) of \($0)" }
            changes.append(
                Change(
                    title: title ?? rule.kind.rawValue, old: claim.rule.limitText, new: rule.limitText, reason: reason,
                    remedy: remedy))
        }
        return (file, changes)
    }

    /// Returns a file with a claim for everything that was measured, and the changes.
    package func make(at path: FilePath) throws -> (file: ClaimsFile, changes: [Change]) {
        // Checkpoints without calibrated tensors need no claim about them, and no note that it is missing.
        let isCalibrated = facts.tensors.contains { $0.activationError != nil }
        let figures = Claim.FigureRule.allCases.filter { $0 != .relativeActivationError || isCalibrated }
        let rules: [Claim.Rule] =
            [.bytes(.total, 1), .bytes(.largestFile, 1)] + figures.map { .figure($0, 0) }
            + (facts.quality?.rules ?? []) + [.finite] + (facts.values?.isExact == true ? [.exactValues] : [])
            + [.bytes(.peakMemory, 1), .digests(.source, [])]
            + (pinsOutput ? [.digests(.output, [])] : [])
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
        case .nothing(let reason, let remedy): return (rule, reason, remedy)
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
        case (.quality(let which, _, let scope), .figure(let figure)):
            guard let limit = limit(which, figure), which.allows(limit) else {
                return (rule, "measured is \(ClaimNumber.text(figure)), which is no limit", nil)
            }
            return (.quality(which, limit, scope), nil, nil)
        case (.finite, _):
            return (rule, found.offenders == 0 ? nil : "there are weights that are not finite", nil)
        case (.exactValues, _): return (rule, found.offenders == 0 ? nil : "there are weights that differ", nil)
        default: return (rule, "nothing was measured", nil)
        }
    }

    /// Limit that the measured value satisfies: worse by the tolerance, then rounded outward. Nil if the value is not finite.
    private func limit(_ rule: Claim.FigureRule, _ found: Double) -> Double? {
        guard found.isFinite else { return nil }
        let slack = 1 + tolerance
        switch rule {
        // The tolerance applies to the size, to 1 - cosine, and to the noise.
        case .reduction: return ClaimNumber.outward(1 - (1 - found) * slack, places: 4, isMinimum: true)
        case .cosine:
            return max(-1, ClaimNumber.outward(min(found, 1 - (1 - found) * slack), places: 6, isMinimum: true))
        case .signalToNoise, .overallSignalToNoise:
            return ClaimNumber.outward(found - ClaimsBaseline.decibels(slack), places: 2, isMinimum: true)
        case .bitsPerWeight, .relativeMSE, .maxError, .overallRelativeMSE, .relativeActivationError:
            return ClaimNumber.limit(found * slack, digits: 4, isMinimum: false)
        }
    }

    /// Limit that the measured value satisfies: worse by the tolerance of the divergence, of the ratio less 1, of the share of other tokens.
    private func limit(_ rule: Claim.QualityRule, _ found: Double) -> Double? {
        guard found.isFinite else { return nil }
        let slack = 1 + tolerance
        switch rule {
        case .divergence: return ClaimNumber.limit(found * slack, digits: 4, isMinimum: false)
        case .perplexityRatio:
            return ClaimNumber.outward(max(found, 1 + (found - 1) * slack), places: 5, isMinimum: false)
        case .agreement: return max(0, ClaimNumber.outward(1 - (1 - found) * slack, places: 5, isMinimum: true))
        }
    }

    /// 10 log10 of a factor from 1 to 2, by the series of artanh; rounded up a little, never down.
    private static func decibels(_ factor: Double) -> Double {
        let ratio = (factor - 1) / (factor + 1)
        var (sum, power) = (0.0, ratio)
        for order in stride(from: 1, through: 41, by: 2) {
            sum += power / Double(order)
            power *= ratio * ratio
        }
        return 2 * sum * 4.342_944_819_032_52 * (1 + 1e-12)
    }

    /// Digests of the files that the claim names and of all weight files; files that do not exist are left out.
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
    /// The limit in words; nil for claims without a limit.
    fileprivate var limitText: String? {
        switch self {
        case .bytes(_, let bytes): "\(bytes) bytes"
        case .figure(_, let figure), .quality(_, let figure, _): ClaimNumber.text(figure)
        case .finite, .exactValues: nil
        case .digests(_, let entries): entries.map { "\($0.file) \($0.digest)" }.joined(separator: ", ")
        }
    }
}
