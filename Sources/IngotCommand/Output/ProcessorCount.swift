#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// How many processors are online.
enum ProcessorCount {
    static var available: Int { Int(sysconf(CInt(_SC_NPROCESSORS_ONLN))) }
}
