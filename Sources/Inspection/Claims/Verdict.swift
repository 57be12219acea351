/// The result of a verification as a whole. Every format of one run states the same verdict.
package enum Verdict: String, Sendable, Hashable {
    /// A certificate, a hash, a claim or a limit could have failed, and all of them hold.
    case pass = "PASS"
    /// A hash, a certificate, the source, or a claim of level `error` does not hold.
    case fail = "FAIL"
    /// Weights of two checkpoints were compared, and no certificate, claim or limit judges them.
    case compared = "COMPARED"
}
