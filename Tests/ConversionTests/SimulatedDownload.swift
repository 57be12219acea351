import FileAccess
import Foundation
import SystemPackage
import TestSupport

/// Writes the files of a checkpoint as programs do that fetch them from a network.
struct SimulatedDownload: Sendable {
    /// What the program does with a file that is not whole yet.
    enum Client: Sendable, CaseIterable {
        /// A hidden file elsewhere, renamed at the end.
        case hub
        /// The file itself, which grows.
        case growing
        /// The file itself, of its full size from the start, beside a control file.
        case preallocated
    }

    let client: Client
    let files: [String: [UInt8]]
    let target: FilePath
    let seed: UInt64

    /// Fetches files one after the other, in pieces with small pauses.
    func fetch(_ names: [String]) async throws {
        var generator = SeededGenerator(seed)
        if try Directory.kind(target) == nil { try Directory.create(target) }
        for name in names { try await fetch(name, &generator) }
    }

    /// Where the client of the hub keeps what is not whole.
    var downloads: FilePath {
        get throws {
            var place = target
            for part in [".cache", "huggingface", "download"] {
                place.append(part)
                if try Directory.kind(place) == nil { try Directory.create(place) }
            }
            return place
        }
    }

    private func fetch(_ name: String, _ generator: inout SeededGenerator) async throws {
        let bytes = files[name] ?? []
        let path = target.appending(name)
        let control = target.appending(name + ".aria2")
        let growing: FilePath
        switch client {
        case .hub:
            try Files.write("", to: downloads.appending(name + ".lock"))
            growing = try downloads.appending("\(name).0123.incomplete")
        case .growing: growing = path
        case .preallocated:
            growing = path
            try Files.write("control", to: control)
            try Files.write([UInt8](repeating: 0, count: bytes.count), to: path)
        }
        if client != .preallocated { try Files.write([], to: growing) }
        // Most pieces are small: they end within the header.
        let pieces = Int(generator.next() % 5) + 2
        var cuts = (1..<pieces).map { _ in Int(generator.next() % UInt64(bytes.count + 1)) }
        cuts.append(Int(generator.next() % UInt64(min(bytes.count, 40) + 1)))
        var ranges = zip([0] + cuts.sorted(), cuts.sorted() + [bytes.count]).map { $0..<$1 }
        if client == .preallocated { ranges.shuffle(using: &generator) }
        for range in ranges {
            try Files.patch(Array(bytes[range]), at: range.lowerBound, in: growing)
            try await Task.sleep(for: .milliseconds(generator.next() % 8))
        }
        switch client {
        case .hub:
            try Directory.rename(growing, to: path)
            try Files.write("commit", to: downloads.appending(name + ".metadata"))
        case .growing: break
        case .preallocated: try Directory.removeFile(control)
        }
    }
}
