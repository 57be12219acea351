import TensorModel
import Testing
import Work

/// A budget is spent by name, and says what does not fit.
@Suite struct MemoryLedgerTests {
    @Test func claims() throws {
        var ledger = MemoryLedger(bytes: 100 << 20)
        try ledger.claim("bands", 40 << 20)
        #expect(ledger.claim("workspaces", each: 16 << 20, maximum: 9) == 3)
        #expect(ledger.claimed == 88 << 20 && ledger.left == 12 << 20)
        #expect(ledger.claim("results", each: 16 << 20, maximum: 9) == 0)
        let error = try #require(throws: IngotError.self) { try ledger.claim("factor cache", 13 << 20) }
        #expect(error.code == .usage && error.found.contains("40 MiB for bands, 48 MiB for 3 workspaces"))
        #expect(error.expected == "13 MiB more for factor cache")
        #expect(ledger.claims.map(\.name) == ["bands", "3 workspaces"])
    }
}
