import Synchronization
import Testing
import Work

/// Items are read in order, worked on in parallel, and consumed in order, with a bounded number under way.
@Suite struct PipelineTests {
    /// What a worker works in; no two items may be in one at the same time.
    private final class Space: Sendable {
        let isTaken = Mutex(false)
    }

    private struct Failure: Error, Equatable { let number: Int }

    /// A little work that takes longer for some items, so that they overtake each other.
    private static func spin(_ item: Int) -> UInt64 {
        (0..<UInt64(item % 7 * 3000)).reduce(UInt64(item)) { ($0 ^ $1) &* 0x9E37_79B9_7F4A_7C15 }
    }

    @Test(arguments: [(1, 1), (1, 3), (2, 2), (2, 5), (8, 8), (8, 17), (64, 3)])
    func ordered(jobs: Int, lookahead: Int) async throws {
        let spaces = Mutex(0)
        let pipeline = Pipeline(jobs: jobs, lookahead: lookahead) {
            spaces.withLock { $0 += 1 }
            return Space()
        }
        let underWay = Mutex((now: 0, maximum: 0))
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
                    $0.maximum = max($0.maximum, $0.now)
                }
                #expect(PipelineTests.spin(item) != 1)
                underWay.withLock { $0.now -= 1 }
                space.isTaken.withLock { $0 = false }
                return item * 3
            } consume: { item, found in
                #expect(found == item * 3)
                seen.append(item)
            }
            #expect(seen == Array(0..<count))
        }
        #expect(underWay.withLock { $0.maximum } <= min(jobs, lookahead))
        #expect(spaces.withLock { $0 } == 4 * min(jobs, lookahead))
    }

    /// Items are read in order by one worker at a time, and never as far as `lookahead` ahead of the one that is consumed: rates rely on that.
    @Test(arguments: [(1, 1), (2, 4), (4, 6)]) func readsInOrder(jobs: Int, lookahead: Int) async throws {
        let consumed = Mutex(0)
        let isReading = Mutex(false)
        var read: [Int] = []
        var seen: [Int] = []
        try await Pipeline(jobs: jobs, lookahead: lookahead) {}.run(0..<400, makeOutput: { 0 }) { item -> Int in
            #expect(
                isReading.withLock { reading in
                    defer { reading = true }; return !reading
                }, "two at a time")
            #expect(item - consumed.withLock { $0 } < lookahead)
            read.append(item)
            isReading.withLock { $0 = false }
            return item + 1
        } work: { item, input, _, output in
            #expect(input == item + 1 && PipelineTests.spin(item) != 1)
            output = input
        } consume: { item, output in
            #expect(output == item + 1)
            seen.append(item)
            consumed.withLock { $0 += 1 }
            return .proceed
        }
        #expect(read == Array(0..<400) && seen == read)
    }

    /// Outputs are reused: there are no more of them than items may be under way.
    @Test func outputsAreReused() async throws {
        final class Output { let number: Int; init(_ number: Int) { self.number = number } }
        let made = Mutex(0)
        var seen: Set<Int> = []
        try await Pipeline(jobs: 3, lookahead: 7) {}.run(0..<100) {
            Output(
                made.withLock { made in
                    made += 1; return made
                })
        } work: { _, _, _ in
        } consume: { _, output in
            seen.insert(output.number)
        }
        #expect(made.withLock { $0 } == 7 && seen == Set(1...7))
    }

    /// A stop ends the run without an error: nothing behind the item is consumed.
    @Test(arguments: [1, 2, 8]) func stops(jobs: Int) async throws {
        for last in [0, 1, 57, 199] {
            var seen: [Int] = []
            try await Pipeline(jobs: jobs, lookahead: 2 * jobs + 1) {}.run(0..<200, makeOutput: {}) { _ in
            } work: { item, _, _, _ in
                #expect(PipelineTests.spin(item) != 1)
            } consume: { item, _ in
                seen.append(item)
                return item == last ? .stop : .proceed
            }
            #expect(seen == Array(0...last))
        }
    }

    @Test(arguments: [1, 2, 8]) func failures(jobs: Int) async throws {
        let pipeline = Pipeline(jobs: jobs, lookahead: 2 * jobs + 1) {}
        for failing in [0, 1, 57, 199] {
            await #expect(throws: Failure(number: failing)) {
                try await pipeline.run(0..<200) { item, _ in
                    if item == failing { throw Failure(number: item) }
                } consume: { _, _ in
                }
            }
            await #expect(throws: Failure(number: failing)) {
                try await pipeline.run(0..<200, makeOutput: {}) { item in
                    if item == failing { throw Failure(number: item) }
                } work: { _, _, _, _ in
                } consume: { _, _ in
                    .proceed
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
        let usage = try await pipeline.run(0..<20) { item, _ in
            #expect(PipelineTests.spin(item) != 1)
        } consume: { _, _ in
        }
        #expect(usage.working > .zero && usage.consuming > .zero)
    }
}
