import TensorModel

/// Oddities of a header that all or most readers tolerate. Each kind gives one warning, no matter how often it occurs.
struct HeaderOddities {
    /// Bytes of white space before the opening brace.
    var leadingSpace = 0
    private var fieldCount = 0
    /// The first field that the format does not define.
    private(set) var field: SafetensorsHeader.UnknownField?
    private var equivalentCount = 0
    private var equivalent: (first: TensorName, second: TensorName)?

    /// Records a field of a tensor that the format does not define.
    mutating func noteField(_ key: String, of tensor: TensorName) {
        fieldCount += 1
        if field == nil { field = .init(key: String(key.prefix(80)), tensor: tensor) }
    }

    /// Looks for names that differ as bytes but are equal after Unicode normalization.
    mutating func noteEquivalentNames(_ names: some Sequence<TensorName>) {
        // Names without a byte above 127 are equivalent only if they are equal.
        guard names.contains(where: { $0.text.utf8.contains { $0 >= 0x80 } }) else { return }
        var seen: Set<String> = []
        for name in names {
            let (isNew, other) = seen.insert(name.text)
            if isNew { continue }
            equivalentCount += 1
            if equivalent == nil { equivalent = (TensorName(other), name) }
        }
    }

    /// The warnings, in a fixed order.
    func warnings(path: String) -> [IngotWarning] {
        var list: [IngotWarning] = []
        if leadingSpace > 0 {
            list.append(
                IngotWarning(
                    file: path,
                    "\(leadingSpace) bytes of white space before the header's object; other readers refuse it"))
        }
        if let field {
            let more = fieldCount > 1 ? " (\(fieldCount) such fields in all)" : ""
            list.append(
                IngotWarning(
                    file: path, tensor: field.tensor, "the field `\(field.key)` is not of the format; ignored\(more)"))
        }
        if let equivalent {
            let more = equivalentCount > 1 ? " (\(equivalentCount) such pairs in all)" : ""
            list.append(
                IngotWarning(
                    file: path, tensor: equivalent.second,
                    "the name differs from another only in Unicode normalization; kept apart\(more)"))
        }
        return list
    }
}
