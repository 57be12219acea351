import Architectures
import TensorModel

/// What one export writes: files with places for the streams of its tensors. The plan is made from headers; the run fills the places.
struct ExportPlan: Sendable {
    /// A file of weights.
    struct File: Sendable {
        /// Its name in the output.
        let name: String
        /// Its bytes; what no stream and no constant fills is zero.
        var byteCount: UInt64
        /// Bytes that are known from headers, and their offsets: header, shapes, factors.
        var constants: [(offset: UInt64, bytes: [UInt8])] = []
    }

    /// A part of a tensor: bytes of each row, one row after the other, at a place of a file.
    struct Stream: Sendable, Hashable {
        /// The name under which a reader finds it.
        let entry: TensorName
        /// Index of the file.
        var file: Int
        /// Offset of the first row.
        var offset: UInt64
        /// Bytes of a row.
        let rowBytes: Int
    }

    /// Rows of a source tensor that become rows of an output tensor.
    struct Source: Sendable {
        /// Index of the tensor in the checkpoint.
        let tensor: Int
        /// The rows, and the row of the output that the first of them becomes. A vector has one row; with a move, a row for each element.
        let rows: Range<Int>, firstRow: Int
        /// The order of rows in the output.
        let move: RowMove
        /// The linear input of the rows, if the calibration has an entry for it.
        var input: LinearInput?
    }

    /// A tensor of the output that is made from rows of the source.
    struct Tensor: Sendable {
        /// Its name, for messages.
        let name: TensorName
        /// Numbers of rows and columns.
        let rows: Int, columns: Int
        /// How its rows are encoded.
        let encoding: RowEncoding
        /// Where its rows come from.
        let sources: [Source]
        /// Where the bytes go: one place for each stream of the encoding.
        var streams: [Stream]
    }

    /// The files of weights.
    var files: [File]
    /// The tensors.
    var tensors: [Tensor]

    /// Bytes of all files of weights.
    var byteCount: UInt64 { files.reduce(0) { $0 + $1.byteCount } }
}
