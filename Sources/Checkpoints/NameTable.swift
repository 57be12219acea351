import TensorModel

/// Finds names that were seen before: an open hash table of positions in a list that the caller keeps.
///
/// It costs 8 bytes a slot, where a `Set` would keep every name a second time. The hash is seeded anew in every
/// process, so that no input can be made of colliding names.
struct NameTable {
    /// Upper half: hash; lower half: position in the list plus one; 0 for an empty slot.
    private var slots = [UInt64](repeating: 0, count: 64)
    private var count = 0

    /// The most names a table can hold.
    static let capacity = 1 << 31

    /// Notes that `name` is about to stand at `position` of a list; returns the position of an equal name, if any.
    ///
    /// `stored` gives the name at a position of the list.
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
