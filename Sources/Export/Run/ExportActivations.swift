package import FileAccess
package import Moments
import Publishing
package import SystemPackage
package import TensorModel

/// The files that tell an export of the activations: moments, and in the second phase corrections through the first.
package struct ExportActivations: Sendable {
    /// The moments of the inputs of linear layers.
    let moments: MomentsFile
    /// Corrections of the output and down projections; nil outside the second phase.
    let correction: CorrectionFile?

    /// The moments alone: the first phase, or the only one.
    package init(_ moments: MomentsFile) { (self.moments, correction) = (moments, nil) }

    /// The second phase of an export: the same export once more, with corrected output and down projections.
    ///
    /// All other matrices come out as in the first phase, because an export is a function of its source, its calibration and its options.
    ///
    /// - Parameters:
    ///   - correction: the file of corrections.
    ///   - through: the export of the first phase, through which they were gathered.
    /// - Throws: `momentsInvalid` if the corrections were gathered through something else, or have other blocks than the moments.
    package init(_ moments: MomentsFile, correction path: FilePath, through: FilePath) throws {
        let correction = try CorrectionFile(path)
        let hash = try ExportManifest.hash(of: through)
        guard correction.description.through == hash.description else {
            throw IngotError(
                .momentsInvalid, file: path.string,
                found: "corrections through \(correction.description.through.prefix(40))",
                expected: "\(hash), the hash of the manifest of \(through)",
                remedy: "gather the corrections anew, through this export")
        }
        guard correction.description.blocks == moments.description.blocks else {
            throw IngotError(
                .momentsInvalid, file: path.string,
                found: "corrections in blocks `\(correction.description.blocks.text)`",
                expected: "`\(moments.description.blocks.text)`, as the moments have them")
        }
        (self.moments, self.correction) = (moments, correction)
    }

    /// What the manifest records.
    ///
    /// - Throws: errors of reading.
    func options() throws -> [JSONValue.Member] {
        func hash(_ file: MappedFile) throws -> JSONValue {
            .string(try file.hash(of: file.wholeRange).description)
        }
        return [.init("calibration_xxh3_128", try hash(moments.file))]
            + (try correction.map { [.init("correction_xxh3_128", try hash($0.file))] } ?? [])
    }
}
