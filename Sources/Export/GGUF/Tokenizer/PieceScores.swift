import TensorModel

/// The scores of the pieces of a SentencePiece model of kind BPE, from the merges of its `tokenizer.json`.
///
/// llama.cpp makes of two neighbouring pieces the piece of the highest score, the leftmost of equal ones. SentencePiece's own files have the
/// score -n for the n-th piece that was learned. transformers sorts the merges by these scores, so the order of the pieces that the merges
/// make is the order of the scores.
struct PieceScores {
    /// The score of each text that a merge makes: 0 for the first, -1 for the next, and so on.
    private let scores: [TensorName: Float]
    /// Pairs of pieces that llama.cpp merges and the tokenizer does not, because their texts together are a piece.
    let foreignPairs: Int
    /// Whether merges to one piece have merges to another between them, so that their order is no order of pieces.
    let isOutOfOrder: Bool

    /// Bytes of the longest piece that is taken apart.
    private static let longestPiece = 256

    /// Finds the scores.
    ///
    /// - Parameter isPiece: whether a token of this id is made by merges, so that it is no control token and the like.
    init(_ tokenizer: TokenizerDocument, isPiece: (Int) -> Bool) {
        var scores: [TensorName: Float] = [:]
        var pairs: Set<TensorName> = []
        pairs.reserveCapacity(tokenizer.merges.count)
        var last: TensorName?
        var isOutOfOrder = false
        for (left, right) in tokenizer.merges {
            let text = TensorName(left + right)
            pairs.insert(TensorName("\(left) \(right)"))
            if scores[text] == nil {
                scores[text] = -Float(scores.count)
            } else if text != last, text.text.unicodeScalars.contains(where: { $0 != "\u{2581}" }) {
                // Runs of spaces have one score in SentencePiece's files. The longest run is made from the left in any order.
                isOutOfOrder = true
            }
            last = text
        }
        var foreign = 0
        for (id, piece) in tokenizer.vocabulary where isPiece(id) && piece.utf8.count <= PieceScores.longestPiece {
            let scalars = piece.unicodeScalars
            for cut in scalars.indices.dropFirst() {
                let (left, right) = (String(scalars[..<cut]), String(scalars[cut...]))
                // A single character is a symbol even if it is no token.
                guard
                    [left, right].allSatisfy({ $0.unicodeScalars.count == 1 || tokenizer.ids[TensorName($0)] != nil }),
                    !pairs.contains(TensorName("\(left) \(right)"))
                else { continue }
                foreign += 1
            }
        }
        (self.scores, foreignPairs, self.isOutOfOrder) = (scores, foreign, isOutOfOrder)
    }

    /// The score of a text; nil if no merge makes it.
    func score(_ text: String) -> Float? { scores[TensorName(text)] }

    /// The first score below those of all texts that merges make.
    var next: Float { -Float(scores.count) }
}
