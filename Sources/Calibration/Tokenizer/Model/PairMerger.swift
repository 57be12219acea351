/// Encodes pieces of text: looks them up, or merges their symbols. Holds buffers and a cache, so one text takes one of these.
struct PairMerger {
    private let model: BytePairModel
    /// Ids of everything so far.
    private(set) var ids: [Int32] = []
    private var cache = PieceCache()
    // Symbols of a piece: a linked list, in which -1 ends and -2 marks a symbol that is part of another.
    private var symbols: [Int32] = []
    private var next: [Int32] = []
    private var previous: [Int32] = []
    /// Pairs to merge: `rank << 32 | position` of the first symbol, the smallest on top.
    private var heap: [UInt64] = []

    /// Bytes of pieces that are cached, at most.
    private static let cachedBytes = 48

    /// Starts a text.
    init(_ model: BytePairModel) { self.model = model }

    /// Appends an id.
    mutating func append(_ id: Int32) { ids.append(id) }

    /// Encodes a piece, which is not empty.
    ///
    /// - Throws: `tokenizerInvalid` for a unit without id in a tokenizer whose token for such units does not exist.
    mutating func encode(_ bytes: [UInt8], _ range: Range<Int>) throws {
        if let whole = model.whole, let number = whole.table.find(bytes, range) {
            ids.append(whole.ids[number])
            return
        }
        guard let separator = model.cutBefore else { return try encodePart(bytes, range) }
        var start = range.lowerBound
        var before: UInt32?
        var index = start
        while index < range.upperBound {
            let (value, length) = UTF8Text.scalar(bytes, index)
            if value == separator, let last = before, !model.keepers.contains(last) {
                try encodePart(bytes, start..<index)
                start = index
            }
            before = value
            index += length
        }
        try encodePart(bytes, start..<range.upperBound)
    }

    private mutating func encodePart(_ bytes: [UInt8], _ range: Range<Int>) throws {
        guard range.count <= PairMerger.cachedBytes else {
            try merge(bytes, range)
            return
        }
        let hash = cache.hash(bytes, range)
        if let found = cache.find(hash, bytes, range) {
            for index in found { ids.append(cache.ids[index]) }
            return
        }
        let start = ids.count
        try merge(bytes, range)
        cache.insert(hash, bytes, range, ids[start...])
    }

    // MARK: - Units

    private mutating func readUnits(_ bytes: [UInt8], _ range: Range<Int>) throws {
        symbols.removeAll(keepingCapacity: true)
        var unknown: Int32?
        var index = range.lowerBound
        while index < range.upperBound {
            var value = UInt32(bytes[index])
            var length = 1
            var id: Int32
            if model.units == .bytes || value < 0x80 {
                id = model.unitIDs[Int(value)]
            } else {
                (value, length) = UTF8Text.scalar(bytes, index)
                id = model.scalarIDs[value] ?? -1
            }
            index += length
            if id >= 0 {
                if let held = unknown { symbols.append(held) }
                unknown = nil
                symbols.append(id)
            } else if !appendFallback(value) {
                // As in `tokenizers`: the token for unknown units comes after the bytes of others, until a known unit follows.
                switch model.unknown {
                case .dropped: break
                case .missing:
                    throw TokenizerFailure.invalid(
                        "a text with a character that the vocabulary does not have",
                        "a vocabulary that has its own `unk_token`")
                case .token(let token):
                    if let held = unknown, !model.fusesUnknown { symbols.append(held) }
                    unknown = token
                }
            }
        }
        if let held = unknown { symbols.append(held) }
    }

    /// Appends the tokens of the bytes of a unit; returns false if one does not exist.
    private mutating func appendFallback(_ value: UInt32) -> Bool {
        guard !model.fallbackIDs.isEmpty else { return false }
        var utf8: [UInt8] = []
        UTF8Text.append(model.units == .bytes ? ByteAlphabet.scalars[Int(value)] : value, to: &utf8)
        guard utf8.allSatisfy({ model.fallbackIDs[Int($0)] >= 0 }) else { return false }
        for byte in utf8 { symbols.append(model.fallbackIDs[Int(byte)]) }
        return true
    }

    // MARK: - Merges

    private mutating func merge(_ bytes: [UInt8], _ range: Range<Int>) throws {
        try readUnits(bytes, range)
        let count = symbols.count
        if count > 1 {
            next.removeAll(keepingCapacity: true)
            previous.removeAll(keepingCapacity: true)
            heap.removeAll(keepingCapacity: true)
            for index in 0..<count {
                next.append(index + 1 < count ? Int32(index + 1) : -1)
                previous.append(Int32(index - 1))
            }
            for index in 0..<count - 1 { push(index, index + 1) }
            while let top = popSmallest() { apply(top) }
        }
        for symbol in symbols where symbol >= 0 {
            if symbol < model.firstHidden {
                ids.append(symbol)
            } else {
                ids += model.hidden[Int(symbol - model.firstHidden)]
            }
        }
    }

    /// Merges a pair, unless one of its symbols has become part of another.
    @inline(__always)
    private mutating func apply(_ entry: UInt64) {
        let first = Int(entry & 0xFFFF_FFFF)
        guard symbols[first] >= 0, next[first] >= 0 else { return }
        let second = Int(next[first])
        guard let merged = model.pairs[BytePairModel.key(symbols[first], symbols[second])],
            merged >> 32 == entry >> 32
        else { return }
        symbols[first] = Int32(truncatingIfNeeded: merged)
        symbols[second] = -2
        next[first] = next[second]
        if next[first] >= 0 {
            previous[Int(next[first])] = Int32(first)
            push(first, Int(next[first]))
        }
        if previous[first] >= 0 { push(Int(previous[first]), first) }
    }

    @inline(__always)
    private mutating func push(_ first: Int, _ second: Int) {
        guard let merged = model.pairs[BytePairModel.key(symbols[first], symbols[second])] else { return }
        let entry = merged & 0xFFFF_FFFF_0000_0000 | UInt64(first)
        heap.append(entry)
        var index = heap.count - 1
        while index > 0, case let parent = (index - 1) / 2, heap[parent] > entry {
            heap[index] = heap[parent]
            index = parent
        }
        heap[index] = entry
    }

    private mutating func popSmallest() -> UInt64? {
        guard let top = heap.first, let last = heap.popLast() else { return nil }
        guard !heap.isEmpty else { return top }
        var index = 0
        while case var child = 2 * index + 1, child < heap.count {
            if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
            guard heap[child] < last else { break }
            heap[index] = heap[child]
            index = child
        }
        heap[index] = last
        return top
    }
}

/// Pieces that were encoded, with their ids. Each piece has one place; another one that falls on it takes it.
struct PieceCache {
    /// Ids of all pieces.
    private(set) var ids: [Int32] = []
    private var bytes: [UInt8] = []
    private var places: [Place]
    private let seed = BytesHash()

    private struct Place {
        var hash: UInt64 = 0
        var bytes = 0..<0
        var ids = 0..<0
    }

    private static let size = 1 << 15
    private static let maximumBytes = 4 << 20

    /// Makes an empty cache.
    init() { places = [Place](repeating: Place(), count: PieceCache.size) }

    /// The hash of a piece.
    @inline(__always)
    func hash(_ text: [UInt8], _ range: Range<Int>) -> UInt64 { seed.hash(text, range) }

    /// Where in `ids` those of a piece are; nil if it is not in the cache.
    @inline(__always)
    func find(_ hash: UInt64, _ text: [UInt8], _ range: Range<Int>) -> Range<Int>? {
        let place = places[Int(truncatingIfNeeded: hash) & (PieceCache.size - 1)]
        guard place.hash == hash, BytesTable.equal(bytes, place.bytes, text, range) else { return nil }
        return place.ids
    }

    /// Adds a piece.
    mutating func insert(_ hash: UInt64, _ text: [UInt8], _ range: Range<Int>, _ piece: ArraySlice<Int32>) {
        if bytes.count + range.count > PieceCache.maximumBytes {
            bytes.removeAll(keepingCapacity: true)
            ids.removeAll(keepingCapacity: true)
            places = [Place](repeating: Place(), count: PieceCache.size)
        }
        let place = Place(
            hash: hash, bytes: bytes.count..<bytes.count + range.count, ids: ids.count..<ids.count + piece.count)
        bytes += text[range]
        ids += piece
        places[Int(truncatingIfNeeded: hash) & (PieceCache.size - 1)] = place
    }
}
