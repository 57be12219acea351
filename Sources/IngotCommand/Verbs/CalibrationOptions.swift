import ArgumentParser
import Conversion
import FileAccess
import Moments
import SystemPackage
import TensorModel
import Weights

/// The option of a calibrated conversion.
struct CalibrationOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Moments of the inputs of linear layers, from ingot calibrate, or an importance matrix of llama.cpp: spends bits \
            where the model needs them. --bits is then the average over the linear layers.
            """, valueName: "file"))
    var calibration: FilePath?

    @Option(
        help: ArgumentHelp(
            "With --calibration and --through: corrections from ingot calibrate --through, for a second phase.",
            valueName: "file"))
    var correction: FilePath?

    @Option(
        help: ArgumentHelp(
            "The first phase: a conversion of SOURCE with the same --calibration and --bits. Output and down projections are encoded again, all other matrices are copied.",
            valueName: "checkpoint"))
    var through: FilePath?

    @OptionGroup var texts: TextSources

    @Option(
        help: ArgumentHelp(
            "With --text or --ids: keep moments, first phase and corrections in this directory.",
            valueName: "directory"))
    var keepIntermediates: FilePath?

    func validate() throws {
        guard calibration == nil || texts.areMissing else {
            throw ValidationError("--calibration and --text or --ids exclude each other.")
        }
        guard keepIntermediates == nil || !texts.areMissing else {
            throw ValidationError("--keep-intermediates needs --text or --ids.")
        }
        guard (correction == nil) == (through == nil), correction == nil || calibration != nil else {
            throw ValidationError("--correction and --through go together, and with --calibration.")
        }
    }

    /// Opens the file; nil if none was given.
    ///
    /// - Throws: `momentsInvalid`; errors of reading.
    func moments(beside destination: FilePath) throws -> CalibrationMoments? {
        guard let calibration else { return nil }
        let moments = try CalibrationMoments(opening: calibration, scratch: destination.removingLastComponent())
        guard let correction, let through else { return moments }
        return try moments.after(FirstPhase(through: through, correction: correction))
    }
}

extension MomentsFile {
    /// Requires that the file is one of a source. An importance matrix may have some of the inputs only, and always fits.
    ///
    /// - Parameter comparingWeights: whether the weights are hashed too, to find a file of another model with the same shapes.
    /// - Returns: a warning if the file is of another model with the same shapes.
    /// - Throws: `momentsInvalid`; errors of reading.
    func fitWarnings(_ source: OpenedCheckpoint, comparingWeights: Bool) throws -> [IngotWarning] {
        guard description.origin == .calibration else { return [] }
        let tensors = source.tensors.map { ($0.name, $0.shape) }
        let isCompared = comparingWeights && !description.modelHash.isEmpty
        return try requireFits(
            tensors, modelHash: isCompared ? source.contentIdentity().weights.description : "")
    }
}
