package import TensorModel

/// Finds the tensors that patterns of claims match. Each pattern is matched once, and the total work is limited.
package final class TensorSelection {
    /// Most steps for all claims of a file: some seconds.
    package static let workLimit = 1 << 31
    /// Most indices to cache for patterns that occur again.
    private static let keptLimit = 1 << 22
    /// Steps that each matched tensor counts for, in each claim.
    private static let tensorCost = 64

    /// Steps so far.
    package private(set) var work = 0
    private let names: [TensorName]
    private let limit: Int
    /// Indices of the names, sorted by name.
    private let sorted: [Int]
    private var known: [TensorName: [Int]] = [:]
    private var kept = 0

    /// Prepares a selection from the names of all tensors; names must be unique.
    package init(_ names: [TensorName], limit: Int = workLimit) {
        self.names = names
        self.limit = limit
        sorted = names.indices.sorted { names[$0] < names[$1] }
    }

    /// Indices of the matched tensors, or the first pattern without a match.
    package enum Selection: Hashable {
        /// Indices of the matched tensors, ascending.
        case tensors([Int])
        /// The first pattern that matches no tensor.
        case nothing(NamePattern)
    }

    /// Indices of the tensors that match at least one pattern, ascending; all tensors if `patterns` is nil.
    ///
    /// - Throws: `claimsInvalid` if the work exceeds the limit.
    package func tensors(_ patterns: [NamePattern]?) throws -> Selection {
        guard let patterns else {
            try count(names.count * TensorSelection.tensorCost)
            return .tensors(Array(names.indices))
        }
        var chosen: [Int] = []
        for pattern in patterns {
            let found = try tensors(pattern)
            guard !found.isEmpty else { return .nothing(pattern) }
            try count(found.count * TensorSelection.tensorCost)
            chosen += found
        }
        guard patterns.count > 1 else { return .tensors(chosen) }
        chosen.sort()
        var last: Int?
        chosen.removeAll { index in
            defer { last = index }
            return index == last
        }
        return .tensors(chosen)
    }

    /// Indices of the tensors that match one pattern, ascending.
    private func tensors(_ pattern: NamePattern) throws -> [Int] {
        let key = TensorName(pattern.text)
        if let found = known[key] { return found }
        let prefix = TensorName(pattern.prefix)
        // Names with the same prefix are neighbours in sorted order.
        let start = firstIndex { $0 < prefix }
        var found: [Int] = []
        if pattern.isLiteral {
            if start < sorted.count, names[sorted[start]] == prefix { found = [sorted[start]] }
        } else {
            let end = firstIndex { $0 < prefix || $0.text.utf8.starts(with: prefix.text.utf8) }
            for place in start..<end {
                var steps = 0
                if pattern.matches(names[sorted[place]], steps: &steps) { found.append(sorted[place]) }
                try count(steps + 1)
            }
            found.sort()
        }
        keep(found, key)
        return found
    }

    /// First place in sorted order at which `isBefore` is false.
    private func firstIndex(where isBefore: (TensorName) -> Bool) -> Int {
        var (low, high) = (0, sorted.count)
        while low < high {
            let middle = (low + high) / 2
            if isBefore(names[sorted[middle]]) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func keep(_ found: [Int], _ key: TensorName) {
        kept += found.count + 1
        if kept > TensorSelection.keptLimit {
            known.removeAll()
            kept = found.count + 1
        }
        known[key] = found
    }

    private func count(_ steps: Int) throws {
        work += steps
        guard work <= limit else {
            throw IngotError(
                .claimsInvalid,
                found: "patterns that take more than \(limit) steps to match with the names of \(names.count) tensors",
                expected: "fewer patterns, or patterns that begin with fixed text")
        }
    }
}
