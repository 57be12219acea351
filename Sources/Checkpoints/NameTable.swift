import TensorModel

/// Finds names that were seen before: an open hash table of positions in a list that the caller keeps.
///
/// It costs 8 bytes per slot, while a `Set` would store every name a second time. The seed of the hash is new in every process, so nobody
/// can prepare an input of colliding names.
struct NameTable {
    /// Upper half: hash. Lower half: position in the list plus one. An empty slot is 0.
    private var slots = [UInt64](repeating: 0, count: 64)
    private var count = 0

    /// Maximum number of names in a table.
    static let capacity = 1 << 31

    /// Records that `name` will stand at `position` of the list. If the table already has an equal name, returns its position instead.
    ///
    /// - Parameter stored: gives the name at a position of the list.
    mutating func insert(_ name: TensorName, at position: Int, stored: (Int) -> TensorName) -> Int? {
        if count >= slots.count / 4 * 3 { grow() }
        let hash = UInt64(truncatingIfNeeded: name.hashValue) >> 32
        var slot = Int(hash) & (slots.count - 1)
        while slots[slot] != 0 {
            let other = Int(slots[slot] & 0xFFFF_FFFF) - 1
            if slots[slot] >> 32 == hash, stored(other) == name { return other }
            slot = (slot + 1) & (slots.count - 1)
        }
        slots[slot] = hash << 32 | UInt64(position + 1)
        count += 1
        return nil
    }

    private mutating func grow() {
        var larger = [UInt64](repeating: 0, count: slots.count * 2)
        let mask = larger.count - 1
        for entry in slots where entry != 0 {
            var slot = Int(entry >> 32) & mask
            while larger[slot] != 0 { slot = (slot + 1) & mask }
            larger[slot] = entry
        }
        slots = larger
    }
}
