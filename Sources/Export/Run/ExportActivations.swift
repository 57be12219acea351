package import FileAccess
package import Moments
import Publishing
package import SystemPackage
package import TensorModel
package import Weights

/// The files that tell an export of the activations: moments, and in the second phase corrections through the first.
package struct ExportActivations: Sendable {
    /// The moments of the inputs of linear layers.
    let moments: MomentsFile
    /// XXH3-128 of their file.
    private let hash: ContentHash
    /// Corrections of the output and down projections; nil outside the second phase.
    let correction: CorrectionFile?

    /// The moments alone: the first phase, or the only one.
    ///
    /// - Parameter hash: XXH3-128 of the file.
    package init(_ moments: MomentsFile, hash: ContentHash) {
        (self.moments, self.hash, correction) = (moments, hash, nil)
    }

    /// The second phase of an export: the same export once more, with corrected output and down projections.
    ///
    /// All other matrices come out as in the first phase, because an export is a function of its source, its calibration and its options.
    ///
    /// - Parameters:
    ///   - correction: the file of corrections.
    ///   - through: the export of the first phase, through which they were gathered.
    /// - Throws: `momentsInvalid` if the corrections were gathered through something else, or have other blocks than the moments.
    package init(_ moments: MomentsFile, hash own: ContentHash, correction path: FilePath, through: FilePath) throws {
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
        (self.moments, self.hash, self.correction) = (moments, own, correction)
    }

    private init(_ moments: MomentsFile, _ hash: ContentHash, _ correction: CorrectionFile?) {
        (self.moments, self.hash, self.correction) = (moments, hash, correction)
    }

    /// The moments alone.
    var withoutCorrection: ExportActivations { ExportActivations(moments, hash, nil) }

    /// Requires gradients, which tell what the errors of a matrix cost.
    ///
    /// - Parameter path: the file as the user named it.
    /// - Throws: `momentsInvalid` if the file has none.
    package func requireGradients(of path: FilePath) throws {
        guard moments.gradientMatrices.isEmpty else { return }
        throw IngotError(
            .momentsInvalid, file: path.string, found: "no gradients",
            expected: "gradients of the matrices, which tell where bits matter",
            remedy: "make the file with ingot calibrate")
    }

    /// Requires that the file tells of at least one matrix of a source.
    ///
    /// - Parameter path: the file as the user named it.
    /// - Throws: `momentsInvalid` if it does not.
    package func requireUse(by source: OpenedCheckpoint, of path: FilePath) throws {
        let isUsed = source.tensors.contains { tensor in
            tensor.shape.isMatrix && moments.inputs(of: tensor.name, tensor.shape).contains { $0.input != nil }
        }
        guard !isUsed else { return }
        throw IngotError(
            .momentsInvalid, file: path.string, found: "moments of no matrix of \(source.path)",
            expected: "moments of this model", remedy: "gather them on the model that is exported")
    }

    /// What the manifest records.
    ///
    /// - Throws: errors of reading.
    func options() throws -> [JSONValue.Member] {
        let corrected = try correction.map { try $0.file.hash(of: $0.file.wholeRange) }
        return [.init("calibration_xxh3_128", .string(hash.description))]
            + (corrected.map { [.init("correction_xxh3_128", .string($0.description))] } ?? [])
    }
}
