import Architectures
import Moments
import Quantization
import Synchronization
import TensorModel
import Work

/// The leverages of tokens at the inputs of linear layers, by the moments of a file (`InputLeverage`).
///
/// A layer's factors are made when they are first asked for. They stay until another layer is asked for, or until there are too many bytes.
final class Leverages: Sendable {
    private let moments: MomentsFile
    /// Number of shares of the tokens in work at the same time.
    private let jobs: Int
    private let maximumBytes: UInt64
    private let state = Mutex(State())

    /// Most tokens of a share.
    static let mostTokens = 256
    private static let leastTokens = 32

    private struct State {
        var made: [LinearInput: InputLeverage?] = [:]
        var bytes: UInt64 = 0
    }

    /// No factors yet.
    ///
    /// - Parameter maximumBytes: most bytes of factors that stay; those of one input at a time stay in any case.
    init(_ moments: MomentsFile, jobs: Int, maximumBytes: UInt64) {
        (self.moments, self.jobs, self.maximumBytes) = (moments, jobs, maximumBytes)
    }

    /// The leverage of each token at an input, 0 or more. Zeros if the moments of the input are zero, or have no factor.
    ///
    /// - Parameter states: the input, a row per token.
    /// - Throws: `momentsInvalid`; errors of reading.
    func of(_ input: LinearInput?, _ states: TokenStates) async throws -> [Double] {
        var leverages = [Double](repeating: 0, count: states.tokens)
        guard let input, let own = try made(input) else { return leverages }
        let shares = BackwardRunner.shares(
            of: states.tokens, jobs: jobs, least: Leverages.leastTokens, most: Leverages.mostTokens)
        try await Pipeline(jobs: jobs, lookahead: jobs) { InputLeverage.Workspace() }.run(
            shares, makeOutput: { [Double]() }
        ) { share, workspace, output in
            let rows = states.values.span.extracting(share.lowerBound * states.width..<share.upperBound * states.width)
            output = own.leverages(rows, tokens: share.count, &workspace)
        } consume: { share, output in
            for (token, leverage) in zip(share, output) { leverages[token] = leverage }
        }
        return leverages
    }

    private func made(_ input: LinearInput) throws -> InputLeverage? {
        if let found = state.withLock({ $0.made[input] }) { return found }
        guard let entry = moments[input] else { return nil }
        let bytes = InputLeverage.bytes(columns: entry.blocks.columns, width: entry.blocks.width).kept
        state.withLock { state in
            let isSameLayer = state.made.keys.allSatisfy { $0.layer == input.layer }
            guard !isSameLayer || state.bytes + bytes > maximumBytes else { return }
            state = State()
        }
        let own = try InputLeverage(
            columns: entry.blocks.columns, width: entry.blocks.width, diagonal: try moments.diagonal(of: entry),
            shrinkage: entry.shrinkage
        ) { try moments.triangle($0, of: entry) }
        state.withLock { state in
            state.made[input] = .some(own)
            state.bytes += bytes
        }
        return own
    }
}
