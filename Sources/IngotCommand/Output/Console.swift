import SystemPackage
import TensorModel

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The two streams of the command; nothing else of the project writes to them.
enum Console {
    /// Writes a result to standard output, with a newline.
    ///
    /// A closed reader (`ingot inspect x | head`) is no error; a full disk is.
    static func result(_ text: String) { result(parts: CollectionOfOne(text + "\n")) }

    /// Writes JSON to standard output, indented.
    static func result(_ json: JSONValue) { result(IngotErrorRenderer.json(json.text(indented: true))) }

    /// Writes a result in parts, a few of them at a time.
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
            // Nobody reads the rest; the exit status still tells how it went.
            return
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

    /// Whether every argument is UTF-8; Swift replaces other bytes, and a path would lead elsewhere.
    static var hasTextArguments: Bool {
        for index in 0..<Int(CommandLine.argc) {
            guard let argument = unsafe CommandLine.unsafeArgv[index] else { continue }
            if unsafe String(validatingCString: argument) == nil { return false }
        }
        return true
    }

    /// A variable of the environment.
    static func variable(_ name: String) -> String? { unsafe getenv(name).map { unsafe String(cString: $0) } }

    /// The time, in seconds since 1970.
    static var secondsSinceEpoch: Int { time(nil) }

    /// Columns of the terminal on standard output; nil where it is none.
    static var width: Int? { isatty(1) == 1 ? columns(of: 1) : nil }

    /// Columns of the terminal on standard error.
    static var errorWidth: Int { columns(of: 2) }

    private static func columns(of descriptor: CInt) -> Int {
        var size = winsize()
        guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// Whether standard error is a terminal that progress may be drawn on.
    static var showsProgress: Bool {
        guard isatty(2) == 1 else { return false }
        return variable("TERM").map { $0 != "dumb" } ?? false
    }
}
