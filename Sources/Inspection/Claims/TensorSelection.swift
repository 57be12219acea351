package import TensorModel

/// Which tensors the patterns of claims mean: each pattern is matched once, and all of them together take a bounded time.
package final class TensorSelection {
    /// Steps that all claims of a file may take together: seconds.
    package static let workLimit = 1 << 31
    /// Indices that are kept for patterns that come again.
    private static let keptLimit = 1 << 22
    /// Steps that a tensor costs in a claim that means it.
    private static let tensorCost = 64

    /// Steps taken so far.
    package private(set) var work = 0
    private let names: [TensorName]
    private let limit: Int
    /// The indices of the names in their order.
    private let sorted: [Int]
    private var known: [TensorName: [Int]] = [:]
    private var kept = 0

    /// Prepares the names of a checkpoint's tensors, all different.
    package init(_ names: [TensorName], limit: Int = workLimit) {
        self.names = names
        self.limit = limit
        sorted = names.indices.sorted { names[$0] < names[$1] }
    }

    /// The tensors that patterns mean, or the first pattern that means none.
    package enum Selection: Hashable {
        case tensors([Int])
        case nothing(NamePattern)
    }

    /// The indices of the tensors that at least one of the patterns matches, rising; all of them where there are no patterns.
    ///
    /// - Throws: `claimsInvalid` where that takes more than the limit.
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

    /// The indices of the tensors that a pattern matches, rising.
    private func tensors(_ pattern: NamePattern) throws -> [Int] {
        let key = TensorName(pattern.text)
        if let found = known[key] { return found }
        let prefix = TensorName(pattern.prefix)
        // Names that begin alike stand together.
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

    /// The first place in order for which something no longer holds.
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
                expected: "fewer patterns, or such as begin with fixed text")
        }
    }
}
