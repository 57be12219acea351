import Checkpoints
import Container
import ConversionSupport
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights
import Work

/// Claims about numbers are held against the numbers: hashes that were all computed anew help no forger.
@Suite struct ClaimForgeryTests {
    private func evaluate(_ file: ClaimsFile, _ sample: ForgeryTests.Sample, against source: Bool = true) async throws
        -> ClaimsReport
    {
        let checkpoint = try SealedCheckpoint(sample.path)
        let original = source ? try OpenedCheckpoint(sample.source) : nil
        let report = try await Verbs.verify(sample.path, against: source ? sample.source : nil)
        let facts = try ClaimFacts(report, of: OpenedCheckpoint(checkpoint), against: original)
        return try ClaimEvaluation(facts).run(file.claims, subject: sample.path.string, file: nil)
    }

    /// One code of one weight is another one, and everything that hashes it is right.
    @Test func oneCode() async throws {
        var sample = try await ForgeryTests.Sample(.none)
        let original = try OpenedCheckpoint(sample.source)
        let report = try await Verbs.verify(sample.path, against: sample.source)
        let facts = try ClaimFacts(
            report, of: OpenedCheckpoint(try SealedCheckpoint(sample.path)), against: original)
        let made = try ClaimsBaseline(facts, tolerance: 0).make(at: "claims.json").file
        // Digests would tell as well; what is shown is that the numbers do.
        let kinds: Set<Claim.Kind> = [.sourceDigests, .outputDigests]
        let file = ClaimsFile("claims.json", made.claims.filter { !kinds.contains($0.rule.kind) })
        #expect(file.claims.contains { $0.rule.kind == .maxError })
        #expect(try await evaluate(file, sample).holds)
        let codes = sample.stream(0)
        #expect(codes.codec == 0)
        // The upper bit of a code of four.
        sample.shard.bytes[codes.offset + 10] ^= 0x08
        #expect(try await sample.failure() == nil, "every byte is intact")
        let found = try await evaluate(file, sample)
        let failed = Set(found.failed.map(\.kind))
        #expect(failed.isSuperset(of: [.relativeMSE, .signalToNoise, .maxError, .certificatesHold]), "\(failed)")
        #expect(found.failed.allSatisfy { $0.offender == ForgeryTests.Sample.matrix && $0.basis == .source })
        // Without the source there are only the certificates, which were left as they were.
        let alone = try await evaluate(file, sample, against: false)
        #expect(alone.holds && alone.results.contains { $0.kind == .maxError && $0.basis == .certificate })
    }
}
