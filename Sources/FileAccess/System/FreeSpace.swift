package import SystemPackage
internal import TensorModel

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

extension Directory {
    /// Free bytes on the file system of a path; nil if it does not tell, as some file systems without a fixed size.
    package static func freeBytes(_ path: FilePath) -> UInt64? {
        var about = statvfs()
        guard unsafe statvfs(path.string, &about) == 0, about.f_blocks > 0 else { return nil }
        return Checked.multiply(UInt64(about.f_bfree), UInt64(about.f_frsize))
    }
}
