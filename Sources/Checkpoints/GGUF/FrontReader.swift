import FileAccess
import TensorModel

/// Reads the front of a file, whose length only its content tells, from its first byte on; holds a window of it.
///
/// Nothing is allocated because the file says so: a count is compared with the bytes that are left first.
struct FrontReader {
    /// Offset in the file of what is read next.
    private(set) var position: UInt64 = 0
    let byteCount: UInt64
    private let file: MappedFile
    private let mostBytes: UInt64
    private var window: [UInt8] = []
    private var windowStart: UInt64 = 0

    private static let windowBytes: UInt64 = 256 << 10

    /// - Parameter mostBytes: how long the front may be.
    init(_ file: MappedFile, mostBytes: UInt64) {
        self.file = file
        self.mostBytes = mostBytes
        byteCount = file.byteCount
    }

    /// Bytes of the file from here on.
    var remaining: UInt64 { byteCount - position }

    /// An error at this place, or at another.
    func failure(
        _ code: IngotError.Code, at place: UInt64? = nil, _ found: String, expected: String? = nil,
        remedy: Remedy? = nil
    ) -> IngotError {
        IngotError(code, offset: place ?? position, found: found, expected: expected, remedy: remedy)
    }

    /// Requires that so many bytes follow.
    private func require(_ count: UInt64, _ what: () -> String) throws {
        guard count <= remaining else {
            throw failure(
                .headerLength, "\(what()) of \(count) bytes, \(remaining) before the end of the file",
                expected: "a file that holds all of its header")
        }
        guard position + count <= mostBytes else {
            throw failure(
                .headerTooLarge, "a header of more than \(mostBytes) bytes", expected: "at most \(mostBytes) bytes")
        }
    }

    /// Passes over bytes.
    mutating func skip(_ count: UInt64, _ what: @autoclosure () -> String) throws {
        try require(count, what)
        position += count
    }

    /// Has the window hold the next `count` bytes, and returns where in it they begin.
    private mutating func load(_ count: UInt64, _ what: () -> String) throws -> Int {
        try require(count, what)
        if position < windowStart || position + count > windowStart + UInt64(window.count) {
            let length = min(max(count, FrontReader.windowBytes), remaining)
            guard let range = ByteRange(start: position, count: length) else {
                throw failure(.headerLength, "\(what()) that ends beyond all files")
            }
            window = try file.bytes(range)
            windowStart = position
        }
        return Int(position - windowStart)
    }

    /// A little-endian number of 1, 2, 4 or 8 bytes.
    mutating func unsigned(_ width: Int, _ what: @autoclosure () -> String) throws -> UInt64 {
        let start = try load(UInt64(width), what)
        var value: UInt64 = 0
        for index in (0..<width).reversed() { value = value << 8 | UInt64(window[start + index]) }
        position += UInt64(width)
        return value
    }

    /// The next bytes.
    mutating func bytes(_ count: UInt64, _ what: @autoclosure () -> String) throws -> [UInt8] {
        let start = try load(count, what)
        position += count
        return Array(window[start..<start + Int(count)])
    }
}
