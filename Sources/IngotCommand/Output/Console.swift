import SystemPackage

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The two streams of the command; nothing else of the project writes to them.
enum Console {
    /// Writes a result to standard output, with a newline.
    ///
    /// A closed reader (`ingot inspect x | head`) ends the command quietly; a full disk does not.
    static func result(_ text: String) {
        do {
            _ = try FileDescriptor.standardOutput.writeAll((text + "\n").utf8)
        } catch Errno.brokenPipe {
            exit(0)
        } catch {
            message("error: inputOutput: standard output cannot be written: \(error)")
            exit(74)
        }
    }

    /// Writes a message to standard error, with a newline.
    static func message(_ text: String) {
        Progress.clear()
        _ = try? FileDescriptor.standardError.writeAll((text + "\n").utf8)
    }

    /// Writes text to standard error as it is.
    static func raw(_ text: String) { _ = try? FileDescriptor.standardError.writeAll(text.utf8) }

    /// Ends the process.
    static func exit(_ status: Int32) -> Never {
        #if canImport(Glibc)
            Glibc.exit(status)
        #else
            Darwin.exit(status)
        #endif
    }

    /// Columns of the terminal on standard output; nil where it is none.
    static var width: Int? {
        guard isatty(1) == 1 else { return nil }
        var size = winsize()
        guard unsafe ioctl(1, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// Whether standard error is a terminal that progress may be drawn on.
    static var showsProgress: Bool {
        guard isatty(2) == 1 else { return false }
        return unsafe getenv("TERM").map { unsafe String(cString: $0) != "dumb" } ?? false
    }
}
