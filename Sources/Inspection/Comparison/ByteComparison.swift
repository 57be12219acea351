import Container
import Conversion
import FileAccess
import TensorModel

/// Whether tensors are stored in the same bytes; for elements that are no floating-point numbers, how many differ.
package struct ByteComparison: Sendable {
    /// Two tensors to compare.
    package struct Pair: Sendable {
        let first: Side, second: Side
        /// Bits of an element, where differing ones are to be counted.
        let elementBits: Int?

        struct Side: Sendable {
            let file: MappedFile
            let range: ByteRange
        }

        /// Pairs two tensors; nil where their bytes cannot be the same, because their forms are not.
        package init?(_ first: StoredWeights, _ second: StoredWeights) {
            guard first.shape == second.shape, first.elementType == second.elementType,
                first.descriptor?.scheme == second.descriptor?.scheme,
                first.descriptor?.codec == second.descriptor?.codec, first.encoding == second.encoding
            else { return nil }
            self.first = Side(first)
            self.second = Side(second)
            // Payloads that differ in length may still hold the same weights.
            guard self.first.range.count == self.second.range.count else { return nil }
            elementBits = first.format == nil ? first.elementType.bitWidth : nil
        }
    }

    /// What was found.
    package struct Result: Sendable, Hashable {
        /// Whether all bytes are the same.
        package internal(set) var isSame = true
        /// Elements that differ, where they were counted.
        package internal(set) var changed: UInt64 = 0
    }

    private let jobs: Int, workspaces: Int
    /// A multiple of the bytes that whole elements of any width fill.
    private static let pieceBytes: UInt64 = 3 << 18
    /// Bytes of a workspace, with the pages of both files that a piece may make resident.
    private static let workspaceBytes: UInt64 = 8 << 20

    /// Prepares comparisons within a budget.
    package init(memory: UInt64, jobs: Int) {
        workspaces = max(1, min(jobs + 1, Int(memory / ByteComparison.workspaceBytes)))
        self.jobs = min(jobs, workspaces)
    }

    private struct Job: Sendable {
        let pair: Int, piece: UInt64
    }

    private final class Workspace: @unchecked Sendable {
        var first: [UInt8] = [], second: [UInt8] = []
        var result = Result()
    }

    private final class Results {
        var all: [Result]
        init(count: Int) { all = [Result](repeating: Result(), count: count) }
    }

    /// Compares all pairs.
    package func run(_ pairs: [Pair]) async throws -> [Result] {
        let results = Results(count: pairs.count)
        // Most tensors that differ do so in their first bytes: no need to read the others.
        var open: [Int] = []
        for (index, pair) in pairs.enumerated() {
            if pair.elementBits == nil, let start = try pair.piece(0, bytes: 1 << 16), try !start.isSame() {
                results.all[index].isSame = false
            } else {
                open.append(index)
            }
        }
        let items = open.lazy.flatMap { index in
            let count = pairs[index].first.range.count
            return (0..<(count + ByteComparison.pieceBytes - 1) / ByteComparison.pieceBytes).lazy.map {
                Job(pair: index, piece: $0)
            }
        }
        let workspaces = (0..<workspaces).map { _ in Workspace() }
        try await OrderedPipeline(jobs: jobs, workspaces: workspaces).run(items) { job, workspace in
            workspace.result = Result()
            let pair = pairs[job.pair]
            guard let piece = try pair.piece(job.piece, bytes: ByteComparison.pieceBytes), try !piece.isSame() else {
                return
            }
            workspace.result.isSame = false
            guard let bits = pair.elementBits else { return }
            workspace.first = try piece.first.file.bytes(piece.first.range)
            workspace.second = try piece.second.file.bytes(piece.second.range)
            workspace.result.changed = ByteComparison.differing(workspace.first, workspace.second, bits)
            piece.first.file.release(piece.first.range)
            piece.second.file.release(piece.second.range)
        } consume: { job, workspace in
            try Interruption.check()
            if !workspace.result.isSame { results.all[job.pair].isSame = false }
            results.all[job.pair].changed += workspace.result.changed
        }
        return results.all
    }

    /// Elements that differ, of equally many bytes; narrower ones than a byte lie in groups of 24 bits, the first in the lowest.
    static func differing(_ first: [UInt8], _ second: [UInt8], _ bits: Int) -> UInt64 {
        var count: UInt64 = 0
        let step = bits < 8 ? 3 : bits / 8
        for start in stride(from: 0, to: first.count, by: step) {
            var difference: UInt64 = 0
            for index in start..<min(start + step, first.count) {
                difference |= UInt64(first[index] ^ second[index]) << UInt64(8 * (index - start))
            }
            guard difference != 0 else { continue }
            guard bits < 8 else {
                count += 1
                continue
            }
            while difference != 0 {
                if difference & (1 << UInt64(bits) - 1) != 0 { count += 1 }
                difference >>= UInt64(bits)
            }
        }
        return count
    }
}

extension ByteComparison.Pair.Side {
    init(_ tensor: StoredWeights) {
        file = tensor.file
        range = tensor.storedRange
    }

    /// A part of the bytes; nil where there is none.
    func piece(_ number: UInt64, bytes: UInt64) -> ByteComparison.Pair.Side? {
        let start = range.start + number * bytes
        guard start < range.end, let part = ByteRange(start: start, count: min(bytes, range.end - start)) else {
            return nil
        }
        return Self(file: file, range: part)
    }
}

extension ByteComparison.Pair {
    private init(first: Side, second: Side) {
        (self.first, self.second) = (first, second)
        elementBits = nil
    }

    /// A piece of both; nil behind the end.
    func piece(_ number: UInt64, bytes: UInt64) throws -> ByteComparison.Pair? {
        guard let first = first.piece(number, bytes: bytes), let second = second.piece(number, bytes: bytes) else {
            return nil
        }
        return ByteComparison.Pair(first: first, second: second)
    }

    /// Whether both have the same hash.
    func isSame() throws -> Bool { try first.file.hash(of: first.range) == second.file.hash(of: second.range) }
}

extension StoredWeights {
    /// Its bytes in its file; of one in blocks of another format, those of its elements.
    var storedRange: ByteRange {
        switch form {
        case .plain(_, let range): range
        case .payload(let index, let shared): shared.shard.payloads[index].range
        }
    }
}
