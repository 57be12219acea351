import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Reading: only regular files, only bytes that are there, and an error instead of a signal.
@Suite struct MappedFileTests {
    private static func range(_ start: UInt64, _ end: UInt64) throws -> ByteRange {
        try #require(ByteRange(start: start, end: end))
    }

    private static func code(_ path: FilePath) throws -> IngotError.Code {
        try #require(throws: IngotError.self) { _ = try MappedFile.open(path) }.code
    }

    @Test func rangesAndCopies() throws {
        let directory = try TemporaryDirectory()
        let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        try Files.write(bytes, to: directory.at("f"))
        let file = try MappedFile.open(directory.at("f"))
        #expect(file.byteCount == 10_000)
        #expect(try file.bytes(file.wholeRange) == bytes)
        #expect(try file.bytes(MappedFileTests.range(4095, 8193)) == Array(bytes[4095..<8193]))
        #expect(try file.bytes(MappedFileTests.range(10_000, 10_000)) == [])
        file.release(file.wholeRange)
        #expect(try file.bytes(MappedFileTests.range(1, 3)) == Array(bytes[1..<3]))
        for (start, end) in [(0, 10_001), (10_001, 10_001), (UInt64.max - 1, UInt64.max), (9_999, 1 << 62)] {
            let error = try #require(throws: IngotError.self) { try file.bytes(MappedFileTests.range(start, end)) }
            #expect(error.code == .invalidOffsets)
        }
    }

    @Test func pieces() throws {
        let directory = try TemporaryDirectory()
        let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }
        try Files.write(bytes, to: directory.at("f"))
        let file = try MappedFile.open(directory.at("f"))
        for size in [1, 7, 500, 999, 1000, 1001] {
            var seen: [UInt8] = []
            var counts: [UInt64] = []
            try file.forEachPiece(of: MappedFileTests.range(3, 1000), pieceBytes: size) { span, place in
                #expect(place.start == UInt64(seen.count) + 3 && Int(place.count) == span.count)
                counts.append(place.count)
                for index in span.indices { seen.append(span[index]) }
            }
            #expect(seen == Array(bytes[3...]))
            #expect(counts.dropLast().allSatisfy { $0 == UInt64(size) })
        }
        try file.forEachPiece(of: MappedFileTests.range(5, 5)) { _, _ in Issue.record("a piece of nothing") }
        #expect(try file.hash(of: MappedFileTests.range(3, 1000)) == ContentHash(of: Array(bytes[3...]).span))
    }

    @Test func emptyFile() throws {
        let directory = try TemporaryDirectory()
        try Files.write([], to: directory.at("f"))
        let file = try MappedFile.open(directory.at("f"))
        #expect(file.byteCount == 0)
        #expect(try file.bytes(file.wholeRange) == [])
        #expect(try file.hash(of: file.wholeRange) == ContentHash(of: [UInt8]().span))
    }

    @Test func whatIsNoFile() throws {
        let directory = try TemporaryDirectory()
        #expect(try MappedFileTests.code(directory.path) == .notARegularFile)
        #expect(try MappedFileTests.code("/dev/zero") == .notARegularFile)
        #expect(try MappedFileTests.code("/dev/null") == .notARegularFile)
        #expect(try MappedFileTests.code(directory.at("nothing")) == .noInput)
        try Files.write("x", to: directory.at("f"))
        #expect(try MappedFileTests.code(directory.at("f").appending("below")).kind == .noInput)
        try FileManager.default.createSymbolicLink(
            atPath: directory.at("loop").string, withDestinationPath: "loop")
        #expect(try MappedFileTests.code(directory.at("loop")).kind == .noInput)
    }

    /// A FIFO without a writer is refused at once, without waiting for one.
    @Test func fifo() throws {
        let directory = try TemporaryDirectory()
        let program = Subprocess.find("mkfifo")
        let made = try Subprocess(program, [Array(directory.at("fifo").string.utf8)], environment: [:]).wait()
        try #require(made.status == 0)
        #expect(try MappedFileTests.code(directory.at("fifo")) == .notARegularFile)
    }

    @Test func linksAreFollowed() throws {
        let directory = try TemporaryDirectory()
        try Files.write("abc", to: directory.at("f"))
        try FileManager.default.createSymbolicLink(atPath: directory.at("link").string, withDestinationPath: "f")
        let file = try MappedFile.open(directory.at("link"))
        #expect(file.byteCount == 3)
        #expect(file.identity.isSameFile(as: try #require(FileIdentity(directory.at("f")))))
    }

    /// W07: a file cut short under the reader is an error, not SIGBUS; what is left stays readable.
    @Test func truncatedUnderTheReader() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("f")
        let bytes = [UInt8](repeating: 7, count: 1 << 20)
        try Files.write(bytes, to: path)
        let file = try MappedFile.open(path)
        try file.checkUnchanged()
        let handle = try FileDescriptor.open(path, .writeOnly)
        try handle.closeAfter { try handle.resize(to: 8192) }
        #expect(try file.bytes(MappedFileTests.range(0, 8192)) == Array(bytes.prefix(8192)))
        for (start, end) in [(UInt64(0), UInt64(1 << 20)), (8192, 8193), (1 << 19, 1 << 20)] {
            let error = try #require(throws: IngotError.self) { try file.bytes(MappedFileTests.range(start, end)) }
            #expect(error.code == .sourceChanged)
            #expect(error.file == path.string)
        }
        #expect(throws: IngotError.self) { try file.checkUnchanged() }
        let other = try MappedFile.open(path)
        #expect(try other.bytes(other.wholeRange).count == 8192)
    }

    /// Guarded reads on several threads at once do not meet.
    @Test func truncatedUnderManyReaders() async throws {
        let directory = try TemporaryDirectory()
        let (good, bad) = (directory.at("good"), directory.at("bad"))
        try Files.write([UInt8](repeating: 1, count: 1 << 18), to: good)
        try Files.write([UInt8](repeating: 2, count: 1 << 18), to: bad)
        let (whole, cut) = (try MappedFile.open(good), try MappedFile.open(bad))
        let handle = try FileDescriptor.open(bad, .writeOnly)
        try handle.closeAfter { try handle.resize(to: 0) }
        let results = await withTaskGroup(of: Bool.self) { group in
            for number in 0..<200 {
                group.addTask {
                    let bytes = try? (number % 2 == 0 ? whole : cut).bytes(whole.wholeRange)
                    return (bytes?.allSatisfy { $0 == 1 } ?? false) == (number % 2 == 0)
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(results.count == 200 && results.allSatisfy(\.self))
    }

    @Test(arguments: ["same bytes", "one byte", "longer", "gone"])
    func changedDuringTheRun(change: String) throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("f")
        try Files.write("abc", to: path)
        let file = try MappedFile.open(path)
        switch change {
        case "same bytes":
            try Directory.removeFile(path)
            try Files.write("new", to: directory.at("g"))
            try Directory.rename(directory.at("g"), to: path)
        case "one byte":
            // The time of change has the kernel's resolution, a few milliseconds.
            Thread.sleep(forTimeInterval: 0.02)
            try Files.patch([0], at: 1, in: path)
        case "longer": try Files.write("abcd", to: path)
        default: try Directory.removeFile(path)
        }
        let error = try #require(throws: IngotError.self) { try file.checkUnchanged() }
        #expect(error.code == .sourceChanged)
    }

    /// Values of the xxHash reference implementation.
    @Test func hashes() throws {
        #expect(ContentHash(of: [UInt8]().span).description == "99aa06d3014798d86001c324468d497f")
        #expect(ContentHash.checksum64([UInt8]().span) == 0x2D06_8005_38D3_94C2)
        let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 131) }
        let hasher = ContentHasher()
        for start in stride(from: 0, to: 5000, by: 313) {
            hasher.update(bytes.span.extracting(start..<min(5000, start + 313)))
        }
        let hash = ContentHash(of: bytes.span)
        #expect(hasher.finish() == hash)
        #expect(ContentHash(hexadecimal: hash.description) == hash)
        for text in [
            "", "0", hash.description.uppercased(), hash.description + "0", "+" + hash.description.dropFirst(),
        ] {
            #expect(ContentHash(hexadecimal: text) == nil, "\(text)")
        }
    }

    /// Rows by read(2) are the rows of the mapping, however little each call gives; a file that is not the one that was opened is an error.
    @Test(arguments: [1, 3, 4096]) func rowsByReading(maximum: Int) throws {
        let directory = try TemporaryDirectory()
        let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 8) }
        let path = directory.at("f")
        try Files.write(bytes, to: path)
        let file = try MappedFile.open(path)
        let range = try #require(ByteRange(start: 17, count: 100))
        var copied = [UInt8](repeating: 0, count: 3000)
        var read = copied
        try file.copy(range, rows: 25, stride: 391, into: &copied)
        let hook = SystemCallHook({ _ throws(Errno) in }, shorten: { _, _ in maximum })
        try SystemCallHook.$current.withValue(hook) { try file.read(range, rows: 25, stride: 391, into: &read) }
        #expect(read == copied && read[..<100].elementsEqual(bytes[17..<117]))
        try Files.write(Array(bytes.dropLast()), to: path)
        let error = try #require(throws: IngotError.self) { try file.read(range, rows: 1, stride: 0, into: &read) }
        #expect(error.code == .sourceChanged)
    }

    /// Hashed in place or from a copy: the same; a file that is cut short meanwhile is an error.
    @Test func hashesInPlace() throws {
        let directory = try TemporaryDirectory()
        let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 9) }
        let path = directory.at("f")
        try Files.write(bytes, to: path)
        let file = try MappedFile.open(path)
        for (start, end) in [(0, 3_000_000), (1, 2), (4095, 1_048_577), (2_999_999, 3_000_000), (5, 5)] {
            let range = try #require(ByteRange(start: UInt64(start), end: UInt64(end)))
            #expect(try file.hash(of: range) == ContentHash(of: bytes.span.extracting(start..<end)))
        }
        let handle = try FileDescriptor.open(path, .writeOnly)
        try handle.closeAfter { try handle.resize(to: 1000) }
        let error = try #require(throws: IngotError.self) { try file.hash(of: file.wholeRange) }
        #expect(error.code == .sourceChanged)
    }
}
