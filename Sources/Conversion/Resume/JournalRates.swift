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
        case .tooSmall: kind = .string("too_small")
        }
        return .object([.init("payload", .unsigned(UInt64(payload))), .init("rate", kind)])
    }

    static func parse(_ value: JSONValue) -> (payload: Int, finding: RatePlanner.Finding)? {
        guard let payload = value["payload"]?.unsigned.flatMap({ Int(exactly: $0) }), let rate = value["rate"] else {
            return nil
        }
        switch rate.string {
        case "not_finite": return (payload, .notFinite)
        case "too_small": return (payload, .tooSmall)
        default: return TensorRate(journal: rate).map { (payload, .rate($0)) }
        }
    }
}

extension TensorRate {
    fileprivate var journalEntry: JSONValue {
        let numbers = [
            goal.most, goal.aim, goal.least, Double(rule.step), Double(rule.deadZone), Double(rule.shrink), bits, slope,
            relativeMSE, leastStep, safeStep,
        ]
        let integers = [parameters.states, parameters.alphabet, parameters.lowBits, parameters.rowClasses]
        return .object([
            .init("holds", .string(goal.quantity == .bytes ? "bytes" : "error")),
            .init("integers", .array(integers.map { .unsigned(UInt64($0)) })),
            .init("numbers", .array(numbers.map { .string(ContentHash.hexadecimal($0.bitPattern)) })),
        ])
    }

    fileprivate init?(journal value: JSONValue) {
        let integers = (value["integers"]?.array ?? []).compactMap { $0.unsigned.flatMap { Int(exactly: $0) } }
        let numbers = (value["numbers"]?.array ?? []).compactMap { number in
            number.string.flatMap { UInt64($0, radix: 16) }.map { Double(bitPattern: $0) }
        }
        guard integers.count == 4, numbers.count == 11, let holds = value["holds"]?.string,
            ["bytes", "error"].contains(holds),
            let parameters = TrellisParameters(
                states: integers[0], alphabet: integers[1], lowBits: integers[2], rowClasses: integers[3])
        else { return nil }
        var rule = TrellisRule(step: Float(numbers[3]))
        rule.deadZone = Float(numbers[4])
        rule.shrink = Float(numbers[5])
        self.init(
            goal: TensorGoal(
                quantity: holds == "bytes" ? .bytes : .error, most: numbers[0], aim: numbers[1], least: numbers[2]),
            parameters: parameters, rule: rule, bits: numbers[6], slope: numbers[7], relativeMSE: numbers[8],
            leastStep: numbers[9], safeStep: numbers[10])
    }
}
