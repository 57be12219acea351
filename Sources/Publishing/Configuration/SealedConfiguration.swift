package import Container
import FileAccess
import SystemPackage
import TensorModel

extension SealedCheckpoint {
    /// Requires that `config.json` describes the checkpoint: its last member is the one that a conversion adds, with the options of the
    /// manifest (Specs/container.md, section 10, rule D2). Call it after `checkFiles()`, which finds accidental damage.
    ///
    /// - Throws: `manifestInvalid`; `headerSyntax` or a similar code if the file is not a JSON object.
    package func checkConfiguration() throws {
        guard manifest.files.contains(where: { $0.name == CompanionFiles.configuration }) else { return }
        let path = path.appending(CompanionFiles.configuration)
        let file = try ConfigurationFile(reading: path)
        guard try file.isQuantized(by: manifest.options) else {
            throw IngotError(
                .manifestInvalid, file: path.string,
                found: "a configuration whose last member is not the conversion's `quantization_config`",
                expected: "`quant_method` `ingot`, `format_version` 1 and the options of the manifest, at the end")
        }
    }
}
