import FileAccess
package import SystemPackage
import TensorModel

/// Reads the peak memory from the report of `ingot convert --format json`.
package enum ConversionMemory {
    /// Peak resident memory in bytes of the conversion that made a checkpoint.
    ///
    /// - Parameter outputBytes: bytes of the checkpoint's weight files; the report must state the same number.
    /// - Throws: `reportInvalid` if the file is no such report, or is about another checkpoint.
    package static func read(_ path: FilePath, outputBytes: UInt64) throws -> UInt64 {
        func failure(_ found: String, _ expected: String) -> IngotError {
            IngotError(.reportInvalid, file: path.string, found: found, expected: expected)
        }
        let report: JSONValue
        do {
            report = try JSONValue.parse(try WholeFile.read(path, limit: Limits.standard.documentBytes))
        } catch let error as IngotError where error.code.kind == .badData {
            throw failure(error.found, "the JSON of a conversion")
        }
        guard report["schema"]?.string == "ingot.convert" else {
            throw failure("schema: \(report["schema"]?.summary ?? "missing")", "\"ingot.convert\"")
        }
        guard report["schema_version"]?.unsigned == 1 else {
            throw failure("schema_version: \(report["schema_version"]?.summary ?? "missing")", "1")
        }
        guard report["output_bytes"]?.unsigned == outputBytes else {
            throw failure(
                "output_bytes: \(report["output_bytes"]?.summary ?? "missing")",
                "\(outputBytes), the bytes of this checkpoint's weight files")
        }
        guard let peak = report["peak_resident_bytes"]?.unsigned, peak > 0 else {
            throw failure("peak_resident_bytes: \(report["peak_resident_bytes"]?.summary ?? "missing")", "bytes")
        }
        return peak
    }
}
