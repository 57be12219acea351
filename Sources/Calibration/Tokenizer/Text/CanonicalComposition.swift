/// Normalization form C of Unicode 9.0, the version of `tokenizers`. Scalars that are assigned later stay as they are.
enum CanonicalComposition {
    /// The version of the tables.
    static let version = 9

    private static let decompositions: [UInt32: (UInt32, UInt32)] = {
        var map: [UInt32: (UInt32, UInt32)] = [:]
        for table in [CanonicalTable.composites, CanonicalTable.others] {
            for index in stride(from: 0, to: table.count, by: 3) {
                map[table[index]] = (table[index + 1], table[index + 2])
            }
        }
        return map
    }()

    private static let compositions: [UInt64: UInt32] = {
        var map: [UInt64: UInt32] = [:]
        let table = CanonicalTable.composites
        for index in stride(from: 0, to: table.count, by: 3) {
            map[UInt64(table[index + 1]) << 32 | UInt64(table[index + 2])] = table[index]
        }
        return map
    }()

    /// Canonical combining classes of the scalars below U+20000, where all marks are.
    private static let classes: [UInt8] = (UInt32(0)..<0x20000).map { value in
        guard let properties = Unicode.Scalar(value)?.properties, let age = properties.age, age.major <= version else {
            return 0
        }
        return properties.canonicalCombiningClass.rawValue
    }

    private static func combiningClass(_ value: UInt32) -> UInt8 { value < 0x20000 ? classes[Int(value)] : 0 }

    /// Normalizes valid UTF-8.
    static func normalized(_ bytes: [UInt8]) -> [UInt8] {
        // Below U+0300, whose first byte is CC, every text is in form C.
        guard let first = bytes.firstIndex(where: { $0 >= 0xCC }) else { return bytes }
        // The scalar before may be composed with the first one.
        let start = first == 0 ? 0 : UTF8Text.before(bytes, first)
        var output = Array(bytes[..<start])
        output.reserveCapacity(bytes.count)
        // A starter and everything up to the next one, decomposed.
        var segment: [UInt32] = []
        var index = start
        while index < bytes.count {
            let (value, length) = UTF8Text.scalar(bytes, index)
            index += length
            let place = segment.count
            decompose(value, into: &segment)
            // A starter that is composed with nothing before it ends the segment before it.
            if place > 0, startsSegment(segment[place]) {
                let rest = Array(segment[place...])
                segment.removeSubrange(place...)
                compose(&segment, to: &output)
                segment = rest
            }
        }
        compose(&segment, to: &output)
        return output
    }

    /// Whether a scalar is a starter that is never composed with what stands before it.
    private static func startsSegment(_ value: UInt32) -> Bool {
        combiningClass(value) == 0 && !(0x1161..<0x11C3).contains(value) && !seconds.contains(value)
    }

    /// Starters that are the second part of a composite.
    private static let seconds: Set<UInt32> = {
        let table = CanonicalTable.composites
        return Set(
            stride(from: 0, to: table.count, by: 3).map { table[$0 + 2] }.filter { combiningClass($0) == 0 })
    }()

    private static func decompose(_ value: UInt32, into segment: inout [UInt32]) {
        guard value >= 0xC0 else { return segment.append(value) }
        if (0xAC00..<0xD7A4).contains(value) {
            let index = value - 0xAC00
            segment += [0x1100 + index / 588, 0x1161 + index % 588 / 28]
            if index % 28 != 0 { segment.append(0x11A7 + index % 28) }
            return
        }
        guard let (first, second) = decompositions[value] else { return segment.append(value) }
        // The first part may have a decomposition of its own; at most four levels.
        decompose(first, into: &segment)
        if second != 0 { decompose(second, into: &segment) }
    }

    /// Orders the marks of a segment, composes, and appends the result.
    private static func compose(_ segment: inout [UInt32], to output: inout [UInt8]) {
        order(&segment)
        var starter: Int?
        var last: UInt8 = 0
        var kept = 0
        for index in segment.indices {
            let value = segment[index]
            let own = combiningClass(value)
            if let place = starter, last == 0 ? place == kept - 1 : last < own,
                let composite = composite(segment[place], value)
            {
                segment[place] = composite
                continue
            }
            segment[kept] = value
            if own == 0 { starter = kept }
            last = own
            kept += 1
        }
        for value in segment[..<kept] { UTF8Text.append(value, to: &output) }
        segment.removeAll(keepingCapacity: true)
    }

    /// Puts marks in a row in the order of their classes; equal ones keep theirs.
    private static func order(_ segment: inout [UInt32]) {
        var start = 0
        while start < segment.count {
            var end = start
            while end < segment.count, combiningClass(segment[end]) != 0 { end += 1 }
            if end - start > 1 {
                let marks = segment[start..<end].enumerated().map { (combiningClass($1), $0, $1) }
                let sorted = marks.sorted { ($0.0, $0.1) < ($1.0, $1.1) }
                for (offset, mark) in sorted.enumerated() { segment[start + offset] = mark.2 }
            }
            start = end + 1
        }
    }

    private static func composite(_ first: UInt32, _ second: UInt32) -> UInt32? {
        if (0x1100..<0x1113).contains(first), (0x1161..<0x1176).contains(second) {
            return 0xAC00 + (first - 0x1100) * 588 + (second - 0x1161) * 28
        }
        if (0xAC00..<0xD7A4).contains(first), (first - 0xAC00) % 28 == 0, (0x11A8..<0x11C3).contains(second) {
            return first + second - 0x11A7
        }
        return compositions[UInt64(first) << 32 | UInt64(second)]
    }
}
