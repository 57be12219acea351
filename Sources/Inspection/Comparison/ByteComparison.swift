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
        let first: TensorBytes, second: TensorBytes
        /// Offset of the first byte to compare in each tensor, and number of bytes.
        let firstStart: UInt64, secondStart: UInt64, byteCount: UInt64
        /// Bits per element if different elements are to be counted; otherwise nil.
        let elementBits: Int?

        /// Pairs two tensors; nil if they are stored in different forms, so that bytes cannot be compared.
        package init?(_ first: StoredWeights, _ second: StoredWeights) {
            guard first.shape == second.shape, first.elementType == second.elementType,
                first.descriptor?.scheme == second.descriptor?.scheme,
                first.descriptor?.codec == second.descriptor?.codec, first.encoding == second.encoding
            else { return nil }
            self.first = first.bytes
            self.second = second.bytes
            // Payloads of different length may have the same weights.
            guard self.first.byteCount == self.second.byteCount else { return nil }
            (firstStart, secondStart, byteCount) = (0, 0, self.first.byteCount)
            elementBits = first.format == nil ? first.elementType.bitWidth : nil
        }

        /// Pairs rows of two tensors; nil if one of them is a payload, or both are stored in different forms.
        init?(_ first: TensorRows, _ second: TensorRows) {
            guard first.rows == second.rows, first.columns == second.columns,
                first.tensor.elementType == second.tensor.elementType, first.tensor.encoding == second.tensor.encoding,
                let own = first.elementBytes, let other = second.elementBytes
            else { return nil }
            (self.first, self.second) = (first.tensor.bytes, second.tensor.bytes)
            (firstStart, secondStart, byteCount) = (own.start, other.start, own.count)
            elementBits = first.tensor.format == nil ? first.tensor.elementType.bitWidth : nil
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
        for (index, pair) in pairs.enumerated() {
            let count = Int(min(pair.byteCount, 1 << 16))
            if pair.elementBits == nil, try !buffers.readSame(pair, 0, count) {
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
            result.isSame = try buffers.readSame(pair, job.start, job.count)
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
    fileprivate mutating func readSame(_ pair: ByteComparison.Pair, _ start: UInt64, _ count: Int) throws -> Bool {
        first.grow(to: count)
        second.grow(to: count)
        let places = (pair.firstStart + start, pair.secondStart + start)
        pair.first.prefetch(behind: places.0, count: count)
        pair.second.prefetch(behind: places.1, count: count)
        try pair.first.read(places.0, count: count, into: &first)
        try pair.second.read(places.1, count: count, into: &second)
        return first.span.extracting(0..<count).isSame(as: second.span.extracting(0..<count))
    }
}
