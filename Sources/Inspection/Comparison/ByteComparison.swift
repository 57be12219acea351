import Checkpoints
import Container
import FileAccess
import TensorModel
package import Weights
import Work

/// Compares the stored bytes of tensors, and counts the different elements of non-float tensors.
package struct ByteComparison: Sendable {
    /// Two tensors to compare.
    package struct Pair: Sendable {
        let first: StoredWeights, second: StoredWeights
        /// Whether the elements of lossless payloads are compared, not the payloads.
        let comparesElements: Bool
        /// Offset of the first byte to compare in each tensor, and number of bytes.
        let firstStart: UInt64, secondStart: UInt64, byteCount: UInt64
        /// Bits per element if different elements are to be counted; otherwise nil.
        let elementBits: Int?

        /// Pairs two tensors; nil if they are stored in different forms, so that bytes cannot be compared. Codes are compared whether they are
        /// entropy coded or not.
        package init?(_ first: StoredWeights, _ second: StoredWeights) {
            (self.first, self.second) = (first, second)
            if Pair.haveCodes(first, second) {
                comparesElements = true
                (firstStart, secondStart) = (0, 0)
                byteCount = first.elementType.byteCount(of: first.shape) ?? 0
                elementBits = first.elementType.bitWidth
                return
            }
            guard first.shape == second.shape, first.elementType == second.elementType,
                first.descriptor?.scheme == second.descriptor?.scheme,
                first.descriptor?.codec == second.descriptor?.codec, first.encoding == second.encoding
            else { return nil }
            // Payloads of different length may have the same weights.
            guard first.bytes.byteCount == second.bytes.byteCount else { return nil }
            comparesElements = false
            (firstStart, secondStart, byteCount) = (0, 0, first.bytes.byteCount)
            elementBits = first.format == nil ? first.elementType.bitWidth : nil
        }

        /// Pairs rows of two tensors; nil if one of them is a payload, or both are stored in different forms.
        init?(_ first: TensorRows, _ second: TensorRows) {
            guard first.rows == second.rows, first.columns == second.columns,
                first.tensor.elementType == second.tensor.elementType, first.tensor.encoding == second.tensor.encoding,
                let own = first.elementBytes, let other = second.elementBytes
            else { return nil }
            (self.first, self.second) = (first.tensor, second.tensor)
            comparesElements = false
            (firstStart, secondStart, byteCount) = (own.start, other.start, own.count)
            elementBits = first.tensor.format == nil ? first.tensor.elementType.bitWidth : nil
        }

        /// Whether both tensors have the same codes, as far as shape and element type tell, and at least one is a lossless payload.
        private static func haveCodes(_ first: StoredWeights, _ second: StoredWeights) -> Bool {
            first.shape == second.shape && first.elementType == second.elementType
                && first.encoding == nil && second.encoding == nil
                && (first.descriptor?.holdsCodes == true || second.descriptor?.holdsCodes == true)
        }

        /// Whether both are stored in the same form, so that the same bytes are the same file content.
        var isSameForm: Bool { first.descriptor?.codec == second.descriptor?.codec }
    }

    /// A pair whose chunk tables were read.
    fileprivate struct OpenPair {
        let first: Source, second: Source

        init(_ pair: Pair) throws {
            first = try Source(pair.first, pair.comparesElements)
            second = try Source(pair.second, pair.comparesElements)
        }
    }

    /// The bytes of one side.
    fileprivate enum Source {
        case stored(TensorBytes)
        case elements(SealedElements)

        init(_ tensor: StoredWeights, _ comparesElements: Bool) throws {
            self = try (comparesElements ? tensor.sealedElements() : nil).map { .elements($0) } ?? .stored(tensor.bytes)
        }

        func read(_ start: UInt64, count: Int, into buffer: inout [UInt8]) throws {
            switch self {
            case .stored(let bytes):
                bytes.prefetch(behind: start, count: count)
                try bytes.read(start, count: count, into: &buffer)
            case .elements(let elements): try elements.read(start, count: count, into: &buffer)
            }
        }
    }

    /// Result for a pair.
    package struct Result: Sendable, Hashable {
        /// Whether all bytes are the same.
        package internal(set) var isSame = true
        /// Number of different elements; 0 if they were not counted.
        package internal(set) var changed: UInt64 = 0
        /// Index of the first of them, from the first byte to compare; nil if there is none.
        package internal(set) var firstChanged: UInt64?
    }

    private let jobs: Int, workspaces: Int
    /// Bytes per piece: whole elements of every width.
    private static let pieceBytes: UInt64 = 3 << 18
    /// Bytes per worker: two buffers, and copies for counting.
    private static let workspaceBytes: UInt64 = 4 << 20

    /// Prepares comparisons; `memory` in bytes, `jobs` pieces at the same time.
    package init(memory: UInt64, jobs: Int) {
        workspaces = max(1, min(jobs + 1, Int(memory / ByteComparison.workspaceBytes)))
        self.jobs = min(jobs, workspaces)
    }

    private struct Job: Sendable {
        let pair: Int
        /// Offset of the piece from the first byte to compare, and its bytes.
        let start: UInt64, count: Int
    }

    /// Buffers of one worker.
    fileprivate struct Buffers {
        var first: [UInt8] = [], second: [UInt8] = []
    }

    /// Compares all pairs; returns one result per pair, in order.
    package func run(_ pairs: [Pair]) async throws -> [Result] {
        var results = [Result](repeating: Result(), count: pairs.count)
        // Most tensors that differ do so in their first bytes; the rest of them need not be read.
        var open: [Int] = []
        var buffers = Buffers()
        let sources = try pairs.map(OpenPair.init)
        for (index, pair) in pairs.enumerated() {
            let count = Int(min(pair.byteCount, 1 << 16))
            if pair.elementBits == nil, try !buffers.readSame(pair, sources[index], 0, count) {
                results[index].isSame = false
            } else {
                open.append(index)
            }
        }
        let jobs = open.lazy.flatMap { index in
            let count = pairs[index].byteCount
            return stride(from: 0, to: count, by: Int(ByteComparison.pieceBytes)).lazy.map { start in
                Job(pair: index, start: start, count: Int(min(ByteComparison.pieceBytes, count - start)))
            }
        }
        try await Pipeline(jobs: self.jobs, lookahead: workspaces) { Buffers() }.run(jobs) { job, buffers in
            let pair = pairs[job.pair]
            var result = Result()
            result.isSame = try buffers.readSame(pair, sources[job.pair], job.start, job.count)
            if !result.isSame, let bits = pair.elementBits {
                let (count, first) = ByteComparison.differing(
                    Array(buffers.first[..<job.count]), Array(buffers.second[..<job.count]), bits)
                result.changed = count
                result.firstChanged = first.map { job.start * 8 / UInt64(bits) + $0 }
            }
            return result
        } consume: { job, result in
            if !result.isSame { results[job.pair].isSame = false }
            results[job.pair].changed += result.changed
            // Pieces are consumed in order.
            results[job.pair].firstChanged = results[job.pair].firstChanged ?? result.firstChanged
        }
        return results
    }

    /// Number of different elements of `bits` bits in buffers of the same length, and the index of the first. Elements narrower than a byte
    /// are packed in groups of 24 bits, the first in the lowest bits.
    static func differing(_ first: [UInt8], _ second: [UInt8], _ bits: Int) -> (count: UInt64, first: UInt64?) {
        var count: UInt64 = 0
        var found: UInt64?
        let step = bits < 8 ? 3 : bits / 8
        for start in stride(from: 0, to: first.count, by: step) {
            var difference: UInt64 = 0
            for index in start..<min(start + step, first.count) {
                difference |= UInt64(first[index] ^ second[index]) << UInt64(8 * (index - start))
            }
            guard difference != 0 else { continue }
            if found == nil { found = UInt64((start * 8 + difference.trailingZeroBitCount) / bits) }
            guard bits < 8 else {
                count += 1
                continue
            }
            while difference != 0 {
                if difference & (1 << UInt64(bits) - 1) != 0 { count += 1 }
                difference >>= UInt64(bits)
            }
        }
        return (count, found)
    }
}

extension ByteComparison.Buffers {
    /// Reads a piece of both tensors into the buffers; returns whether the bytes are the same.
    fileprivate mutating func readSame(
        _ pair: ByteComparison.Pair, _ sources: ByteComparison.OpenPair, _ start: UInt64, _ count: Int
    ) throws -> Bool {
        first.grow(to: count)
        second.grow(to: count)
        try sources.first.read(pair.firstStart + start, count: count, into: &first)
        try sources.second.read(pair.secondStart + start, count: count, into: &second)
        return first.span.extracting(0..<count).isSame(as: second.span.extracting(0..<count))
    }
}
