import Container
import FileAccess
import Quantization
import TensorModel

/// Findings in the journal. Numbers are the bits of binary64, so that a resumed conversion writes the same bytes.
extension RatePlanner.Finding {
    /// The entry of a payload in a `rates` line (Specs/journal.md).
    func journalEntry(_ payload: Int) -> JSONValue {
        .object([.init("payload", .unsigned(UInt64(payload))), .init("rate", json)])
    }

    /// The finding as JSON.
    var json: JSONValue {
        switch self {
        case .rate(let rate): rate.journalEntry
        case .notFinite: .string("not_finite")
        case .kept: .string("kept")
        case .copied: .string("copied")
        case .stored(let form): form.journalEntry
        }
    }

    /// Reads an entry; nil if no planner can have found these numbers.
    static func parse(_ value: JSONValue) -> (payload: Int, finding: RatePlanner.Finding)? {
        guard let payload = value["payload"]?.unsigned.flatMap({ Int(exactly: $0) }), let rate = value["rate"] else {
            return nil
        }
        return RatePlanner.Finding(rate).map { (payload, $0) }
    }

    /// Reads a finding; nil if no planner can have found these numbers.
    init?(_ value: JSONValue) {
        switch value.string {
        case "not_finite": self = .notFinite
        case "kept": self = .kept
        case "copied": self = .copied
        default:
            if let form = StoredForm(journal: value) {
                self = .stored(form)
            } else if let rate = TensorRate(journal: value) {
                self = .rate(rate)
            } else {
                return nil
            }
        }
    }
}

extension TensorRate {
    fileprivate var journalEntry: JSONValue {
        let numbers = [
            goal.maximum, goal.aim, goal.minimum, Double(rule.step), Double(rule.deadZone), Double(rule.shrink), bits,
            slope,
            relativeMSE, minimumStep, safeStep, maximumStep,
        ]
        let integers = [parameters.states, parameters.alphabet, parameters.lowBits, parameters.rowClasses]
        let scales = parameters.scaleBytes.map { [JSONValue.Member("scale_bytes", .string($0.rawValue))] } ?? []
        return .object(
            [
                .init("holds", .string(goal.quantity.rawValue)),
                .init("integers", .array(integers.map { .unsigned(UInt64($0)) })),
                .init("numbers", .array(numbers.map { .string(ContentHash.hexadecimal($0.bitPattern)) })),
            ] + scales)
    }

    fileprivate init?(journal value: JSONValue) {
        let integers = (value["integers"]?.array ?? []).compactMap { $0.unsigned.flatMap { Int(exactly: $0) } }
        let numbers = (value["numbers"]?.array ?? []).compactMap { number in
            number.string.flatMap { UInt64($0, radix: 16) }.map { Double(bitPattern: $0) }
        }
        guard integers.count == 4, numbers.count == 12, let holds = value["holds"]?.string,
            let quantity = TensorGoal.Quantity(rawValue: holds),
            var parameters = TrellisParameters(
                states: integers[0], alphabet: integers[1], lowBits: integers[2], rowClasses: integers[3]),
            let step = Float(exactly: numbers[3]), let deadZone = Float(exactly: numbers[4]),
            let shrink = Float(exactly: numbers[5])
        else { return nil }
        if let scales = value["scale_bytes"] {
            guard let name = scales.string, let scales = ScaleBytes(rawValue: name) else { return nil }
            parameters.scaleBytes = scales
        }
        self.init(
            goal: TensorGoal(quantity: quantity, maximum: numbers[0], aim: numbers[1], minimum: numbers[2]),
            parameters: parameters, rule: TrellisRule(step: step, deadZone: deadZone, shrink: shrink),
            bits: numbers[6], slope: numbers[7], relativeMSE: numbers[8], minimumStep: numbers[9],
            maximumStep: numbers[11], safeStep: numbers[10])
        guard isPossible else { return nil }
    }

    /// Upper bounds of the numbers in a plan: bytes of a tensor, and bits per weight.
    private static let maximumBytes = 0x1p60, maximumBits = 0x1p20

    /// Whether a planner can have written these numbers. If so, later computations cannot overflow.
    private var isPossible: Bool {
        let maximum = goal.quantity == .error ? 1 : TensorRate.maximumBytes
        let isGoal =
            goal.maximum <= maximum && goal.aim > 0 && goal.minimum >= 0 && goal.minimum <= goal.aim
            && goal.aim <= goal.maximum
        return isGoal && rule.step.isNormal && rule.step == TrellisRule.representable(Double(rule.step))
            && (0...0.5).contains(rule.deadZone) && (0...1).contains(rule.shrink)
            && bits.magnitude <= TensorRate.maximumBits && slope > 0x1p-20 && slope <= TensorRate.maximumBits
            && relativeMSE >= 0 && minimumStep > 0 && minimumStep.isFinite && safeStep > 0 && maximumStep >= minimumStep
    }
}

extension ConversionPlan.ShardPlan {
    /// Whether findings are for exactly the payloads of scheme `trellis` in this shard, with parameters that the options allow.
    func accepts(_ findings: ConversionPlan.Findings, _ options: EncodingOptions) -> Bool {
        let expected = layout.payloads.indices.filter { index in
            if case .trellis = layout.payloads[index].descriptor?.scheme { true } else { false }
        }
        return Set(findings.keys) == Set(expected)
            && findings.values.compactMap(\.rate).allSatisfy { rate in
                let parameters = rate.parameters
                guard parameters.states == options.states else { return false }
                switch options.codec {
                case .zstd: return true
                case .rans: return parameters.alphabet == 256 && parameters.rowClasses == 1
                // Codes of a fixed width have no rate for all matrices together.
                case .lz4, .none: return false
                }
            }
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
            let scheme = TensorScheme(value), bytes > 0, bytes <= 1 << 60, error >= 0,
            error <= RateGoal.errorRange.upperBound
        else { return nil }
        self.init(scheme: scheme, byteCount: bytes, relativeMSE: error)
    }
}
