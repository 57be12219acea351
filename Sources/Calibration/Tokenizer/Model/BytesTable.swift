/// Numbers for byte strings, in one block of memory.
///
/// Slots follow from a hash with a random seed, so nobody can choose strings that collide.
struct BytesTable: Sendable {
    private var bytes: [UInt8] = []
    private var ends: [Int] = []
    /// Number of a string, by slot; -1 for an empty slot.
    private var slots: [Int32]
    private let seed: BytesHash

    /// Makes an empty table with room for `capacity` strings; it grows.
    init(capacity: Int = 0) {
        var size = 16
        while size < 2 * min(capacity, 1 << 22) { size *= 2 }
        slots = [Int32](repeating: -1, count: size)
        seed = BytesHash()
    }

    /// Number of strings.
    var count: Int { ends.count }

    /// The bytes of a string.
    func range(_ number: Int) -> Range<Int> { (number == 0 ? 0 : ends[number - 1])..<ends[number] }

    /// All strings, one after the other.
    var allBytes: [UInt8] { bytes }

    /// Number of a string: the order in which it was added. Nil if it was not.
    func find(_ string: [UInt8], _ range: Range<Int>) -> Int? {
        let slot = slot(string, range)
        return slots[slot] < 0 ? nil : Int(slots[slot])
    }

    /// Number of a string.
    func find(_ string: [UInt8]) -> Int? { find(string, 0..<string.count) }

    /// Adds a string. Returns false if it is there already.
    mutating func insert(_ string: [UInt8], _ range: Range<Int>) -> Bool {
        if 2 * ends.count >= slots.count { grow() }
        let slot = slot(string, range)
        guard slots[slot] < 0 else { return false }
        slots[slot] = Int32(ends.count)
        bytes += string[range]
        ends.append(bytes.count)
        return true
    }

    private func slot(_ string: [UInt8], _ range: Range<Int>) -> Int {
        var slot = Int(truncatingIfNeeded: seed.hash(string, range)) & (slots.count - 1)
        while slots[slot] >= 0, !BytesTable.equal(bytes, self.range(Int(slots[slot])), string, range) {
            slot = (slot + 1) & (slots.count - 1)
        }
        return slot
    }

    private mutating func grow() {
        slots = [Int32](repeating: -1, count: 2 * slots.count)
        for number in ends.indices {
            var slot = Int(truncatingIfNeeded: seed.hash(bytes, range(number))) & (slots.count - 1)
            while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
            slots[slot] = Int32(number)
        }
    }

    /// Whether two ranges hold the same bytes.
    @inline(__always)
    static func equal(_ a: [UInt8], _ first: Range<Int>, _ b: [UInt8], _ second: Range<Int>) -> Bool {
        guard first.count == second.count else { return false }
        for offset in 0..<first.count where a[first.lowerBound + offset] != b[second.lowerBound + offset] {
            return false
        }
        return true
    }
}

/// A hash of bytes that depends on a random seed. It folds products of 64 bits, eight bytes at a time.
struct BytesHash: Sendable {
    private let first = UInt64.random(in: .min ... .max)
    private let second = UInt64.random(in: .min ... .max) | 1

    /// The hash of a range.
    @inline(__always)
    func hash(_ bytes: [UInt8], _ range: Range<Int>) -> UInt64 {
        var state = first ^ UInt64(truncatingIfNeeded: range.count)
        var word: UInt64 = 0
        var held = 0
        for index in range {
            word = word << 8 | UInt64(bytes[index])
            held += 1
            if held == 8 {
                state = fold(state ^ word)
                (word, held) = (0, 0)
            }
        }
        return fold(fold(state ^ word) ^ first)
    }

    @inline(__always)
    private func fold(_ value: UInt64) -> UInt64 {
        let product = value.multipliedFullWidth(by: second)
        return product.high ^ product.low
    }
}
