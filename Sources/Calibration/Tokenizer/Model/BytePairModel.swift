/// What byte-pair encoding knows: symbols, and which pairs of them become another one, in which order.
struct BytePairModel: Sendable {
    /// What text is made of before the first merge.
    enum Units: Sendable {
        /// Bytes, each a symbol of the vocabulary (pre-tokenizer ByteLevel).
        case bytes
        /// Unicode scalars.
        case scalars
    }

    /// What becomes of a unit that is not in the vocabulary.
    enum Unknown: Sendable {
        /// It is left out.
        case dropped
        /// An id.
        case token(Int32)
        /// An error: the vocabulary does not have the token that stands for it.
        case missing
    }

    /// What text is made of before the first merge.
    var units = Units.scalars
    /// For each byte its id, or its id as a unit of one byte below U+0080; -1 where there is none.
    var unitIDs = [Int32](repeating: -1, count: 256)
    /// Ids of scalars from U+0080 on.
    var scalarIDs: [UInt32: Int32] = [:]
    /// Ids of the tokens `<0x00>` to `<0xFF>`, for units that are not in the vocabulary; empty without byte fallback, -1 where there is none.
    var fallbackIDs: [Int32] = []
    /// What becomes of other units.
    var unknown = Unknown.dropped
    /// Whether unknown units in a row become one token.
    var fusesUnknown = false
    /// `rank << 32 | id` of the symbol that two become, by `first << 32 | second`. Lower ranks come first.
    var pairs: [UInt64: UInt64] = [:]
    /// Whole pieces that are tokens, looked up before any merge; nil without `ignore_merges`.
    var whole: (table: BytesTable, ids: [Int32])?
    /// Symbols from this number on are no tokens but units that only merges know; `hidden[id - firstHidden]` has the tokens that stand
    /// for them if they are not merged.
    var firstHidden = Int32.max
    var hidden: [[Int32]] = []
    /// A scalar before which a text may be cut without a change, if none of `keepers` stands before it; nil if it must not be cut.
    var cutBefore: UInt32?
    var keepers: Set<UInt32> = []

    /// The key of a pair.
    @inline(__always)
    static func key(_ first: Int32, _ second: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: first)) << 32 | UInt64(UInt32(bitPattern: second))
    }
}
