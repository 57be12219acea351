import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Lines that are there whole or not at all.
@Suite struct RecordFileTests {
    private static let lines = ["begin", "", "{\"a\": 1}", String(repeating: "x", count: 70_000)].map { Array($0.utf8) }

    private func write(_ path: FilePath) throws -> [UInt8] {
        var file = try RecordFile.open(path)
        #expect(file.lines.isEmpty)
        try file.append([RecordFileTests.lines[0]])
        try file.append(Array(RecordFileTests.lines[1...]))
        return try Files.read(path)
    }

    @Test func grows() throws {
        let directory = try TemporaryDirectory()
        _ = try write(directory.at("f"))
        var file = try RecordFile.open(directory.at("f"))
        #expect(file.lines == RecordFileTests.lines)
        try file.append([[1, 2, 3]])
        #expect(try RecordFile.open(directory.at("f")).lines == RecordFileTests.lines + [[1, 2, 3]])
    }

    /// Cut short anywhere, the whole lines remain; what is appended next stands behind them.
    @Test func cutAnywhere() throws {
        let directory = try TemporaryDirectory()
        let bytes = try write(directory.at("whole"))
        let path = directory.at("f")
        for count in Array(0..<60) + [500, bytes.count - 1, bytes.count] {
            try Files.write(Array(bytes.prefix(count)), to: path)
            var file = try RecordFile.open(path)
            #expect(RecordFileTests.lines.starts(with: file.lines), "\(count) bytes")
            let whole = bytes.prefix(count).count { $0 == UInt8(ascii: "\n") }
            #expect(file.lines.count == whole, "\(count) bytes")
            let before = file.lines
            try file.append([[7]])
            #expect(try RecordFile.open(path).lines == before + [[7]], "\(count) bytes")
        }
    }

    /// A changed byte ends the file there: in the text, the checksum, the space and the newline.
    @Test func changedAnywhere() throws {
        let directory = try TemporaryDirectory()
        let bytes = try write(directory.at("whole"))
        let path = directory.at("f")
        var line = 0
        for index in 0..<60 {
            var changed = bytes
            changed[index] ^= 1
            try Files.write(changed, to: path)
            #expect(try RecordFile.open(path).lines == Array(RecordFileTests.lines.prefix(line)), "byte \(index)")
            if bytes[index] == UInt8(ascii: "\n") { line += 1 }
        }
    }

    @Test func linkIsRefused() throws {
        let directory = try TemporaryDirectory()
        try Files.write("victim", to: directory.at("victim"))
        try FileManager.default.createSymbolicLink(atPath: directory.at("f").string, withDestinationPath: "victim")
        #expect(throws: IngotError.self) { _ = try RecordFile.open(directory.at("f")) }
        #expect(try Files.read(directory.at("victim")) == Array("victim".utf8))
    }
}
