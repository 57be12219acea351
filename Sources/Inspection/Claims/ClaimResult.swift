package import TensorModel

/// Whether a claim holds, and by what.
package struct ClaimResult: Sendable {
    /// How it came out.
    package enum Status: String, Sendable, Hashable {
        case pass, fail, skip
    }

    /// Where the figures come from.
    package enum Basis: String, Sendable, Hashable {
        /// Measured against the source.
        case source
        /// Stated by the checkpoint's certificates.
        case certificate
        /// Sizes and digests of the files.
        case file
        /// The report of the conversion.
        case report
    }

    /// A limit, or what was measured against it.
    package enum Value: Sendable, Hashable {
        case bytes(UInt64)
        case figure(Double)
        case count(Int)
    }

    /// What was claimed.
    package let kind: Claim.Kind
    /// The patterns it is limited to, separated by commas; nil for all tensors, and for what is not about tensors.
    package let pattern: String?
    /// What follows where it does not hold.
    package let level: Claim.Level
    /// How it came out.
    package let status: Status
    /// The limit, and the worst that was measured; nil where there is none.
    package let limit: Value?, measured: Value?
    /// Where the figures come from; nil where nothing was measured.
    package let basis: Basis?
    /// The tensor or file that is farthest off, and how many do not hold.
    package let offender: String?, offenders: Int
    /// What was found.
    package let finding: String
    /// What to do where it does not hold, or what would show whether it does; nil where there is nothing to do.
    package let remedy: Remedy?
    /// The line of the claims file; nil for what is always checked.
    package let line: Int?
    /// By what share of the limit it is exceeded, to sort by.
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

    /// The claim with the tensors it is about, for headings: `max_relative_mse of *.q_proj.*`.
    package var title: String { pattern.map { "\(kind.rawValue) of \($0)" } ?? kind.rawValue }

    /// What was found and what to do, in one line.
    ///
    /// - Parameter words: the words of steps that need an option.
    package func message(_ words: Remedy.Words = { $0.text }) -> String {
        guard let remedy else { return finding }
        return "\(finding); \(status == .fail ? "to do: " : "")\(remedy.text(words))"
    }

    /// The word for it: `FAIL`, `WARN` where only a warning follows, `SKIP`, `PASS`.
    package var word: String {
        switch status {
        case .pass: "PASS"
        case .skip: "SKIP"
        case .fail: level == .error ? "FAIL" : "WARN"
        }
    }

    /// Its place among others: what fails comes first.
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

    /// The value in few digits: `3.331 MB`, figures with five.
    var short: String {
        if case .bytes(let bytes) = self { ClaimNumber.text(bytes: bytes) } else { text }
    }

    /// The value with all of its digits.
    var exact: String { if case .figure(let figure) = self { "\(figure)" } else { text } }

    /// The value: bytes as they are, figures with five digits at most.
    package var text: String {
        switch self {
        case .bytes(let bytes): "\(bytes) bytes"
        case .figure(let figure): ClaimNumber.text(figure)
        case .count(let count): "\(count)"
        }
    }
}

/// The results of all claims about a checkpoint: what fails first, the worst of it at the top.
package struct ClaimsReport: Sendable {
    /// The checkpoint.
    package let subject: String
    /// The claims file; nil where only what is always checked was.
    package let file: String?
    /// The results, in the order in which they are shown.
    package let results: [ClaimResult]
    /// The words of remedies, in every form of the report.
    package let words: Remedy.Words

    /// Sorts results.
    package init(
        subject: String, file: String?, _ results: [ClaimResult], words: @escaping Remedy.Words = { $0.text }
    ) {
        self.words = words
        self.subject = subject
        self.file = file
        self.results = results.enumerated().sorted { a, b in
            let (left, right) = (a.element, b.element)
            if left.rank != right.rank { return left.rank < right.rank }
            if left.status == .fail, left.excess != right.excess { return left.excess > right.excess }
            return a.offset < b.offset
        }.map(\.element)
    }

    /// Whether no claim of level error fails.
    package var holds: Bool { failed.isEmpty }

    /// The claims of level error that fail.
    package var failed: [ClaimResult] { results.filter { $0.status == .fail && $0.level == .error } }

    /// The claims of level warn that fail.
    package var warned: [ClaimResult] { results.filter { $0.status == .fail && $0.level != .error } }

    /// `2 failed, 1 warning, 7 passed, 1 skipped`.
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

    /// What was found of a claim and what to do, in one line.
    package func message(_ result: ClaimResult) -> String { result.message(words) }

    /// The results as JSON.
    package var json: JSONValue { .array(results.map { $0.json(words) }) }

    /// The report of a checkpoint whose bytes are damaged, or that could not be read.
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
