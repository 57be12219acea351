import Export
import TestSupport
import Testing

/// Types for a size: never more bytes than asked for, and nearly the least cost of all choices.
@Suite struct SizeAllocationTests {
    private typealias Size = SizeAllocation.Size

    /// The least cost of all choices that fit; nil if none does.
    private static func leastCost(_ items: [[Size]], within bytes: UInt64) -> Double? {
        guard let first = items.first else { return 0 }
        return first.compactMap { size -> Double? in
            guard size.bytes <= bytes else { return nil }
            return leastCost(Array(items.dropFirst()), within: bytes - size.bytes).map { $0 + size.cost }
        }.min()
    }

    /// Against all choices, on random sizes: what is lost beside the best choice is less than one step saves.
    @Test(arguments: 0..<20) func isNearlyTheBest(seed: Int) throws {
        var generator = SeededGenerator(UInt64(seed) + Share.seed)
        for _ in 0..<50 {
            let items = (0..<Int.random(in: 1...5, using: &generator)).map { _ -> [Size] in
                (0..<Int.random(in: 1...5, using: &generator)).map { _ in
                    Size(
                        bytes: UInt64.random(in: 1...100, using: &generator),
                        cost: Double(Int.random(in: 0...1000, using: &generator)))
                }
            }
            let bytes = UInt64.random(in: 1...300, using: &generator)
            guard let best = SizeAllocationTests.leastCost(items, within: bytes) else {
                #expect(SizeAllocation.choose(items, within: bytes) == nil)
                continue
            }
            let chosen = try #require(SizeAllocation.choose(items, within: bytes))
            let sizes = zip(items, chosen).map { $0[$1] }
            #expect(sizes.reduce(0) { $0 + $1.bytes } <= bytes)
            let cost = sizes.reduce(0) { $0 + $1.cost }
            let step = items.map { ($0.map(\.cost).max() ?? 0) - ($0.map(\.cost).min() ?? 0) }.max() ?? 0
            #expect(cost >= best && cost <= best + step, "\(items) within \(bytes): \(chosen)")
        }
    }

    /// Bytes go where they save most; a size above the hull is never taken.
    @Test func takesTheBestStepFirst() {
        let items = [
            [Size(bytes: 10, cost: 100), Size(bytes: 20, cost: 90), Size(bytes: 30, cost: 10)],
            [Size(bytes: 10, cost: 50), Size(bytes: 30, cost: 0)],
        ]
        #expect(SizeAllocation.choose(items, within: 19) == nil)
        #expect(SizeAllocation.choose(items, within: 20) == [0, 0])
        #expect(SizeAllocation.choose(items, within: 30) == [0, 0])
        #expect(SizeAllocation.choose(items, within: 40) == [2, 0])
        #expect(SizeAllocation.choose(items, within: 60) == [2, 1])
        #expect(SizeAllocation.choose([[Size]](), within: 0) == [])
    }

    /// A matrix of unknown loss has the smallest type that is not below the average of the others.
    @Test func unknownMatricesFollow() throws {
        func matrix(_ losses: [Double]?) -> SizeAllocation.Matrix {
            .init(weights: 800, bytes: [200, 300, 400, 600], losses: losses)
        }
        let known = [matrix([8, 4, 2, 0]), matrix([8, 4, 2, 0])]
        // 2, 3, 4 or 6 bits. Both known matrices at 3 bits leave 300 bytes for the other one.
        #expect(SizeAllocation.choose(known + [matrix(nil)], within: 900) == [1, 1, 1])
        #expect(SizeAllocation.choose(known + [matrix(nil)], within: 599) == nil)
        #expect(SizeAllocation.choose(known + [matrix(nil)], within: 5000) == [3, 3, 3])
        // Alone, it takes the most that fits.
        #expect(SizeAllocation.choose([matrix(nil)], within: 450) == [2])
    }
}
