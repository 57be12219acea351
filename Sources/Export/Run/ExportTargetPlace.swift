import FileAccess
import Publishing
import SystemPackage
import TensorModel

/// Where an export appears: a directory, or files beside each other in a directory that exists.
struct ExportTargetPlace {
    private let output: FilePath
    private let isFile: Bool
    private let force: Bool

    /// A place.
    ///
    /// - Parameters:
    ///   - isFile: whether `output` is a file, or stands for the parts of one.
    ///   - force: whether an earlier export may be replaced.
    init(_ output: FilePath, isFile: Bool, force: Bool) {
        (self.output, self.isFile, self.force) = (output, isFile, force)
    }

    private var parent: FilePath {
        let parent = output.removingLastComponent()
        return parent.isEmpty ? "." : parent
    }

    /// Begins to build the files.
    ///
    /// - Parameter names: the names of the files.
    /// - Throws: `cannotCreate` if something is there that is no earlier export, or may not be replaced.
    func begin(_ names: [String]) throws -> DirectoryBuilder {
        guard isFile else {
            return try DirectoryBuilder.begin(
                output, replaceable: force ? { try ExportManifest.requireReplaceable($0) } : nil)
        }
        // Files are built in a directory of their own beside them, and moved out of it at the end.
        let builder = try DirectoryBuilder.begin(
            parent.appending((output.lastComponent?.string ?? "") + ".files"), replaceable: nil)
        try requireFree(names)
        return builder
    }

    private func requireFree(_ names: [String]) throws {
        let existing = try (names + [output.lastComponent?.string ?? ""]).filter {
            try Directory.kind(parent.appending($0)) != nil
        }
        guard let first = existing.first else { return }
        guard force else { try DirectoryBuilder.refuseExisting(parent.appending(first)) }
        let manifest = try ExportManifest(of: output)
        let known = Set((manifest?.files ?? []).map { TensorName($0.name) })
        guard let manifest, existing.allSatisfy({ known.contains(TensorName($0)) }) else {
            throw IngotError(
                .cannotCreate, file: parent.appending(first).string, found: "a file that no export made",
                expected: "an earlier export, which may be replaced",
                remedy: "choose another place for the output, or move this one away")
        }
        try manifest.check(in: parent)
    }

    /// Makes the files appear, the manifest last.
    func publish(_ builder: consuming DirectoryBuilder, _ manifest: ExportManifest, mode: NewFileMode) throws {
        guard isFile else {
            try WholeFile.write(
                manifest.bytes, to: builder.staging.appending(ExportManifest.fileName), mode: mode)
            return try builder.publish()
        }
        for file in manifest.files {
            try Directory.rename(builder.staging.appending(file.name), to: parent.appending(file.name))
        }
        try Directory.synchronize(parent)
        let place = parent.appending((output.lastComponent?.string ?? "") + ExportManifest.suffix)
        if try Directory.kind(place) != nil { try Directory.removeFile(place) }
        try WholeFile.write(manifest.bytes, to: place, mode: mode)
    }
}
