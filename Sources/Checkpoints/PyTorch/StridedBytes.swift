import FileAccess
import TensorModel

/// The elements of a strided view of a storage, row by row.
///
/// Contiguous rows are copied whole. A transposed matrix is read in blocks of rows: each block is read as runs of its columns and then
/// transposed, so that each part of the storage is read once per block. A part of one row is gathered element by element. Beside the
/// caller's buffer, at most `scratchBytes` are held.
struct StridedBytes: DerivedBytes {
    let byteCount: UInt64

    /// A dimension: number of indices, and distance between neighbouring indices in elements.
    private struct Axis {
        var count: Int
        var stride: Int
    }

    private let axes: [Axis]
    /// Bytes of one element.
    private let width: Int

    private static let scratchBytes = 256 << 10
    /// Maximum distance in bytes between the first and the last run of one fetch: the pages between them stay resident until it ends.
    private static let reachBytes = 4 << 20

    /// Makes a view. Its only part reaches from the first element to the end of the last.
    init(shape: Shape, strides: [UInt64], elementBytes: Int) {
        width = elementBytes
        byteCount = UInt64(shape.elementCount) * UInt64(elementBytes)
        axes = StridedBytes.merged(shape, strides)
    }

    /// The dimensions, without those that have one index. Neighbouring dimensions without a gap are merged into one.
    private static func merged(_ shape: Shape, _ strides: [UInt64]) -> [Axis] {
        var axes: [Axis] = []
        for (count, stride) in zip(shape.dimensions, strides) where count != 1 {
            // A stride within a storage fits. One that does not fit belongs to an empty tensor.
            let stride = Int(truncatingIfNeeded: stride)
            if let last = axes.last, last.stride == count.multipliedReportingOverflow(by: stride).partialValue {
                axes[axes.count - 1] = Axis(count: last.count * count, stride: stride)
            } else {
                axes.append(Axis(count: count, stride: stride))
            }
        }
        return axes.isEmpty ? [Axis(count: 1, stride: 1)] : axes
    }

    /// Whether the elements lie in the storage in order and without gaps.
    static func isContiguous(_ shape: Shape, _ strides: [UInt64]) -> Bool {
        let axes = merged(shape, strides)
        return shape.elementCount <= 1 || axes.count == 1 && axes[0].stride == 1
    }

    func read(_ start: UInt64, count: Int, of parts: [FilePart], into buffer: inout [UInt8], at offset: Int) throws {
        guard count > 0 else { return }
        let first = Int(start) / width
        let last = (Int(start) + count - 1) / width
        let skipped = Int(start) - first * width
        if skipped == 0, count.isMultiple(of: width) {
            return try gather(first..<last + 1, of: parts, into: &buffer, at: offset)
        }
        // The range begins or ends inside an element.
        var whole = [UInt8](repeating: 0, count: (last + 1 - first) * width)
        try gather(first..<last + 1, of: parts, into: &whole, at: 0)
        buffer.replaceSubrange(offset..<offset + count, with: whole[skipped..<skipped + count])
    }

    /// A rectangle of a matrix is transposed as a whole; anything else is read range by range.
    func read(
        _ start: UInt64, count: Int, rows: Int, stride: Int, of parts: [FilePart], into buffer: inout [UInt8]
    ) throws {
        let columns = axes[axes.count - 1]
        let (first, part) = (Int(start) / width, count / width)
        let (row, column) = first.quotientAndRemainder(dividingBy: columns.count)
        guard axes.count > 1, rows > 1, part > 0, stride == columns.count * width, Int(start) == first * width,
            count == part * width, column + part <= columns.count
        else {
            if stride == count { return try read(start, count: rows * count, of: parts, into: &buffer, at: 0) }
            for row in 0..<rows {
                try read(start + UInt64(row * stride), count: count, of: parts, into: &buffer, at: row * count)
            }
            return
        }
        let axis = axes[axes.count - 2]
        let storage = parts[0]
        var scratch: [UInt8] = []
        var done = 0
        while done < rows {
            let block = Axis(count: min(rows - done, axis.count - (row + done) % axis.count), stride: axis.stride)
            done += try self.block(
                place(row: row + done) + column * columns.stride, rows: block,
                Axis(count: part, stride: columns.stride), storage, &scratch, &buffer, done * count)
        }
    }

    private func gather(_ range: Range<Int>, of parts: [FilePart], into buffer: inout [UInt8], at offset: Int) throws {
        let columns = axes[axes.count - 1]
        let rows = axes.count > 1 ? axes[axes.count - 2] : Axis(count: 1, stride: 0)
        let inner = innerAxes
        let storage = parts[0]
        var scratch: [UInt8] = []
        var element = range.lowerBound
        while element < range.upperBound {
            let target = offset + (element - range.lowerBound) * width
            let (row, column) = element.quotientAndRemainder(dividingBy: columns.count)
            let left = range.upperBound - element
            let rowCount = min(rows.count - row % rows.count, left / columns.count)
            let origin = place(row: row) + column * columns.stride
            if let inner, element % inner.count == 0, left >= 2 * inner.count {
                element += try self.outer(element, left, inner, storage, &scratch, &buffer, target)
            } else if column == 0, rowCount > 1 {
                let done = try block(
                    origin, rows: Axis(count: rowCount, stride: rows.stride), columns, storage, &scratch, &buffer,
                    target)
                element += done * columns.count
            } else {
                let count = min(columns.count - column, left)
                let run = Axis(count: count, stride: columns.stride)
                element += try self.run(origin, run, storage, &scratch, &buffer, target)
            }
        }
    }

    /// For views with a short last dimension that is not contiguous: the longest dimension before it, and the number of elements in the
    /// dimensions behind that one. The view is then read in long runs along the longest dimension, one run for each element behind it. Nil
    /// for other views.
    private var innerAxes: (axis: Int, count: Int)? {
        let columns = axes[axes.count - 1]
        guard axes.count > 1, columns.count < 64, columns.stride != 1 else { return nil }
        let axis = axes.indices.dropLast().max { axes[$0].count < axes[$1].count } ?? 0
        guard axes[axis].count > columns.count else { return nil }
        let (count, overflows) = axes[(axis + 1)...].reduce((1, false)) { product, next in
            let (value, overflow) = product.0.multipliedReportingOverflow(by: next.count)
            return (value, product.1 || overflow)
        }
        guard !overflows, count * width <= StridedBytes.scratchBytes else { return nil }
        return (axis, count)
    }

    /// Reads as many indices of the long dimension as fit, each with all elements behind it. Returns the number of elements read.
    private func outer(
        _ element: Int, _ left: Int, _ inner: (axis: Int, count: Int), _ storage: FilePart,
        _ scratch: inout [UInt8], _ buffer: inout [UInt8], _ target: Int
    ) throws -> Int {
        let axis = axes[inner.axis]
        let count = min(axis.count - element / inner.count % axis.count, left / inner.count)
        let columns = axes[axes.count - 1].count
        for index in 0..<inner.count {
            let (row, column) = (element + index).quotientAndRemainder(dividingBy: columns)
            let origin = place(row: row) + column * axes[axes.count - 1].stride
            var done = 0
            while done < count {
                let start = origin + done * axis.stride
                var part = min(count - done, StridedBytes.scratchBytes / width)
                if axis.stride != 1 { part = min(part, maximum(axis.stride)) }
                if axis.stride == 1 {
                    try fetch(start, part, rows: 1, stride: 0, storage, &scratch)
                } else {
                    try fetch(start, 1, rows: part, stride: axis.stride, storage, &scratch)
                }
                StridedBytes.scatter(
                    scratch, part, width, into: &buffer, at: target + (done * inner.count + index) * width,
                    step: inner.count * width)
                done += part
            }
        }
        return count * inner.count
    }

    /// Writes elements into the buffer, `step` bytes apart.
    private static func scatter(
        _ run: [UInt8], _ count: Int, _ width: Int, into buffer: inout [UInt8], at target: Int, step: Int
    ) {
        let source = run.span
        var result = buffer.mutableSpan
        var place = target
        for element in 0..<count {
            for byte in 0..<width { result[place + byte] = source[element * width + byte] }
            place += step
        }
    }

    /// Offset in the storage of a row of the last dimension, in elements from the view's first element.
    private func place(row: Int) -> Int {
        var rest = row
        var place = 0
        for axis in axes.dropLast().reversed() {
            place += rest % axis.count * axis.stride
            rest /= axis.count
        }
        return place
    }

    /// Maximum number of runs, `stride` elements apart, in one fetch.
    private func maximum(_ stride: Int) -> Int { max(32, StridedBytes.reachBytes / max(1, stride * width)) }

    /// Copies `rows` runs of `count` elements, `stride` elements apart, into the scratch buffer, without gaps.
    private func fetch(
        _ origin: Int, _ count: Int, rows: Int, stride: Int, _ storage: FilePart, _ scratch: inout [UInt8]
    ) throws {
        let bytes = rows * count * width
        if scratch.count < bytes { scratch = [UInt8](repeating: 0, count: bytes) }
        guard let range = ByteRange(start: storage.range.start + UInt64(origin * width), count: UInt64(count * width))
        else { preconditionFailure("a view was checked against its storage") }
        try storage.file.copy(range, rows: rows, stride: stride * width, into: &scratch)
        // Runs that lie far apart touch pages all over the storage, and the caller releases only its own range.
        storage.file.releaseScattered(range, rows: rows, stride: stride * width)
    }

    /// Reads elements of one row, as many as fit the scratch buffer. Returns their number.
    private func run(
        _ origin: Int, _ run: Axis, _ storage: FilePart, _ scratch: inout [UInt8], _ buffer: inout [UInt8],
        _ target: Int
    ) throws -> Int {
        var count = min(run.count, max(1, StridedBytes.scratchBytes / width))
        if run.stride != 1 { count = min(count, maximum(run.stride)) }
        if run.stride == 1 {
            try fetch(origin, count, rows: 1, stride: 0, storage, &scratch)
        } else {
            try fetch(origin, 1, rows: count, stride: run.stride, storage, &scratch)
        }
        buffer.replaceSubrange(target..<target + count * width, with: scratch[..<(count * width)])
        return count
    }

    /// Reads whole rows, as many as fit the scratch buffer. Returns their number.
    private func block(
        _ origin: Int, rows: Axis, _ columns: Axis, _ storage: FilePart, _ scratch: inout [UInt8],
        _ buffer: inout [UInt8],
        _ target: Int
    ) throws -> Int {
        let rowBytes = columns.count * width
        if columns.stride == 1 {
            let count = min(rows.count, max(1, StridedBytes.scratchBytes / rowBytes))
            guard rowBytes <= StridedBytes.scratchBytes else {
                var done = 0
                while done < columns.count {
                    done += try run(
                        origin + done, Axis(count: columns.count - done, stride: 1), storage, &scratch, &buffer,
                        target + done * width)
                }
                return 1
            }
            try fetch(origin, columns.count, rows: count, stride: rows.stride, storage, &scratch)
            buffer.replaceSubrange(target..<target + count * rowBytes, with: scratch[..<(count * rowBytes)])
            return count
        }
        // Take enough rows that one run in the storage fills a few cache lines, and as many columns as fit.
        let count = min(rows.count, max(1, 512 / width))
        let band = min(max(1, StridedBytes.scratchBytes / (count * width)), maximum(columns.stride))
        var column = 0
        while column < columns.count {
            let width = self.width
            let part = min(band, columns.count - column)
            let start = origin + column * columns.stride
            if rows.stride == 1 {
                try fetch(start, count, rows: part, stride: columns.stride, storage, &scratch)
                StridedBytes.turn(
                    scratch, rows: count, columns: part, width, into: &buffer, at: target + column * width,
                    rowBytes: rowBytes)
            } else {
                for row in 0..<count {
                    try fetch(start + row * rows.stride, 1, rows: part, stride: columns.stride, storage, &scratch)
                    let place = target + row * rowBytes + column * width
                    buffer.replaceSubrange(place..<place + part * width, with: scratch[..<(part * width)])
                }
            }
            column += part
        }
        return count
    }

    /// Transposes a block that is stored column by column into the buffer.
    private static func turn(
        _ block: [UInt8], rows: Int, columns: Int, _ width: Int, into buffer: inout [UInt8], at target: Int,
        rowBytes: Int
    ) {
        let source = block.span
        var result = buffer.mutableSpan
        for row in 0..<rows {
            var place = target + row * rowBytes
            var from = row * width
            for _ in 0..<columns {
                for byte in 0..<width { result[place + byte] = source[from + byte] }
                place += width
                from += rows * width
            }
        }
    }
}
