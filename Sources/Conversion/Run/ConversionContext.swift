import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Weights

/// The values that all steps of one conversion share.
struct ConversionContext {
    /// The options of the conversion.
    let options: ConversionOptions
    /// Path of the output directory.
    let destination: FilePath
    /// Names and paths of the files of the source.
    let layout: CheckpointLayout
    /// Opens shards of the source.
    let source: WholeSource
    /// Checks that readers will accept the output.
    let limits: OutputLimits
    /// The memory budget, with the number of jobs.
    let budget: MemoryBudget
    /// The moments and factors of a calibrated conversion; nil for any other.
    let calibration: ShardCalibration?
    /// The unfinished output, with its journal.
    let work: WorkDirectory
    /// Receives the events of the conversion, one at a time.
    let tell: @Sendable (ConversionEvent) -> Void

    /// File name of the output shard at a position.
    func outputName(_ position: Int) -> String {
        ConversionPlan.outputName(position, of: layout)
    }

    /// Path of the output shard at a position, in the directory of the unfinished output.
    func outputPath(_ position: Int) -> FilePath { work.path.appending(outputName(position)) }

    /// Sends the warnings of a plan that were not sent yet.
    func tellWarnings(_ plan: inout ConversionPlan) {
        for warning in plan.takeNewWarnings() { tell(.warning(warning)) }
    }
}
