import Container
import FileAccess
import Quantization
import TensorModel

/// Rates in the journal: numbers as the bits of binary64, so that a resumed conversion writes the same bytes.
extension RatePlanner.Finding {
    func journalEntry(_ payload: Int) -> JSONValue {
        let kind: JSONValue
        switch self {
        case .rate(let rate): kind = rate.journalEntry
        case .notFinite: kind = .string("not_finite")
        case .kept: kind = .string("kept")
        case .stored(let form): kind = form.journalEntry
        }
        return .object([.init("payload", .unsigned(UInt64(payload))), .init("rate", kind)])
    }

    static func parse(_ value: JSONValue) -> (payload: Int, finding: RatePlanner.Finding)? {
        guard let payload = value["payload"]?.unsigned.flatMap({ Int(exactly: $0) }), let rate = value["rate"] else {
            return nil
        }
        switch rate.string {
        case "not_finite": return (payload, .notFinite)
        case "kept": return (payload, .kept)
        default:
            if let form = StoredForm(journal: rate) { return (payload, .stored(form)) }
            return TensorRate(journal: rate).map { (payload, .rate($0)) }
        }
    }
}

extension TensorRate {
    fileprivate var journalEntry: JSONValue {
        let numbers = [
            goal.most, goal.aim, goal.least, Double(rule.step), Double(rule.deadZone), Double(rule.shrink), bits, slope,
            relativeMSE, leastStep, safeStep, mostStep,
        ]
        let integers = [parameters.states, parameters.alphabet, parameters.lowBits, parameters.rowClasses]
        return .object([
            .init("holds", .string(goal.quantity.rawValue)),
            .init("integers", .array(integers.map { .unsigned(UInt64($0)) })),
            .init("numbers", .array(numbers.map { .string(ContentHash.hexadecimal($0.bitPattern)) })),
        ])
    }

    fileprivate init?(journal value: JSONValue) {
        let integers = (value["integers"]?.array ?? []).compactMap { $0.unsigned.flatMap { Int(exactly: $0) } }
        let numbers = (value["numbers"]?.array ?? []).compactMap { number in
            number.string.flatMap { UInt64($0, radix: 16) }.map { Double(bitPattern: $0) }
        }
        guard integers.count == 4, numbers.count == 12, let holds = value["holds"]?.string,
            let quantity = TensorGoal.Quantity(rawValue: holds),
            let parameters = TrellisParameters(
                states: integers[0], alphabet: integers[1], lowBits: integers[2], rowClasses: integers[3])
        else { return nil }
        var rule = TrellisRule(step: Float(numbers[3]))
        rule.deadZone = Float(numbers[4])
        rule.shrink = Float(numbers[5])
        self.init(
            goal: TensorGoal(quantity: quantity, most: numbers[0], aim: numbers[1], least: numbers[2]),
            parameters: parameters, rule: rule, bits: numbers[6], slope: numbers[7], relativeMSE: numbers[8],
            leastStep: numbers[9], mostStep: numbers[11],
            safeStep: numbers[10])
    }
}

extension StoredForm {
    fileprivate var journalEntry: JSONValue {
        .object(
            [.init("scheme", .string(scheme.name))] + scheme.members + [
                .init("bytes", .unsigned(UInt64(byteCount))),
                .init("error", .string(ContentHash.hexadecimal(relativeMSE.bitPattern))),
            ])
    }

    fileprivate init?(journal value: JSONValue) {
        guard let bytes = value["bytes"]?.unsigned.flatMap({ Int(exactly: $0) }),
            let error = value["error"]?.string.flatMap({ UInt64($0, radix: 16) }).map({ Double(bitPattern: $0) }),
            error >= 0, error <= RateGoal.errorRange.upperBound
        else { return nil }
        let scheme: TensorScheme
        switch value["scheme"]?.string {
        case "lossless": scheme = .lossless
        case "uniform":
            guard let bits = value["bits"]?.unsigned.flatMap({ Int(exactly: $0) }),
                let group = value["group_size"]?.unsigned.flatMap({ Int(exactly: $0) }),
                let symmetric = value["symmetric"]?.bool,
                let parameters = UniformParameters(bits: bits, groupSize: group, symmetric: symmetric)
            else { return nil }
            scheme = .uniform(parameters)
        default: return nil
        }
        self.init(scheme: scheme, byteCount: bytes, relativeMSE: error)
    }
}
