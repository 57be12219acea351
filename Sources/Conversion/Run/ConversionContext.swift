import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Weights

/// What all steps of one conversion share.
struct ConversionContext {
    /// What is asked for.
    let options: ConversionOptions
    /// Where the output will be.
    let destination: FilePath
    /// The files of the source.
    let layout: CheckpointLayout
    /// What readers of the output accept.
    let limits: OutputLimits
    /// The memory to work in.
    let budget: MemoryBudget
    /// The unfinished output, and the journal beside it.
    let work: WorkDirectory
    /// Told what happens, by one thread at a time.
    let tell: @Sendable (ConversionEvent) -> Void

    /// Name of an output shard.
    func outputName(_ position: Int) -> String {
        ConversionPlan.outputName(position, of: layout.shardNames.count)
    }

    /// Where an output shard is until the directory gets its name.
    func outputPath(_ position: Int) -> FilePath { work.path.appending(outputName(position)) }

    /// Tells warnings of a plan that are new.
    func tellWarnings(_ plan: inout ConversionPlan) {
        for warning in plan.takeNewWarnings() { tell(.warning(warning)) }
    }
}
