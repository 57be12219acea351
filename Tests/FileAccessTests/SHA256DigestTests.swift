import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// SHA-256 of files, against the vectors of FIPS 180 and another program.
@Suite struct SHA256DigestTests {
    @Test(arguments: [
        ("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        ("a", 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ])
    func vectors(text: String, count: Int, digest: String) throws {
        let directory = try TemporaryDirectory()
        let bytes = Array(repeating: Array(text.utf8), count: count).flatMap { $0 }
        try Files.write(bytes, to: directory.at("file"))
        #expect(SHA256Digest(of: bytes.span).description == digest)
        #expect(try SHA256Digest.of(directory.at("file")).description == digest)
        #expect(SHA256Digest(hexadecimal: digest.uppercased()) == SHA256Digest(of: bytes.span))
    }

    /// Sizes about those of a piece, and a symbolic link, as hub caches have them.
    @Test(arguments: [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_001])
    func anotherProgram(count: Int) throws {
        let directory = try TemporaryDirectory()
        var generator = SeededGenerator(UInt64(count))
        try Files.write((0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }, to: directory.at("file"))
        try FileManager.default.createSymbolicLink(
            atPath: directory.at("link").string, withDestinationPath: directory.at("file").string)
        let result = try Subprocess(
            Subprocess.find("sha256sum"), [Array(directory.at("file").string.utf8)], environment: [:]
        ).wait()
        #expect(result.status == 0)
        #expect(result.output.prefix(64) == "\(try SHA256Digest.of(directory.at("link")))")
    }

    @Test func refusals() throws {
        let directory = try TemporaryDirectory()
        for text in [
            "", "00", String(repeating: "g", count: 64), String(repeating: "0", count: 65),
            String(repeating: "é", count: 32),
        ] {
            #expect(SHA256Digest(hexadecimal: text) == nil, "\(text)")
        }
        #expect(throws: IngotError.self) { try SHA256Digest.of(directory.at("missing")) }
        #expect(throws: IngotError.self) { try SHA256Digest.of(directory.path) }
    }
}
