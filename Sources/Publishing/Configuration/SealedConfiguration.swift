package import Container
import FileAccess
import SystemPackage
import TensorModel

extension SealedCheckpoint {
    /// Requires that a `config.json` says what the checkpoint is: its last member is the one that a conversion adds, with the options of the
    /// manifest (Specs/container.md, section 10, rule D2). For after `checkFiles()`, which finds accidents.
    ///
    /// - Throws: `manifestInvalid`; `headerSyntax` and its kin where the file is no JSON object.
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
