import CSystemCalls
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The copy that FileAccess reads mapped files with.
struct GuardedCopyTests {
    @Test func survivesAFileCutShort() throws {
        #expect(ingot_guarded_copy_install() == 0)
        #expect(ingot_guarded_copy_install() == 0)
        let page = 65536
        var template = Array("/tmp/ingot-guarded-copy-XXXXXX".utf8CString)
        let descriptor = unsafe mkstemp(&template)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        unsafe unlink(template)
        try #require(ftruncate(descriptor, off_t(4 * page)) == 0)
        let mapping = unsafe mmap(nil, 4 * page, PROT_READ, MAP_SHARED, descriptor, 0)
        let start = try unsafe #require(mapping == MAP_FAILED ? nil : mapping)
        defer { unsafe munmap(start, 4 * page) }
        var copy = [UInt8](repeating: 1, count: 4 * page)
        #expect(unsafe ingot_guarded_copy(&copy, start, 4 * page) == 0)
        #expect(copy.allSatisfy { $0 == 0 })
        // More than once: the signal must not stay blocked.
        for _ in 0..<3 {
            try #require(ftruncate(descriptor, off_t(page)) == 0)
            #expect(unsafe ingot_guarded_copy(&copy, start, 4 * page) == -1)
            #expect(unsafe ingot_guarded_copy(&copy, start + 2 * page, page) == -1)
            #expect(unsafe ingot_guarded_copy(&copy, start, page) == 0)
            try #require(ftruncate(descriptor, off_t(4 * page)) == 0)
            #expect(unsafe ingot_guarded_copy(&copy, start, 4 * page) == 0)
        }
    }

    #if os(Linux)
        @Test func otherFaultsEndTheProcess() async {
            await #expect(processExitsWith: .signal(SIGBUS)) {
                guard ingot_guarded_copy_install() == 0 else { exit(1) }
                raise(SIGBUS)
            }
        }

        @Test func interruptsAreRecorded() async {
            await #expect(processExitsWith: .exitCode(7)) {
                guard ingot_interrupt_install() == 0, ingot_interrupt_received() == 0 else { exit(1) }
                // Sent to the process, as threads of the pool block signals: another one runs the handler, soon.
                func send(_ number: Int32) -> Bool {
                    kill(getpid(), number)
                    var patience = 60_000
                    while ingot_interrupt_received() != number, patience > 0 {
                        usleep(1000)
                        patience -= 1
                    }
                    return ingot_interrupt_received() == number
                }
                kill(getpid(), SIGPIPE)
                kill(getpid(), SIGXFSZ)
                guard send(SIGTERM) else { exit(2) }
                guard send(SIGINT) else { exit(3) }
                exit(7)
            }
        }
    #endif
}
