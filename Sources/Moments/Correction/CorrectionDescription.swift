import Checkpoints
import TensorModel

/// What a file of corrections says about its origin.
package struct CorrectionDescription: Sendable, Hashable {
    /// The rule of the blocks.
    package var blocks = MomentBlocks.usual
    /// Hash of the original model's weights; empty if it is not known.
    package var modelHash = ""
    /// XXH3-128 of the manifest of the conversion that the corrections are made through.
    package var through = ""
    /// The texts, as in a file of moments.
    package var texts: [MomentsDescription.Text] = []

    /// A description without a word about the origin.
    package init() {}

    /// The value of `format`.
    package static let format = "ingot.correction"
    private static let version = "1"

    /// The entries of `__metadata__`, in the order of the file.
    var metadata: [SafetensorsHeader.MetadataEntry] {
        [
            .init("format", CorrectionDescription.format), .init("format_version", CorrectionDescription.version),
            .init("blocks", blocks.text), .init("model", modelHash), .init("through", through),
            .init("texts", MomentsDescription.json(texts)),
        ]
    }

    /// Reads the entries of a file's `__metadata__`.
    ///
    /// - Throws: `momentsInvalid` if the file is none of corrections, or an entry is missing or wrong.
    init(_ metadata: [SafetensorsHeader.MetadataEntry]) throws {
        func entry(_ key: String) throws -> String {
            guard let value = metadata.value(of: key) else {
                throw IngotError(
                    .momentsInvalid, found: "no metadata entry `\(key)`",
                    expected: "a file of corrections, from a calibration through a conversion")
            }
            return value
        }
        let (format, version) = (try entry("format"), try entry("format_version"))
        guard format == CorrectionDescription.format, version == CorrectionDescription.version else {
            throw IngotError(
                .momentsInvalid, found: "the format `\(format.prefix(80))` \(version.prefix(20))",
                expected: "`\(CorrectionDescription.format)` \(CorrectionDescription.version)")
        }
        guard let blocks = MomentBlocks(text: try entry("blocks")) else {
            throw IngotError(.momentsInvalid, found: "unknown blocks", expected: "usual, full, diagonal or blocks:N")
        }
        self.blocks = blocks
        (modelHash, through) = (try entry("model"), try entry("through"))
        texts = try MomentsDescription.texts(try entry("texts"))
    }
}
