import FileAccess
import TensorModel

/// Reads the header of a file, from the first byte on, through a window. Only the content tells how long the header is.
///
/// A count in the file is compared with the remaining bytes before anything is allocated.
struct FrontReader {
    /// Offset in the file of the next byte to read.
    private(set) var position: UInt64 = 0
    let byteCount: UInt64
    private let file: MappedFile
    private let maximumBytes: UInt64
    private var window: [UInt8] = []
    private var windowStart: UInt64 = 0

    private static let windowBytes: UInt64 = 256 << 10

    /// - Parameter mostBytes: maximum length of the header in bytes.
    init(_ file: MappedFile, maximumBytes: UInt64) {
        self.file = file
        self.maximumBytes = maximumBytes
        byteCount = file.byteCount
    }

    /// Bytes from here to the end of the file.
    var remaining: UInt64 { byteCount - position }

    /// An error at `place`; nil means the current position.
    func failure(
        _ code: IngotError.Code, at place: UInt64? = nil, _ found: String, expected: String? = nil,
        remedy: Remedy? = nil
    ) -> IngotError {
        IngotError(code, offset: place ?? position, found: found, expected: expected, remedy: remedy)
    }

    /// Requires that `count` more bytes exist and stay within the limit. `what` names them in the error.
    private func require(_ count: UInt64, _ what: () -> String) throws {
        guard count <= remaining else {
            throw failure(
                .headerLength, "\(what()) of \(count) bytes, \(remaining) before the end of the file",
                expected: "a file that holds all of its header")
        }
        guard position + count <= maximumBytes else {
            throw failure(
                .headerTooLarge, "a header of more than \(maximumBytes) bytes",
                expected: "at most \(maximumBytes) bytes")
        }
    }

    /// Skips bytes.
    mutating func skip(_ count: UInt64, _ what: @autoclosure () -> String) throws {
        try require(count, what)
        position += count
    }

    /// Loads the next `count` bytes into the window, and returns their position in it.
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

    /// Reads a little-endian number of 1, 2, 4 or 8 bytes.
    mutating func unsigned(_ width: Int, _ what: @autoclosure () -> String) throws -> UInt64 {
        let start = try load(UInt64(width), what)
        var value: UInt64 = 0
        for index in (0..<width).reversed() { value = value << 8 | UInt64(window[start + index]) }
        position += UInt64(width)
        return value
    }

    /// Reads the next `count` bytes.
    mutating func bytes(_ count: UInt64, _ what: @autoclosure () -> String) throws -> [UInt8] {
        let start = try load(count, what)
        position += count
        return Array(window[start..<start + Int(count)])
    }
}
