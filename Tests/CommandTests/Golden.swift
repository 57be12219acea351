import Foundation
import SystemPackage
import TestSupport
import Testing

/// Texts of the command that are kept in a folder, and compared.
///
/// `INGOT_UPDATE_GOLDENS=1 swift test -c release --filter CommandTests` writes them anew.
enum Golden {
    private static let folder = FilePath(#filePath).removingLastComponent().appending("Goldens")

    /// Compares text with a golden, or writes the golden.
    static func expect(_ text: String, _ name: String, location: SourceLocation = #_sourceLocation) throws {
        let path = folder.appending(name)
        if ProcessInfo.processInfo.environment["INGOT_UPDATE_GOLDENS"] == "1" {
            try Files.write(text, to: path)
        }
        let golden = String(decoding: try Files.read(path), as: UTF8.self)
        #expect(text == golden, "INGOT_UPDATE_GOLDENS=1 writes \(name) anew", sourceLocation: location)
    }
}
