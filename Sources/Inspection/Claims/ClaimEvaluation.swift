import FileAccess
import Quantization
package import TensorModel

/// Evaluates claims with the facts about a checkpoint.
package struct ClaimEvaluation {
    private let facts: ClaimFacts
    private let files: ClaimDigests
    private let selection: TensorSelection
    /// Finds compared tensors; those that only the source has are among them.
    private let valueSelection: TensorSelection

    /// Prepares an evaluation. Files are hashed only if claims name them.
    package init(_ facts: ClaimFacts) {
        self.facts = facts
        files = ClaimDigests(facts)
        selection = TensorSelection(facts.tensors.map(\.name))
        valueSelection = TensorSelection((facts.values?.tensors ?? []).map(\.name))
    }

    /// Evaluates the built-in claims and the claims of a file.
    ///
    /// - Parameters:
    ///   - subject: name of the checkpoint in the report.
    ///   - file: name of the claims file; nil for none.
    ///   - words: how the report words remedies.
    /// - Throws: `claimsInvalid` if matching the patterns takes too many steps.
    package func run(
        _ claims: [Claim], subject: String, file: String?, words: @escaping Remedy.Words = { $0.text }
    ) throws -> ClaimsReport {
        do {
            let stated = try claims.map(evaluate)
            let isJudged = facts.comparison != .weights || stated.contains { $0.status != .skip }
            return ClaimsReport(
                subject: subject, file: file, builtIn(isJudged) + stated, isJudged: isJudged, words: words)
        } catch let error as IngotError where error.code == .claimsInvalid {
            throw file.map { error.inFile($0) } ?? error
        }
    }

    // MARK: - What is always checked

    private func builtIn(_ isJudged: Bool) -> [ClaimResult] {
        let intact =
            facts.isIntact
            ? ClaimResult(.bytesIntact, status: .pass, basis: .file, finding: "every byte is as it was written")
            : ClaimResult(.bytesIntact, status: .skip, finding: "the format has no hashes that bytes are held against")
        return [
            intact,
            agreement(.certificatesHold, .certificateMismatch, "every certificate states the error that was measured"),
            facts.comparison == .weights && facts.failures.isEmpty
                ? compared(isJudged)
                : agreement(.sourceMatches, .sourceMismatch, "the source is the one that was converted"),
        ]
    }

    /// Two checkpoints with the same tensors, neither of which states that it was made from the other.
    private func compared(_ isJudged: Bool) -> ClaimResult {
        ClaimResult(
            .sourceMatches, status: .skip,
            finding: "names and shapes are the source's; no certificate says that it was converted from it",
            remedy: isJudged ? nil : .option(.limitError))
    }

    private func agreement(_ kind: Claim.Kind, _ code: IngotError.Code, _ holds: String) -> ClaimResult {
        let failures = facts.failures.filter { failure in
            code == .sourceMismatch ? failure.code == code : failure.code != .sourceMismatch
        }
        guard facts.comparison != nil || !failures.isEmpty else {
            return ClaimResult(
                kind, status: .skip, finding: "not compared with the source", remedy: .option(.compareWithSource))
        }
        if kind == .certificatesHold, facts.comparison == .weights, failures.isEmpty {
            return ClaimResult(kind, status: .skip, finding: "weights were compared: there is no certificate of that")
        }
        guard let first = failures.first else {
            return ClaimResult(kind, status: .pass, basis: .source, finding: holds)
        }
        return ClaimResult(
            kind, status: .fail, basis: .source, offender: first.tensor?.text ?? first.file, offenders: failures.count,
            finding: "\(first.found)\(more(failures.count))", remedy: first.remedy, excess: .infinity)
    }

    // MARK: - Claims of a file

    /// Evaluates one claim.
    package func evaluate(_ claim: Claim) throws -> ClaimResult {
        guard claim.level != .off else { return result(claim, .skip, "switched off") }
        switch try measure(claim) {
        case .unknown(let reason, let remedy): return result(claim, .skip, reason, remedy)
        case .nothing(let reason, let remedy):
            return result(
                claim, .fail, "\(reason): a claim that checks nothing\(note(claim))", remedy, excess: .infinity)
        case .known(let found): return judge(claim, found)
        }
    }

    /// Measurement of a claim.
    struct Finding {
        /// Worst value; nil if nothing was measured.
        var worst: ClaimResult.Value?
        var basis: ClaimResult.Basis
        /// Tensor or file with the worst value, and the number of tensors or files that fail.
        var offender: String?
        var offenders = 0
        /// Fault of the offender, for claims without a limit.
        var fault: String?
        /// How the value was measured, behind the value.
        var manner: String?
        /// What holds, for claims without a limit; nil for the meaning of the claim.
        var fact: String?
    }

    /// A finding, or the reason why there is none.
    enum Measurement {
        /// The value was measured.
        case known(Finding)
        /// The facts are missing: the reason, and a remedy.
        case unknown(String, Remedy?)
        /// The claim covers nothing: the reason, and a remedy.
        case nothing(String, Remedy = "correct the pattern")
    }

    private func judge(_ claim: Claim, _ found: Finding) -> ClaimResult {
        let kind = claim.rule.kind
        let isTogether = if case .figure(let rule, _) = claim.rule { rule.isTogether } else { false }
        let place =
            found.manner ?? found.offender.map { isTogether ? " together, most in \($0)" : " in \($0)" } ?? ""
        let (fails, excess): (Bool, Double) =
            switch (claim.rule, found.worst) {
            case (.bytes(_, let limit), .bytes(let worst)): (worst > limit, Double(worst) / Double(limit) - 1)
            case (.figure(let rule, let limit), .figure(let worst)):
                // The comparison is negated so that NaN fails.
                (!(rule.isMinimum ? worst >= limit : worst <= limit), ClaimEvaluation.excess(worst, limit))
            case (.quality(let rule, let limit, _), .figure(let worst)):
                (!(rule.isMinimum ? worst >= limit : worst <= limit), ClaimEvaluation.excess(worst, limit))
            default: (found.offenders > 0, .infinity)
            }
        let limit = claim.limitValue
        let word = isMinimum(claim.rule) ? "at least" : "at most"
        guard fails else {
            let text =
                limit.map { "\(found.worst?.short ?? "")\(place), \(word) \($0.short)" } ?? found.fact ?? kind.meaning
            return result(claim, .pass, text, measured: found.worst, basis: found.basis)
        }
        // If both round to the same text, show every digit.
        let isClose = found.worst?.text == limit?.text
        let (measured, claimed) = isClose ? (found.worst?.exact, limit?.exact) : (found.worst?.text, limit?.text)
        let text = found.fault ?? "\(measured ?? "")\(place), claimed is \(word) \(claimed ?? "")"
        return result(
            claim, .fail, "\(text)\(more(found.offenders))\(note(claim))", kind.remedy, measured: found.worst,
            basis: found.basis, offender: found.offender, offenders: found.offenders, excess: excess)
    }

    private static func excess(_ worst: Double, _ limit: Double) -> Double {
        guard limit != 0 else { return .infinity }
        return abs(worst - limit) / abs(limit)
    }

    private func isMinimum(_ rule: Claim.Rule) -> Bool {
        switch rule {
        case .figure(let rule, _): rule.isMinimum
        case .quality(let rule, _, _): rule.isMinimum
        case .bytes, .finite, .exactValues, .digests: false
        }
    }

    private func note(_ claim: Claim) -> String { claim.note.map { " (\($0))" } ?? "" }

    private func more(_ count: Int) -> String { count > 1 ? ", and \(count - 1) more" : "" }

    private func result(
        _ claim: Claim, _ status: ClaimResult.Status, _ finding: String, _ remedy: Remedy? = nil,
        measured: ClaimResult.Value? = nil, basis: ClaimResult.Basis? = nil, offender: String? = nil,
        offenders: Int = 0, excess: Double = 0
    ) -> ClaimResult {
        ClaimResult(
            claim.rule.kind, pattern: claim.scope, level: claim.level,
            status: status, limit: claim.limitValue, measured: measured, basis: basis, offender: offender,
            offenders: offenders, finding: finding, remedy: remedy, line: claim.line, excess: excess)
    }

    // MARK: - Measuring

    /// The tensors that a claim covers; indices into the facts, no copy.
    private struct Chosen: RandomAccessCollection {
        private let tensors: [ClaimFacts.Tensor]
        private let chosen: [Int]
        var startIndex: Int { 0 }
        var endIndex: Int { chosen.count }

        init(_ tensors: [ClaimFacts.Tensor], _ indices: [Int]) {
            self.tensors = tensors
            chosen = indices
        }

        subscript(index: Int) -> ClaimFacts.Tensor { tensors[chosen[index]] }
    }

    /// Measures what a claim covers; ignores its level.
    func measure(_ claim: Claim) throws -> Measurement {
        if case .exactValues = claim.rule, let values = facts.values { return try exactness(values, claim.patterns) }
        let chosen: Chosen
        switch try selection.tensors(claim.patterns) {
        case .nothing(let pattern): return .nothing("no tensor matches \(pattern.text)")
        case .tensors(let indices): chosen = Chosen(facts.tensors, indices)
        }
        switch claim.rule {
        case .bytes(let rule, let limit): return measure(rule, limit)
        case .figure(.reduction, _):
            guard let source = facts.sourceBytes, source > 0 else {
                return .unknown("the size of the source is not known", .option(.compareWithSource))
            }
            return .known(Finding(worst: .figure(1 - Double(facts.outputBytes) / Double(source)), basis: .file))
        case .figure(.bitsPerWeight, let limit): return bitsPerWeight(chosen, limit)
        case .figure(.overallRelativeMSE, _): return overall(chosen) { $0.relativeMSE }
        case .figure(.overallSignalToNoise, _): return overall(chosen) { $0.signalToNoise }
        case .figure(.relativeActivationError, let limit): return activationError(chosen, limit)
        case .figure(let rule, let limit): return error(rule, chosen, limit)
        case .quality(let rule, _, let scope): return quality(rule, scope)
        case .finite: return finite(chosen)
        case .exactValues: return exactness(chosen)
        case .digests(let rule, let entries): return try digests(rule, entries)
        }
    }

    private func measure(_ rule: Claim.ByteRule, _ limit: UInt64) -> Measurement {
        switch rule {
        case .total:
            return .known(Finding(worst: .bytes(facts.files.reduce(0) { $0 + $1.byteCount }), basis: .file))
        case .largestFile:
            guard let largest = facts.files.max(by: { $0.byteCount < $1.byteCount }) else {
                return .nothing("there is no file")
            }
            return .known(
                Finding(
                    worst: .bytes(largest.byteCount), basis: .file, offender: largest.name,
                    offenders: facts.files.count { $0.byteCount > limit }))
        case .peakMemory:
            guard let peak = facts.peakMemory else {
                return .unknown(
                    "the memory of the conversion is not known", .option(.giveConversionReport))
            }
            return .known(Finding(worst: .bytes(peak), basis: .report))
        }
    }

    /// Bits per weight of the encoded tensors together; the offender is the tensor with the most bits per weight.
    private func bitsPerWeight(_ tensors: Chosen, _ limit: Double) -> Measurement {
        var worst: (tensor: ClaimFacts.Tensor, bits: Double)?
        var (weights, bytes, offenders) = (0.0, 0.0, 0)
        for tensor in tensors where tensor.isEncoded && tensor.elements > 0 {
            let bits = Double(tensor.byteCount) * 8 / Double(tensor.elements)
            if worst.map({ $0.bits < bits }) ?? true { worst = (tensor, bits) }
            weights += Double(tensor.elements)
            bytes += Double(tensor.byteCount)
            offenders += bits > limit ? 1 : 0
        }
        guard let worst else { return .nothing("no encoded tensor is meant") }
        return .known(
            Finding(
                worst: .figure(bytes * 8 / weights), basis: .file, offender: worst.tensor.name.text,
                offenders: offenders))
    }

    /// A figure of the error of all tensors together that are encoded or changed; the offender is the tensor with the most noise.
    private func overall(_ tensors: Chosen, _ figure: (ErrorSums) -> Double) -> Measurement {
        var sums = ErrorSums.zero
        var (isMeasured, unknown, count) = (true, 0, 0)
        var worst: (tensor: ClaimFacts.Tensor, noise: Double)?
        for tensor in tensors {
            guard let error = tensor.error else {
                unknown += tensor.isApart ? 0 : 1
                continue
            }
            guard tensor.isEncoded || error.noise > 0 else { continue }
            count += 1
            isMeasured = isMeasured && error.isMeasured
            sums = sums + ErrorSums(signal: error.signal, noise: error.noise, maxError: error.maxError)
            if worst.map({ error.noise > $0.noise }) ?? true { worst = (tensor, error.noise) }
        }
        guard unknown == 0 else {
            return .unknown(
                "the error of \(unknown) of \(tensors.count) tensors is not known", .option(.compareWithSource))
        }
        guard count > 0, let worst else { return .nothing("no encoded tensor is meant") }
        return .known(
            Finding(
                worst: .figure(figure(sums)), basis: isMeasured ? .source : .certificate,
                offender: worst.tensor.name.text, offenders: 1))
    }

    /// The largest relative error over activations of the calibrated tensors. Kept and lossless tensors have no error; others are not judged,
    /// and the finding tells how many there are.
    private func activationError(_ tensors: Chosen, _ limit: Double) -> Measurement {
        var worst: (tensor: ClaimFacts.Tensor, error: Double)?
        var (offenders, isMeasured, plain) = (0, true, 0)
        for tensor in tensors {
            guard let error = tensor.activationError else {
                if tensor.isEncoded, tensor.error.map({ $0.noise > 0 || $0.maxError > 0 }) ?? true { plain += 1 }
                continue
            }
            isMeasured = isMeasured && error.isMeasured
            if !(error.relative <= limit) { offenders += 1 }
            // NaN is worse than any number.
            if worst.map({ !$0.error.isNaN && !(error.relative <= $0.error) }) ?? true {
                worst = (tensor, error.relative)
            }
        }
        guard let worst else {
            return .nothing("no calibrated tensor is meant", "claim max_relative_mse, or convert with calibration")
        }
        let others = plain == 0 ? "" : " (\(plain) not calibrated: not judged)"
        return .known(
            Finding(
                worst: .figure(worst.error), basis: isMeasured ? .source : .certificate,
                offender: worst.tensor.name.text, offenders: offenders, manner: " in \(worst.tensor.name.text)\(others)"
            ))
    }

    private func error(_ rule: Claim.FigureRule, _ tensors: Chosen, _ limit: Double) -> Measurement {
        guard !tensors.isEmpty else { return .nothing("there is no tensor") }
        func figure(_ tensor: ClaimFacts.Tensor) -> Double? {
            guard let error = tensor.error else { return nil }
            return switch rule {
            case .relativeMSE: error.relativeMSE
            case .signalToNoise: error.signalToNoise
            case .maxError: error.maxError
            case .cosine: error.cosine
            case .reduction, .bitsPerWeight, .overallRelativeMSE, .overallSignalToNoise, .relativeActivationError: nil
            }
        }
        var worst: (tensor: ClaimFacts.Tensor, figure: Double)?
        var (offenders, isMeasured, unknown) = (0, true, 0)
        for tensor in tensors {
            guard let found = figure(tensor) else {
                unknown += tensor.isApart ? 0 : 1
                continue
            }
            isMeasured = isMeasured && tensor.error?.isMeasured == true
            if !(rule.isMinimum ? found >= limit : found <= limit) { offenders += 1 }
            // NaN is worse than any number.
            let isWorse =
                worst.map {
                    !$0.figure.isNaN && (rule.isMinimum ? !(found >= $0.figure) : !(found <= $0.figure))
                } ?? true
            if isWorse { worst = (tensor, found) }
        }
        // One failing tensor decides. To pass, the figures of all tensors must be known.
        guard let worst, unknown == 0 || offenders > 0 else {
            return .unknown(
                rule == .cosine && facts.sourcePath == nil
                    ? "certificates state no cosine"
                    : "the error of \(unknown) of \(tensors.count) tensors is not known",
                .option(.compareWithSource))
        }
        return .known(
            Finding(
                worst: .figure(worst.figure), basis: isMeasured ? .source : .certificate,
                offender: worst.tensor.name.text, offenders: offenders))
    }

    /// A figure of the evaluation; with a confidence, the bound that it keeps with that probability.
    private func quality(_ rule: Claim.QualityRule, _ scope: Claim.QualityScope) -> Measurement {
        guard let quality = facts.quality else {
            return .unknown("the model was not evaluated", .option(.giveText))
        }
        guard let figures = quality.figures(of: scope.text) else {
            return .nothing("the evaluation has no text of this hash", .option(.recordText))
        }
        let estimate = figures[rule]
        let name = scope.text == nil ? "" : " on \(figures.name)"
        guard let confidence = scope.confidence else {
            return .known(Finding(worst: .figure(estimate.value), basis: .evaluation, manner: name))
        }
        guard let error = estimate.standardError else {
            return .nothing("a single sequence has no standard error", "give a longer text")
        }
        let width = StudentDistribution.quantile(confidence, degrees: figures.sequences - 1) * error
        let bound = rule.isMinimum ? estimate.value - width : estimate.value + width
        let percent = ClaimNumber.text(confidence * 100)
        let manner = "\(name) at \(percent) % confidence (\(ClaimNumber.text(estimate.value)) measured)"
        return .known(Finding(worst: .figure(bound), basis: .evaluation, manner: manner))
    }

    private func finite(_ tensors: Chosen) -> Measurement {
        guard !tensors.isEmpty else { return .nothing("there is no tensor") }
        let bad = tensors.filter { $0.nonFinite ?? 0 > 0 }
        let unknown = tensors.count { $0.nonFinite == nil }
        guard !bad.isEmpty || unknown == 0 else {
            return .unknown("the weights of \(unknown) of \(tensors.count) tensors were not counted", nil)
        }
        let total = bad.reduce(0) { $0 + Int(clamping: $1.nonFinite ?? 0) }
        let worst = bad.max { ($0.nonFinite ?? 0) < ($1.nonFinite ?? 0) }
        return .known(
            Finding(
                worst: .count(total), basis: .file, offender: worst?.name.text, offenders: bad.count,
                fault: worst.map { "\($0.nonFinite ?? 0) NaN or infinite weights in \($0.name.text)" }))
    }

    /// Compared values of the tensors that the patterns match, also of those that only the source has.
    private func exactness(_ values: ValueExactness, _ patterns: [NamePattern]?) throws -> Measurement {
        switch try valueSelection.tensors(patterns) {
        case .nothing(let pattern): return .nothing("no tensor matches \(pattern.text)")
        case .tensors(let indices):
            let found = ValueExactness(indices.map { values.tensors[$0] })
            guard let isExact = found.isExact else { return .nothing("there is no weight to compare") }
            var finding = Finding(
                worst: .count(Int(clamping: found.differing)), basis: .source, offender: found.first?.name.text,
                offenders: found.unequal)
            if isExact {
                finding.fact = found.sentence
            } else if let first = found.first, let sentence = first.sentence {
                var others: UInt64 = 0
                if case .different(let differences) = first.agreement { others = differences.count - 1 }
                let more =
                    others == 0 ? "" : " (and \(others) more of its weights \(others == 1 ? "differs" : "differ"))"
                finding.fault = sentence + more
            }
            return .known(finding)
        }
    }

    /// What the certificates state: a tensor without an error is its source.
    private func exactness(_ tensors: Chosen) -> Measurement {
        guard tensors.contains(where: { $0.elements > 0 }) else { return .nothing("there is no weight to compare") }
        let unequal = tensors.filter { ($0.error?.maxError ?? 0) != 0 }
        guard !unequal.isEmpty || tensors.allSatisfy({ $0.error != nil }) else {
            return .unknown("the weights were not compared", .option(.compareWithSource))
        }
        return .known(
            Finding(
                worst: .count(unequal.count), basis: .certificate, offender: unequal.first?.name.text,
                offenders: unequal.count,
                fault: unequal.first.map {
                    "\($0.name.text): the largest error is \(ClaimNumber.text($0.error?.maxError ?? 0))"
                }))
    }

    private func digests(_ rule: Claim.DigestRule, _ entries: [Claim.NamedDigest]) throws -> Measurement {
        guard rule == .output || facts.sourcePath != nil else {
            return .unknown("there is no source to hash", .option(.compareWithSource))
        }
        var wrong: [(name: String, fault: String)] = []
        for entry in entries {
            guard let found = try files.digest(rule, entry.file) else {
                wrong.append((entry.file, "no file \(entry.file)"))
                continue
            }
            if found != entry.digest {
                wrong.append((entry.file, "\(entry.file) has the SHA-256 \(found), claimed is \(entry.digest)"))
            }
        }
        return .known(
            Finding(
                worst: .count(wrong.count), basis: rule == .source ? .source : .file, offender: wrong.first?.name,
                offenders: wrong.count, fault: wrong.first?.fault))
    }
}

extension Claim {
    /// What the claim is limited to, in words: patterns of tensors, or the first digits of the hash of a text; nil for everything.
    var scope: String? {
        if case .quality(_, _, let scope) = rule { return scope.text.map { "text \($0.description.prefix(12))" } }
        return patterns?.map(\.text).joined(separator: ", ")
    }

    /// The limit as reports show it; nil for claims without a limit.
    var limitValue: ClaimResult.Value? {
        switch rule {
        case .bytes(_, let limit): .bytes(limit)
        case .figure(_, let limit), .quality(_, let limit, _): .figure(limit)
        case .finite, .exactValues, .digests: nil
        }
    }
}
