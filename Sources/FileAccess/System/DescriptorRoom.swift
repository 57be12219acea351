internal import SystemPackage
internal import TensorModel

/// Whether the process may open the files it is going to work with.
package enum DescriptorRoom {
    /// Holds `count` descriptors open at once, and closes them.
    ///
    /// The event loop of the runtime needs two or three descriptors, and ends the process by a signal if it gets none.
    ///
    /// - Throws: `inputOutput` if fewer can be opened.
    package static func require(_ count: Int) throws {
        var opened: [FileDescriptor] = []
        defer { for descriptor in opened { try? descriptor.close() } }
        while opened.count < count {
            do {
                opened.append(try FileDescriptor.open(FilePath("/"), .readOnly, options: [.closeOnExec]))
            } catch let error as Errno {
                // A root directory that cannot be read says nothing about descriptors.
                guard [.tooManyOpenFiles, .tooManyOpenFilesInSystem].contains(error) else { return }
                throw IngotError(
                    .inputOutput,
                    found: "room for \(opened.count) more open files: \(error) (errno \(error.rawValue))",
                    expected: "room for \(count)", remedy: "raise the limit, with `ulimit -n 64` or more")
            }
        }
    }
}
