/// The order of the rows of a query or key projection: llama.cpp stores the two halves of each head interleaved.
///
/// Rotary embedding turns pairs of rows. Hugging Face has the rows of a pair half a head apart. llama.cpp's converter puts them next to
/// each other: `weights.reshape(heads, 2, headRows / 2, columns).swapaxes(1, 2)`.
package struct RowOrder: Sendable, Hashable {
    /// Rows of a head; even.
    package let headRows: Int

    /// The order for a projection of `heads` heads; nil if its rows cannot be cut into heads of an even number of rows.
    package init?(rows: Int, heads: Int) {
        guard heads > 0, rows > 0, rows % heads == 0, (rows / heads) % 2 == 0 else { return nil }
        headRows = rows / heads
    }

    /// Where a row of the GGUF file stands in the Hugging Face layout.
    package func place(ofSource row: Int) -> Int {
        let inHead = row % headRows
        return row - inHead + inHead % 2 * (headRows / 2) + inHead / 2
    }

    /// The row of the GGUF file that stands at a place in the Hugging Face layout.
    package func source(ofPlace row: Int) -> Int {
        let inHead = row % headRows
        let half = headRows / 2
        return row - inHead + inHead % half * 2 + inHead / half
    }
}

/// The order in which rows of one layout are read to compare them with rows of the other.
package enum RowArrangement: Sendable, Hashable {
    /// Rows of a Hugging Face checkpoint, in the order of a GGUF file.
    case asInGGUF(RowOrder)
    /// Rows of a GGUF file, in the order of a Hugging Face checkpoint.
    case asInHuggingFace(RowOrder)

    /// The most rows of a head that a comparison reads at once.
    static let maximumHeadRows = 1 << 14

    /// Rows of a head. Rows change places within their head only.
    package var headRows: Int {
        switch self {
        case .asInGGUF(let order), .asInHuggingFace(let order): order.headRows
        }
    }

    /// The row of the tensor that is read as row `row`.
    package func row(readAs row: Int) -> Int {
        switch self {
        case .asInGGUF(let order): order.place(ofSource: row)
        case .asInHuggingFace(let order): order.source(ofPlace: row)
        }
    }
}
