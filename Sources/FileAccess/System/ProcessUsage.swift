#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// What this process has used so far, for reports.
public enum ProcessUsage {
    /// Bytes of memory that were resident at the worst moment, mapped files included.
    public static var peakResidentBytes: UInt64 {
        // Bytes on Darwin, kibibytes elsewhere.
        #if canImport(Darwin)
            UInt64(usage.ru_maxrss)
        #else
            UInt64(usage.ru_maxrss) * 1024
        #endif
    }

    /// Seconds of processor time, user and system, of all threads.
    public static var processorSeconds: Double {
        let usage = usage
        return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
            + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
    }

    private static var usage: rusage {
        var usage = rusage()
        #if canImport(Darwin)
            unsafe getrusage(RUSAGE_SELF, &usage)
        #else
            unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        #endif
        return usage
    }
}
