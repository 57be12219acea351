import ArgumentParser
import Conversion
import FileAccess
import Moments
import SystemPackage
import TensorModel

/// The option of a calibrated conversion.
struct CalibrationOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Moments of the inputs of linear layers, from ingot calibrate, or an importance matrix of llama.cpp: spends bits \
            where the model needs them. --bits is then the average over the linear layers.
            """, valueName: "file"))
    var calibration: FilePath?

    /// Opens the file; nil if none was given.
    ///
    /// - Throws: `momentsInvalid`; errors of reading.
    func moments(beside destination: FilePath) throws -> CalibrationMoments? {
        guard let calibration else { return nil }
        return try CalibrationMoments(opening: calibration, scratch: destination.removingLastComponent())
    }
}
