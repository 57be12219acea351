internal import SystemPackage
internal import TensorModel

/// Checks that the process can open the files it needs.
package enum DescriptorRoom {
    /// Opens `count` descriptors at the same time, and closes them.
    ///
    /// The event loop of the runtime needs two or three descriptors. If it gets none, it kills the process with a signal.
    ///
    /// - Throws: `inputOutput` if fewer can be opened.
    package static func require(_ count: Int) throws {
        var opened: [FileDescriptor] = []
        defer { for descriptor in opened { try? descriptor.close() } }
        while opened.count < count {
            do {
                opened.append(try FileDescriptor.open(FilePath("/"), .readOnly, options: [.closeOnExec]))
            } catch let error as Errno {
                // If the root directory cannot be read, that tells nothing about descriptors.
                guard [.tooManyOpenFiles, .tooManyOpenFilesInSystem].contains(error) else { return }
                throw IngotError(
                    .inputOutput,
                    found: "room for \(opened.count) more open files: \(error) (errno \(error.rawValue))",
                    expected: "room for \(count)", remedy: "raise the limit, with `ulimit -n 64` or more")
            }
        }
    }
}
