import FileAccess
import Foundation
import Synchronization
package import SystemPackage

/// Directory of one test; removed with its content when the value is released.
package final class TemporaryDirectory: Sendable {
    /// Its path.
    package let path: FilePath

    /// Creates a directory with a new name.
    package init() throws {
        let name = "ingot-test-\(String(UInt64.random(in: 0...UInt64.max), radix: 36))"
        path = FilePath(FileManager.default.temporaryDirectory.path).appending(name)
        try Directory.create(path)
    }

    deinit { try? Directory.removeTree(path) }

    private static let kept = Mutex<[FilePath]>([])

    /// Creates a directory for static values of all tests; removed when the process ends.
    package static func untilExit() throws -> TemporaryDirectory {
        let directory = try TemporaryDirectory()
        let isFirst = kept.withLock { paths in
            paths.append(directory.path)
            return paths.count == 1
        }
        if isFirst {
            atexit { for path in TemporaryDirectory.kept.withLock(\.self) { try? Directory.removeTree(path) } }
        }
        return directory
    }

    /// Path of an entry of the directory.
    package func at(_ name: String) -> FilePath { path.appending(name) }
}

/// Simple access to whole small files, independent of the code under test.
package enum Files {
    /// Writes a file and replaces an existing one.
    package static func write(_ bytes: [UInt8], to path: FilePath) throws {
        let file = try FileDescriptor.open(
            path, .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite, .groupRead, .otherRead])
        try file.closeAfter { _ = try file.writeAll(bytes) }
    }

    /// Writes a text file.
    package static func write(_ text: String, to path: FilePath) throws { try write(Array(text.utf8), to: path) }

    /// Overwrites bytes of a file in place.
    package static func patch(_ bytes: [UInt8], at offset: Int, in path: FilePath) throws {
        let file = try FileDescriptor.open(path, .writeOnly)
        try file.closeAfter { _ = try file.writeAll(toAbsoluteOffset: Int64(offset), bytes) }
    }

    /// All bytes of a file.
    package static func read(_ path: FilePath) throws -> [UInt8] {
        let file = try MappedFile.open(path)
        return try file.bytes(file.wholeRange)
    }

    /// Sorted names in a directory; empty if there is no directory.
    package static func names(_ path: FilePath) -> [String] {
        (try? Directory.entries(path))?.map(\.name) ?? []
    }

    /// Bytes of every regular file below a directory, by relative path.
    package static func snapshot(_ path: FilePath) throws -> [String: [UInt8]] {
        var files: [String: [UInt8]] = [:]
        for entry in try Directory.entries(path) {
            let place = path.appending(entry.name)
            switch entry.target {
            case .file: files[entry.name] = try read(place)
            case .directory:
                for (name, bytes) in try snapshot(place) { files["\(entry.name)/\(name)"] = bytes }
            default: break
            }
        }
        return files
    }

    /// Copies a directory of regular files.
    package static func copyTree(_ from: FilePath, to target: FilePath) throws {
        try FileManager.default.copyItem(atPath: from.string, toPath: target.string)
    }
}
