import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// A frozen plan, read back from a file, gives another process the rates of the plan that was frozen.
@Suite struct FrozenPlanTests {
    private static func options(_ goal: RateGoal) -> ConversionOptions {
        var options = Verbs.options(.trellis)
        options.encoding.goal = goal
        return options
    }

    @Test(arguments: [RateGoal.averageBits(4), .bits(3.5), .relativeMSE(0.01)])
    func roundTrip(goal: RateGoal) async throws {
        let place = try ShardedPlace()
        let options = FrozenPlanTests.options(goal)
        let budget = try MemoryBudget(bytes: options.run.memory, jobs: options.run.jobs)
        let frozen = try await ConversionPlan(Checkpoint.open(place.source), options).freeze(budget)
        let file = place.directory.at("plan.json")
        try frozen.write(to: file)
        let read = try FrozenPlan.read(file)
        #expect(read.json == frozen.json && read.options == options.encoding.record)
        var planned = try ConversionPlan(Checkpoint.open(place.source), options)
        try planned.apply(frozen)
        var again = try ConversionPlan(Checkpoint.open(place.source), options)
        try again.apply(read)
        #expect(planned.openShards.map(\.layout.payloads) == again.openShards.map(\.layout.payloads))
        #expect(!planned.openShards.flatMap(\.layout.payloads).isEmpty)
    }

    /// A shard that changed since, or is another one, is refused; so is a file that is no plan.
    @Test func refused() async throws {
        let place = try ShardedPlace()
        let options = FrozenPlanTests.options(.averageBits(4))
        let budget = try MemoryBudget(bytes: options.run.memory, jobs: options.run.jobs)
        let frozen = try await ConversionPlan(Checkpoint.open(place.source), options).freeze(budget)
        let shard = try #require(Checkpoint.open(place.source).shards.first)
        let tensor = try #require(shard.header.tensors.first { $0.range.count > 0 })
        let byte = try Files.read(shard.file.path)[Int(tensor.range.start)]
        try Files.patch([byte ^ 1], at: Int(tensor.range.start), in: shard.file.path)
        var plan = try ConversionPlan(Checkpoint.open(place.source), options)
        let error = try #require(throws: IngotError.self) { try plan.apply(frozen) }
        #expect(error.code == .sourceChanged)
        let file = place.directory.at("no-plan.json")
        try Files.write("{}", to: file)
        let other = try #require(throws: IngotError.self) { try FrozenPlan.read(file) }
        #expect(other.code == .reportInvalid)
    }
}
