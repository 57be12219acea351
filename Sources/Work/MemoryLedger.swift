import TensorModel

/// A budget of memory and the claims on it, each with a name.
package struct MemoryLedger: Sendable, Hashable {
    /// A part of the budget.
    package struct Claim: Sendable, Hashable {
        /// The name of the part, for messages.
        package let name: String
        /// Its maximum size in bytes.
        package let bytes: UInt64
    }

    /// The budget in bytes, without the memory of the program itself.
    package let bytes: UInt64
    /// All claims, in the order in which they were made.
    package private(set) var claims: [Claim] = []

    /// A budget without claims.
    package init(bytes: UInt64) { self.bytes = bytes }

    /// Bytes of all claims.
    package var claimed: UInt64 { claims.reduce(0) { $0 + $1.bytes } }
    /// Bytes that are not claimed yet.
    package var left: UInt64 { bytes - min(bytes, claimed) }

    /// Claims a part of the budget.
    ///
    /// - Throws: `usage` if less is left. The error names the part that does not fit and all earlier claims.
    package mutating func claim(_ name: String, _ count: UInt64) throws {
        guard count <= left else {
            let others = claims.map { "\($0.bytes >> 20) MiB for \($0.name)" }.joined(separator: ", ")
            throw IngotError(
                .usage, found: "\(bytes >> 20) MiB of memory, of which \(others.isEmpty ? "nothing" : others)",
                expected: "\(max(1, count >> 20)) MiB more for \(name)")
        }
        claims.append(Claim(name: name, bytes: count))
    }

    /// Claims as many parts of `bytes` bytes as fit into the rest of the budget.
    ///
    /// - Returns: the number of parts, at most `maximum`.
    package mutating func claim(_ name: String, each bytes: UInt64, maximum: Int) -> Int {
        let count = Int(min(UInt64(max(0, maximum)), left / bytes))
        if count > 0 { claims.append(Claim(name: "\(count) \(name)", bytes: UInt64(count) * bytes)) }
        return count
    }
}
