import Conversion
import Synchronization
import Testing

/// Work in parallel, handed on in order, in as many workspaces as there are.
@Suite struct PipelineTests {
    private final class Space: Sendable {
        let isTaken = Mutex(false)
    }

    private struct Failure: Error, Equatable { let number: Int }

    /// A little work that takes longer for some items, so that they overtake each other.
    private static func spin(_ item: Int) -> UInt64 {
        (0..<UInt64(item % 7 * 3000)).reduce(UInt64(item)) { ($0 ^ $1) &* 0x9E37_79B9_7F4A_7C15 }
    }

    @Test(arguments: [(1, 1), (1, 3), (2, 2), (2, 5), (8, 8), (8, 17), (64, 3)])
    func ordered(jobs: Int, workspaces: Int) async throws {
        let spaces = (0..<workspaces).map { _ in Space() }
        let pipeline = OrderedPipeline(jobs: jobs, workspaces: spaces)
        let underWay = Mutex((now: 0, most: 0))
        for count in [0, 1, 2, 500] {
            var seen: [Int] = []
            try await pipeline.run(0..<count) { item, space in
                let wasTaken = space.isTaken.withLock { taken in
                    defer { taken = true }
                    return taken
                }
                #expect(!wasTaken, "a workspace for two items")
                underWay.withLock {
                    $0.now += 1
                    $0.most = max($0.most, $0.now)
                }
                #expect(PipelineTests.spin(item) != 1)
                underWay.withLock { $0.now -= 1 }
            } consume: { item, space in
                seen.append(item)
                let wasTaken = space.isTaken.withLock { taken in
                    defer { taken = false }
                    return taken
                }
                #expect(wasTaken, "handed on without its workspace")
            }
            #expect(seen == Array(0..<count))
        }
        #expect(underWay.withLock { $0.most } <= min(jobs, workspaces))
    }

    /// No item starts more than the number of workspaces ahead of the one that is handed on: rates rely on that.
    @Test func distance() async throws {
        let pipeline = OrderedPipeline(jobs: 4, workspaces: (0..<6).map { _ in Space() })
        let consumed = Mutex(0)
        let items = (0..<400).lazy.map { item -> Int in
            #expect(item - consumed.withLock { $0 } < 6)
            return item
        }
        try await pipeline.run(items) { item, _ in
            #expect(PipelineTests.spin(item) != 1)
        } consume: { _, _ in
            consumed.withLock { $0 += 1 }
        }
        #expect(consumed.withLock { $0 } == 400)
    }

    @Test(arguments: [1, 2, 8]) func failures(jobs: Int) async throws {
        let pipeline = OrderedPipeline(jobs: jobs, workspaces: (0..<2 * jobs + 1).map { _ in Space() })
        for failing in [0, 1, 57, 199] {
            await #expect(throws: Failure(number: failing)) {
                try await pipeline.run(0..<200) { item, _ in
                    if item == failing { throw Failure(number: item) }
                } consume: { _, _ in
                }
            }
            var seen: [Int] = []
            await #expect(throws: Failure(number: failing)) {
                try await pipeline.run(0..<200) { item, _ in
                    #expect(PipelineTests.spin(item) != 1)
                } consume: { item, _ in
                    if item == failing { throw Failure(number: item) }
                    seen.append(item)
                }
            }
            #expect(seen == Array(0..<failing))
        }
        #expect(pipeline.usage.working > .zero && pipeline.usage.consuming > .zero)
    }
}
