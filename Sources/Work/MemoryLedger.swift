import TensorModel

/// A budget of memory, and what it is spent on by name.
package struct MemoryLedger: Sendable, Hashable {
    /// A part of the budget: its name, and its bytes at most.
    package struct Claim: Sendable, Hashable {
        package let name: String
        package let bytes: UInt64
    }

    /// Bytes at most, the program itself not counted.
    package let bytes: UInt64
    /// What was claimed, in order.
    package private(set) var claims: [Claim] = []

    /// A budget that nothing was claimed of.
    package init(bytes: UInt64) { self.bytes = bytes }

    /// Bytes of all claims.
    package var claimed: UInt64 { claims.reduce(0) { $0 + $1.bytes } }
    /// Bytes that nobody claimed.
    package var left: UInt64 { bytes - min(bytes, claimed) }

    /// Claims a part of the budget.
    ///
    /// - Throws: `usage` where less is left; it names what does not fit, and what has the rest.
    package mutating func claim(_ name: String, _ count: UInt64) throws {
        guard count <= left else {
            let others = claims.map { "\($0.bytes >> 20) MiB for \($0.name)" }.joined(separator: ", ")
            throw IngotError(
                .usage, found: "\(bytes >> 20) MiB of memory, of which \(others.isEmpty ? "nothing" : others)",
                expected: "\(max(1, count >> 20)) MiB more for \(name)")
        }
        claims.append(Claim(name: name, bytes: count))
    }

    /// Claims as many parts of one size as there is room for.
    ///
    /// - Returns: how many, at most `most`.
    package mutating func claim(_ name: String, each bytes: UInt64, most: Int) -> Int {
        let count = Int(min(UInt64(max(0, most)), left / bytes))
        if count > 0 { claims.append(Claim(name: "\(count) \(name)", bytes: UInt64(count) * bytes)) }
        return count
    }
}
