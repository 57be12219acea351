import Moments
import Products
import Work

/// How fast this machine does the parts of a run, measured for about half a second on the shapes of a model.
struct MachineRates: Sendable {
    /// Operations per second of all jobs together: products with weights, and attention with its softmax.
    private(set) var products = 0.0, attention = 0.0
    /// Operations per second of sums of moments, which run in two threads.
    private(set) var moments = 0.0
    /// Seconds of one thread: for a number in the steps between products, for a logit, for a cubed column of a factorization.
    private(set) var step = 0.0, logit = 0.0, factored = 0.0

    /// Tokens, and columns at most, of the matrices that are measured.
    private static let tokens = 512, maximumColumns = 1 << 15

    /// Measures.
    ///
    /// - Parameter jobs: threads of products and attention.
    /// - Throws: `libraryMissing`.
    init(_ h: ModelHyperparameters, jobs: Int, context: Int, _ blocks: MomentBlocks) async throws {
        try Products.requireLibrary()
        products = await MachineRates.products(h, jobs)
        attention = try await MachineRates.attention(h, jobs, context: context)
        moments = await MachineRates.moments(h, blocks)
        step = MachineRates.step(h)
        logit = MachineRates.logit()
        factored = MachineRates.factored()
    }

    /// Repeats work that returns its amount, once and then until `seconds` are over.
    ///
    /// - Returns: the amount of work per second.
    private static func rate(_ seconds: Double, _ work: () -> Double) -> Double {
        let begin = ContinuousClock.now
        var (done, spent) = (0.0, 0.0)
        repeat {
            done += work()
            spent = (ContinuousClock.now - begin).seconds
        } while spent < seconds
        return done / max(spent, 1e-9)
    }

    /// Runs `rate` in several threads, and adds up.
    private static func rate(_ seconds: Double, threads: Int, _ work: @escaping @Sendable () -> () -> Double) async
        -> Double
    {
        await withTaskGroup(of: Double.self) { group in
            for _ in 0..<threads {
                group.addTask {
                    let step = work()
                    // The first call of a thread gets its buffers.
                    _ = step()
                    return rate(seconds, step)
                }
            }
            return await group.reduce(0, +)
        }
    }

    private static func products(_ h: ModelHyperparameters, _ jobs: Int) async -> Double {
        let inner = [h.hidden, h.feedForward].map { min($0, maximumColumns) }
        let widest = inner.max() ?? 1
        let rows = min(256, max(h.hidden, h.feedForward))
        let states = [Float](repeating: 0.5, count: tokens * widest)
        let band = [Float](repeating: 0.01, count: rows * widest)
        return await rate(0.15, threads: jobs) {
            var output = [Float](repeating: 0, count: tokens * rows)
            return {
                var target = output.mutableSpan
                for columns in inner {
                    Products.multiply(
                        states.span, MatrixShape(rows: tokens, columns: columns), transposed: band.span,
                        MatrixShape(rows: rows, columns: columns), into: &target,
                        MatrixShape(rows: tokens, columns: rows))
                }
                return inner.reduce(0) { $0 + 2 * Double(tokens) * Double(rows) * Double($1) }
            }
        }
    }

    private static func attention(_ h: ModelHyperparameters, _ jobs: Int, context: Int) async throws -> Double {
        let (context, headSize) = (min(context, tokens), min(h.headSize, 512))
        let heads = min(h.heads / h.keyValueHeads, 8)
        let attention = Attention(heads: heads, keyValueHeads: 1, headSize: headSize, jobs: jobs, StateBuffers())
        func states(_ heads: Int) -> TokenStates {
            let width = heads * headSize
            return TokenStates(
                tokens: jobs * context, width: width,
                values: (0..<jobs * context * width).map { Float($0 % 17) * 0.05 - 0.4 })
        }
        let (queries, keys) = (states(heads), states(1))
        var pairs = 0.0
        for first in stride(from: 0, to: context, by: Attention.blockRows) {
            let rows = min(Attention.blockRows, context - first)
            pairs += Double(rows) * Double(first + rows)
        }
        _ = try await attention.run(queries, keys, keys, context: context)
        let begin = ContinuousClock.now
        var (runs, spent) = (0.0, 0.0)
        repeat {
            _ = try await attention.run(queries, keys, keys, context: context)
            runs += 1
            spent = (ContinuousClock.now - begin).seconds
        } while spent < 0.1
        return runs * 4 * Double(jobs * heads * headSize) * pairs / max(spent, 1e-9)
    }

    private static func moments(_ h: ModelHyperparameters, _ blocks: MomentBlocks) async -> Double {
        let widths = [h.hidden, h.feedForward].map { min(blocks.layout(columns: $0).width, MomentBlocks.usualWidth) }
        let widest = widths.max() ?? 1
        guard widest > 1 else { return .infinity }
        let rows = [Float](repeating: 0.5, count: tokens * widest)
        return await rate(0.1, threads: MomentSums.halves) {
            var sums = [Float](repeating: 0, count: widest * widest)
            return {
                var target = sums.mutableSpan
                for width in widths where width > 1 {
                    Products.addMoments(rows.span, MatrixShape(rows: tokens, columns: width), to: &target, from: 0)
                }
                return widths.reduce(0) { $0 + ($1 > 1 ? Double(tokens) * Double($1 * $1) : 0) }
            }
        }
    }

    private static func step(_ h: ModelHyperparameters) -> Double {
        let width = min(h.hidden, 4096)
        let scale = [Float](repeating: 1, count: width)
        var states = TokenStates(
            tokens: tokens, width: width, values: [Float](repeating: 0.5, count: tokens * width))
        return 1
            / rate(0.05) {
                let normed = states.normed(scale, epsilon: 1e-5)
                states.store(normed.values, tokens: 0..<tokens, columns: 0..<width)
                return 2 * Double(tokens * width)
            }
    }

    private static func logit() -> Double {
        let part = VocabularyPass.partTokens
        let logits = (0..<64 * part).map { Float($0 % 97) * 0.1 - 5 }
        return 1
            / rate(0.03) {
                var sum = 0.0
                for token in 0..<64 { sum += VocabularyPass.sums(token, 0..<part, 0, logits, nil).sum }
                return sum > 0 ? Double(64 * part) : 0
            }
    }

    private static func factored() -> Double {
        let count = 256
        let square = (0..<count * count).map { $0 / count == $0 % count ? 1.0 : 0.001 }
        return 1
            / rate(0.05) {
                Shrinkage.score(square, square, count, 0.1) == nil ? 0 : Double(count * count * count)
            }
    }
}
