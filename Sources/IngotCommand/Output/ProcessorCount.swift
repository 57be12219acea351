#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Number of processors.
enum ProcessorCount {
    /// Processors that are online.
    static var available: Int { Int(sysconf(CInt(_SC_NPROCESSORS_ONLN))) }
}
