import Conversion
import FileAccess
import Inspection
import Moments
import SystemPackage
import TensorModel

extension Inspect {
    /// Shows files of moments and importance matrices of llama.cpp. They are inspected one at a time.
    ///
    /// - Returns: false if the paths are those of checkpoints.
    /// - Throws: `usage` for several paths with such a file among them, and for options that are about checkpoints.
    func inspectMoments(_ progress: Progress) throws -> Bool {
        for path in paths {
            guard let summary = try MomentsSummary.read(path, readsAll: !rows.headersOnly) else { continue }
            guard paths.count == 1 else {
                throw usage("\(path) among other paths: it is a file of moments", "one such file, and no other path")
            }
            guard rows.filters.isEmpty, rows.top == nil, rows.groupBy == .tensor, !rows.details, rows.sort == .file,
                rows.keyed.key == nil
            else { throw usage("options about tensors for a file of moments", "--headers-only, --format and -o alone") }
            for warning in summary.warnings { progress.show(.warning(warning)) }
            Progress.clear()
            switch output.format {
            case .text: try result.deliver(parts: MomentsText.parts(summary, result.style))
            case .json: try result.deliver(MomentsJSON.document(summary))
            case .csv: try result.deliver(parts: MomentsCSV.parts(summary))
            case .markdown, .html:
                throw usage("--format \(output.format.rawValue) for a file of moments", "text, json or csv")
            }
            return true
        }
        return false
    }

    private func usage(_ found: String, _ expected: String) -> IngotError {
        IngotError(.usage, found: found, expected: expected)
    }
}
