package import TensorModel

/// Result of one claim: whether it holds, and the measurement.
package struct ClaimResult: Sendable {
    /// Outcome.
    package enum Status: String, Sendable, Hashable {
        /// The claim holds; does not hold; is not checked, or the facts are unknown.
        case pass, fail, skip
    }

    /// Source of the figures.
    package enum Basis: String, Sendable, Hashable {
        /// Measured against the source.
        case source
        /// Stated by the certificates of the checkpoint.
        case certificate
        /// Sizes and digests of the files.
        case file
        /// The report of the conversion.
        case report
        /// An evaluation on text.
        case evaluation
    }

    /// A limit, or a measured value.
    package enum Value: Sendable, Hashable {
        /// A size; a figure; a number of tensors, files or weights.
        case bytes(UInt64)
        case figure(Double)
        case count(Int)
    }

    /// Kind of the claim.
    package let kind: Claim.Kind
    /// Patterns of the claim, separated by commas; nil for all tensors, and for claims that are not about tensors.
    package let pattern: String?
    /// Consequence of a failure.
    package let level: Claim.Level
    /// Outcome.
    package let status: Status
    /// Limit, and worst measured value; each nil if there is none.
    package let limit: Value?, measured: Value?
    /// Source of the figures; nil if nothing was measured.
    package let basis: Basis?
    /// Tensor or file with the worst value, and the number of tensors or files that fail.
    package let offender: String?, offenders: Int
    /// What was found, as a sentence.
    package let finding: String
    /// What a user can do about a failure, or about an unknown value; nil for nothing.
    package let remedy: Remedy?
    /// Line of the claims file; nil for a built-in claim.
    package let line: Int?
    /// How far the limit is exceeded, as a share of the limit; the sort key of failures.
    let excess: Double

    init(
        _ kind: Claim.Kind, pattern: String? = nil, level: Claim.Level = .error, status: Status, limit: Value? = nil,
        measured: Value? = nil, basis: Basis? = nil, offender: String? = nil, offenders: Int = 0, finding: String,
        remedy: Remedy? = nil, line: Int? = nil, excess: Double = 0
    ) {
        self.kind = kind
        self.pattern = pattern
        self.level = level
        self.status = status
        self.limit = limit
        self.measured = measured
        self.basis = basis
        self.offender = offender
        self.offenders = offenders
        self.finding = finding
        self.remedy = remedy
        self.line = line
        self.excess = excess
    }

    /// The claim with its tensors, for headings: `max_relative_mse of *.q_proj.*`.
    package var title: String { pattern.map { "\(kind.rawValue) of \($0)" } ?? kind.rawValue }

    /// Finding and remedy in one line.
    ///
    /// - Parameter words: wording of remedies that need an option.
    package func message(_ words: Remedy.Words = { $0.text }) -> String {
        guard let remedy else { return finding }
        return "\(finding); \(status == .fail ? "to do: " : "")\(remedy.text(words))"
    }

    /// `PASS`, `SKIP`, `FAIL`, or `WARN` for a failed claim of level `warn`.
    package var word: String {
        switch status {
        case .pass: "PASS"
        case .skip: "SKIP"
        case .fail: level == .error ? "FAIL" : "WARN"
        }
    }

    /// Sort key: failures first.
    fileprivate var rank: Int {
        switch status {
        case .fail: level == .error ? 0 : 1
        case .skip: 2
        case .pass: 3
        }
    }

    /// The result as JSON (Specs/json.md, `claims`).
    func json(_ words: Remedy.Words) -> JSONValue {
        .object([
            .init("claim", .string(kind.rawValue)), .init("pattern", pattern.map(JSONValue.string) ?? .null),
            .init("level", .string(level.rawValue)), .init("status", .string(status.rawValue)),
            .init("limit", limit?.json ?? .null), .init("measured", measured?.json ?? .null),
            .init("basis", basis.map { .string($0.rawValue) } ?? .null),
            .init("offender", offender.map(JSONValue.string) ?? .null),
            .init("offenders", .unsigned(UInt64(offenders))), .init("message", .string(message(words))),
        ])
    }
}

extension ClaimResult.Value {
    var json: JSONValue {
        switch self {
        case .bytes(let bytes): .unsigned(bytes)
        case .figure(let figure): .number(figure)
        case .count(let count): .unsigned(UInt64(count))
        }
    }

    /// The value with few digits: `3.331 MB`; figures with five digits.
    var short: String {
        if case .bytes(let bytes) = self { ClaimNumber.text(bytes: bytes) } else { text }
    }

    /// The value with all digits.
    var exact: String { if case .figure(let figure) = self { "\(figure)" } else { text } }

    /// The value: bytes with all digits, figures with at most five.
    package var text: String {
        switch self {
        case .bytes(let bytes): "\(bytes) bytes"
        case .figure(let figure): ClaimNumber.text(figure)
        case .count(let count): "\(count)"
        }
    }
}

/// Results of all claims about a checkpoint: failures first, the worst failure at the top.
package struct ClaimsReport: Sendable {
    /// Name of the checkpoint.
    package let subject: String
    /// Name of the claims file; nil if only built-in claims were checked.
    package let file: String?
    /// The results, in the order to show.
    package let results: [ClaimResult]
    /// Wording of remedies, in every format of the report.
    package let words: Remedy.Words
    /// Whether a certificate, a hash, a claim or a limit could have failed.
    package let isJudged: Bool

    /// Makes a report and sorts the results.
    package init(
        subject: String, file: String?, _ results: [ClaimResult], isJudged: Bool = true,
        words: @escaping Remedy.Words = { $0.text }
    ) {
        self.words = words
        self.isJudged = isJudged
        self.subject = subject
        self.file = file
        self.results = results.enumerated().sorted { a, b in
            let (left, right) = (a.element, b.element)
            if left.rank != right.rank { return left.rank < right.rank }
            if left.status == .fail, left.excess != right.excess { return left.excess > right.excess }
            return a.offset < b.offset
        }.map(\.element)
    }

    /// Whether no claim of level `error` fails.
    package var holds: Bool { failed.isEmpty }

    /// The verdict of the run.
    package var verdict: Verdict { holds ? isJudged ? .pass : .compared : .fail }

    /// Failed claims of level `error`.
    package var failed: [ClaimResult] { results.filter { $0.status == .fail && $0.level == .error } }

    /// Failed claims of level `warn`.
    package var warned: [ClaimResult] { results.filter { $0.status == .fail && $0.level != .error } }

    /// Counts in words: `2 failed, 1 warning, 7 passed, 1 skipped`.
    package var summary: String {
        let (failed, warned) = (failed.count, warned.count)
        let parts = [
            failed > 0 ? "\(failed) failed" : nil,
            warned > 0 ? "\(warned) \(warned == 1 ? "warning" : "warnings")" : nil,
            "\(results.count { $0.status == .pass }) passed",
            results.contains { $0.status == .skip } ? "\(results.count { $0.status == .skip }) skipped" : nil,
        ]
        return parts.compactMap { $0 }.joined(separator: ", ")
    }

    /// Finding and remedy of a claim in one line.
    package func message(_ result: ClaimResult) -> String { result.message(words) }

    /// The results as JSON.
    package var json: JSONValue { .array(results.map { $0.json(words) }) }

    /// Report about a checkpoint whose bytes are damaged, or that could not be read.
    package static func damaged(
        _ error: IngotError, subject: String, file: String?, words: @escaping Remedy.Words = { $0.text }
    ) -> ClaimsReport {
        let place = error.file.map { " (\($0))" } ?? ""
        return ClaimsReport(
            subject: subject, file: file,
            [
                ClaimResult(
                    .bytesIntact, status: .fail, basis: .file, offender: error.tensor?.text ?? error.file, offenders: 1,
                    finding: "\(error.code.rawValue): \(error.found)\(place)", remedy: error.remedy)
            ], words: words)
    }
}
