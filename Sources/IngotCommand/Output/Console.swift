import SystemPackage
import TensorModel

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Standard output and standard error. No other file writes to them.
enum Console {
    /// Writes a result and a newline to standard output.
    ///
    /// If nobody reads the rest (`ingot inspect x | head`), it is dropped without an error. Any other error ends the process with 74.
    static func result(_ text: String) { result(parts: CollectionOfOne(text + "\n")) }

    /// Writes indented JSON to standard output.
    static func result(_ json: JSONValue) { result(IngotErrorRenderer.json(json.text(indented: true))) }

    /// Writes a result in parts, collected into writes of 1 MiB or more.
    static func result(parts: some Sequence<String>) {
        var pending: [UInt8] = []
        do {
            for part in parts {
                pending += part.utf8
                guard pending.count >= 1 << 20 else { continue }
                _ = try FileDescriptor.standardOutput.writeAll(pending)
                pending.removeAll(keepingCapacity: true)
            }
            _ = try FileDescriptor.standardOutput.writeAll(pending)
        } catch Errno.brokenPipe {
            // Nobody reads the rest. The exit status still tells the outcome.
            return
        } catch {
            message("error: inputOutput: standard output cannot be written: \(error)")
            exit(74)
        }
    }

    /// Writes a message and a newline to standard error, after removing the progress bar.
    static func message(_ text: String) {
        Progress.clear()
        _ = try? FileDescriptor.standardError.writeAll((text + "\n").utf8)
    }

    /// Writes text to standard error unchanged.
    static func raw(_ text: String) { _ = try? FileDescriptor.standardError.writeAll(text.utf8) }

    /// Ends the process with an exit status.
    static func exit(_ status: Int32) -> Never {
        #if canImport(Glibc)
            Glibc.exit(status)
        #else
            Darwin.exit(status)
        #endif
    }

    /// Whether every argument is UTF-8. Swift replaces invalid bytes, so such a path would name another file.
    static var hasTextArguments: Bool {
        for index in 0..<Int(CommandLine.argc) {
            guard let argument = unsafe CommandLine.unsafeArgv[index] else { continue }
            if unsafe String(validatingCString: argument) == nil { return false }
        }
        return true
    }

    /// Value of an environment variable; nil if it is not set.
    static func variable(_ name: String) -> String? { unsafe getenv(name).map { unsafe String(cString: $0) } }

    /// Current time in seconds since 1970.
    static var secondsSinceEpoch: Int { time(nil) }

    /// Columns of the terminal on standard output; nil if it is no terminal.
    static var width: Int? { isatty(1) == 1 ? columns(of: 1) : nil }

    /// Columns of the terminal on standard error; 80 if unknown.
    static var errorWidth: Int { columns(of: 2) }

    private static func columns(of descriptor: CInt) -> Int {
        var size = winsize()
        guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// Whether standard error is a terminal that can draw a progress bar.
    static var showsProgress: Bool {
        guard isatty(2) == 1 else { return false }
        return variable("TERM").map { $0 != "dumb" } ?? false
    }
}
