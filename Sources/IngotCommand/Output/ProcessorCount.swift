#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// How many processors this process may use.
enum ProcessorCount {
    static var available: Int { Int(sysconf(CInt(_SC_NPROCESSORS_ONLN))) }
}
