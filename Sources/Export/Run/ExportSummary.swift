import Checkpoints
import Container
import FileAccess
package import Publishing
package import SystemPackage
package import TensorModel
package import Weights

/// Counts of an export.
package struct ExportSummary: Sendable {
    /// Bytes of the files of weights.
    package let byteCount: UInt64
    /// Number of files of weights, and of tensors.
    package let files: Int, tensors: Int
    /// What was left out or changed.
    package let warnings: [IngotWarning]
    /// The types that were chosen for a size, as names, and the number of matrices of each; empty if types were stated.
    package let chosen: [(type: String, matrices: Int)]

    init(
        byteCount: UInt64, files: Int, tensors: Int, warnings: [IngotWarning],
        chosen: [(type: String, matrices: Int)] = []
    ) {
        (self.byteCount, self.files, self.tensors) = (byteCount, files, tensors)
        (self.warnings, self.chosen) = (warnings, chosen)
    }
}

extension [RowEncoding] {
    /// How many there are of each encoding of codes, by name, from the fewest bits on.
    var counts: [(type: String, matrices: Int)] {
        var counts: [String: (bits: Double, matrices: Int)] = [:]
        for encoding in self {
            switch encoding {
            case .blocks(let type, _):
                counts[type.name, default: (type.bitsPerWeight, 0)].matrices += 1
            case .groups(let groups), .sameGroups(let groups):
                counts["\(groups.bits) bits", default: (Double(groups.bits), 0)].matrices += 1
            case .stored, .elements, .sameParts, .microscaling, .sameMicroscaling: break
            }
        }
        return counts.sorted { ($0.value.bits, $0.key) < ($1.value.bits, $1.key) }.map { ($0.key, $0.value.matrices) }
    }
}

extension OpenedCheckpoint {
    /// Checks that need no weights, before an export: the files of a sealed checkpoint, a quantization that Ingot does not decode, scales.
    ///
    /// - Returns: warnings about scales.
    /// - Throws: errors of the checks.
    func checkForExport(to output: FilePath) throws -> [IngotWarning] {
        try PathOverlap.refuse(source: path, destination: output)
        if let sealed {
            try sealed.checkFiles()
            try sealed.checkConfiguration()
            guard !tensors.contains(where: { $0.descriptor?.holdsCodes == true }) else {
                throw IngotError(
                    .unsupportedSource, file: path.string, found: "a checkpoint that keeps the codes of its source",
                    expected: "weights", remedy: "export it as safetensors first, and then that export")
            }
        }
        if case .plain(let plain) = content { try CompanionFiles(of: plain.layout).refuseQuantizedSource() }
        try checkKept { _ in true }
        return try checkScales()
    }
}

extension ExportRun {
    /// Requires free disk space for an export before its first byte is written.
    ///
    /// - Throws: `outOfSpace`.
    static func requireRoom(_ bytes: UInt64, for output: FilePath) throws {
        let parent = output.lexicallyNormalized().removingLastComponent()
        guard let free = Directory.freeBytes(parent.isEmpty ? "." : parent), free < bytes else { return }
        throw IngotError(
            .outOfSpace, file: output.string, found: "\(free) bytes free for the output",
            expected: "room for its weights, \(bytes) bytes")
    }
}

extension ExportManifest {
    /// The manifest of a directory whose files of weights have been hashed; hashes all other files.
    ///
    /// - Throws: errors of reading.
    init(options: [JSONValue.Member], weights: [File], in directory: FilePath) throws {
        let known = Set(weights.map { TensorName($0.name) })
        let others = try Directory.tree(directory).filter { !known.contains(TensorName($0.0)) }.map { name, _ in
            let file = try MappedFile.open(directory.pushing(FilePath(name)))
            return File(name: name, byteCount: file.byteCount, hash: try file.hash(of: file.wholeRange))
        }
        self.init(options: options, files: weights + others)
    }
}
