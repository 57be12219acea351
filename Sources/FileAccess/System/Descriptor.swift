internal import CSystemCalls
package import SystemPackage
package import TensorModel

#if canImport(Glibc)
    package import Glibc
#else
    package import Darwin
#endif

/// An open file, closed when the value goes away. Every call goes through the hook, and a failure becomes an `IngotError`.
package struct Descriptor: ~Copyable, Sendable {
    let number: CInt
    /// The path it was opened with, for messages.
    package let path: FilePath

    /// Opens a file. `code` is the code of the error if that fails.
    package init(_ path: FilePath, flags: CInt, mode: mode_t = 0, code: IngotError.Code) throws {
        self.path = path
        do {
            number = try repeating("open", path) {
                unsafe path.withPlatformString { unsafe open($0, flags | O_CLOEXEC, mode) }
            }
        } catch {
            throw error.ingotError("open", path, code: code)
        }
    }

    deinit { close(number) }

    /// The result of fstat(2).
    package func status() throws -> stat {
        var status = stat()
        do {
            _ = try repeating("fstat", path) { unsafe fstat(number, &status) }
        } catch {
            throw error.ingotError("fstat", path)
        }
        return status
    }

    /// Writes all of `bytes` at `offset`, in as many calls as needed.
    package func write(_ bytes: Span<UInt8>, at offset: UInt64) throws {
        var done = 0
        while done < bytes.count {
            do throws(Errno) {
                let length = SystemCallHook.byteCount("pwrite", path, bytes.count - done)
                let count = try repeating("pwrite", path) {
                    unsafe bytes.withUnsafeBytes {
                        unsafe pwrite(
                            number, $0.baseAddress.map { unsafe $0 + done }, length,
                            off_t(offset) + off_t(done))
                    }
                }
                guard count > 0 else { throw Errno.ioError }
                done += count
            } catch {
                throw error.ingotError("pwrite", path)
            }
        }
    }

    /// Reads `count` bytes at `offset` of the file into `buffer` at `start`. Returns the number of bytes read, which is smaller at the end
    /// of the file.
    package func read(into buffer: inout [UInt8], at start: Int, count: Int, from offset: UInt64) throws -> Int {
        precondition(start + count <= buffer.count)
        var done = 0
        while done < count {
            do throws(Errno) {
                let length = SystemCallHook.byteCount("pread", path, count - done)
                let read = try repeating("pread", path) {
                    unsafe buffer.withUnsafeMutableBytes {
                        unsafe pread(
                            number, $0.baseAddress.map { unsafe $0 + start + done }, length,
                            off_t(offset) + off_t(done))
                    }
                }
                guard read > 0 else { return done }
                done += read
            } catch {
                throw error.ingotError("pread", path)
            }
        }
        return done
    }

    /// Starts writing a range to the disk without waiting, so that `synchronize()` waits less.
    package func startWritingOut(_ start: UInt64, _ count: UInt64) { ingot_advise_write_out(number, start, count) }

    /// Drops the file's cached pages, so that the next read comes from the disk.
    package func dropCache() { ingot_advise_drop(number, 0, 0) }

    /// Cuts the file to its first `byteCount` bytes.
    package func truncate(to byteCount: UInt64) throws {
        do {
            _ = try repeating("ftruncate", path) { ftruncate(number, off_t(byteCount)) }
        } catch {
            throw error.ingotError("ftruncate", path)
        }
    }

    /// Sets the file's permissions, regardless of the umask. Does nothing on a file system without permissions.
    package func setPermissions(_ permissions: FilePermissions) throws {
        do {
            _ = try repeating("fchmod", path) { fchmod(number, permissions.rawValue) }
        } catch .notPermitted, .notSupported {
            // FAT reports this for a mode that it cannot store. The file is our own, so a missing right is not the cause.
        } catch {
            throw error.ingotError("fchmod", path)
        }
    }

    /// Waits until all written bytes are on the disk.
    package func synchronize() throws {
        do {
            #if canImport(Darwin)
                _ = try repeating("fcntl(F_FULLFSYNC)", path) { fcntl(number, F_FULLFSYNC) }
            #else
                _ = try repeating("fsync", path) { fsync(number) }
            #endif
        } catch {
            throw error.ingotError("fsync", path)
        }
    }

    /// Takes an exclusive lock on the file. Returns false if another process holds it.
    package func tryLock() throws -> Bool {
        do {
            _ = try repeating("flock", path) { flock(number, LOCK_EX | LOCK_NB) }
            return true
        } catch .wouldBlock {
            return false
        } catch {
            throw error.ingotError("flock", path)
        }
    }
}
