import SystemPackage

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// The resources that this process has used so far, for reports.
package enum ProcessUsage {
    /// Peak resident memory in bytes, mapped files included.
    ///
    /// On Linux this is `VmHWM` of `/proc/self/status`. The maximum of getrusage(2) is not used there: it starts with the resident memory
    /// of the parent process.
    package static var peakResidentBytes: UInt64 {
        #if canImport(Darwin)
            UInt64(usage.ru_maxrss)
        #else
            peakOfProcFileSystem ?? UInt64(usage.ru_maxrss) * 1024
        #endif
    }

    /// Processor time of all threads in seconds, user and system.
    package static var processorSeconds: Double {
        let usage = usage
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    /// The value of a line such as `VmHWM:     1234 kB`, in bytes; nil if it cannot be read.
    private static var peakOfProcFileSystem: UInt64? {
        guard let file = try? FileDescriptor.open(FilePath("/proc/self/status"), .readOnly) else { return nil }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = try? file.closeAfter {
            try unsafe bytes.withUnsafeMutableBytes { try unsafe file.read(into: $0) }
        }
        let text = String(decoding: bytes.prefix(count ?? 0), as: UTF8.self)
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        let number = line?.drop { !$0.isNumber }.prefix { $0.isNumber }
        return number.flatMap { UInt64($0) }.map { $0 * 1024 }
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
