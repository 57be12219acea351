import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Writing: a name appears with all of its bytes or not at all.
@Suite struct WritingTests {
    /// Appends around the size of the buffer, zeros, and bytes written over afterwards.
    @Test func bytesOfAFile() throws {
        let directory = try TemporaryDirectory()
        var expected: [UInt8] = []
        var file = try AtomicFile(directory.at("f"))
        for (number, count) in [0, 1, 1 << 20, 5, (1 << 20) - 5, 6, 3 << 20, (1 << 20) - 1, 1, 1, 70_000].enumerated() {
            let bytes = [UInt8](repeating: UInt8(number + 1), count: count)
            try file.append(bytes.span)
            expected += bytes
            try file.appendZeros(UInt64(number * 1000))
            expected += [UInt8](repeating: 0, count: number * 1000)
            #expect(file.byteCount == UInt64(expected.count))
        }
        for offset in [0, 1, (1 << 20) - 2, expected.count - 3] {
            try file.overwrite([9, 8, 7].span, at: UInt64(offset))
            expected.replaceSubrange(offset..<offset + 3, with: [9, 8, 7])
        }
        #expect(Files.names(directory.path) == [".f.ingot-tmp"])
        try file.publish()
        #expect(Files.names(directory.path) == ["f"])
        #expect(try Files.read(directory.at("f")) == expected)
    }

    @Test func droppedFile() throws {
        let directory = try TemporaryDirectory()
        try Files.write("old", to: directory.at("f"))
        do {
            var file = try AtomicFile(directory.at("f"))
            try file.append([1, 2, 3].span)
            #expect(Files.names(directory.path).count == 2)
        }
        #expect(Files.names(directory.path) == ["f"])
        #expect(try Files.read(directory.at("f")) == Array("old".utf8))
    }

    /// The temporary file is created anew (O_EXCL): one that is there, or a link, is never written through.
    @Test func temporaryFileIsNew() throws {
        let directory = try TemporaryDirectory()
        try Files.write("victim", to: directory.at("victim"))
        try FileManager.default.createSymbolicLink(
            atPath: directory.at(".f.ingot-tmp").string, withDestinationPath: "victim")
        let error = try #require(throws: IngotError.self) { try WholeFile.write([1], to: directory.at("f")) }
        #expect(error.code == .cannotCreate)
        #expect(try Files.read(directory.at("victim")) == Array("victim".utf8))
    }

    @Test func modeFollowsTheMask() throws {
        let directory = try TemporaryDirectory()
        try WholeFile.write([1], to: directory.at("f"))
        try Files.write([1], to: directory.at("plain"))
        let attributes = try FileManager.default.attributesOfItem(atPath: directory.at("f").string)
        let mode = try #require(attributes[.posixPermissions] as? Int)
        #expect(mode & 0o111 == 0 && mode & 0o600 == 0o600)
    }

    @Test func copies() throws {
        let directory = try TemporaryDirectory()
        for count in [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000] {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            try Files.write(bytes, to: directory.at("from"))
            let result = try WholeFile.copy(directory.at("from"), to: directory.at("to"))
            #expect(try Files.read(directory.at("to")) == bytes)
            #expect(result.hash == ContentHash(of: bytes.span) && result.byteCount == UInt64(count))
        }
        #expect(throws: IngotError.self) { try WholeFile.read(directory.at("from"), limit: 2_999_999) }
    }
}
