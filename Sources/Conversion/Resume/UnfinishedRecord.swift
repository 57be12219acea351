import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel

/// What a journal records of a shard that is not finished.
struct UnfinishedRecord: Sendable {
    /// Hash of the plan that its payloads follow (`ShardPlan.hash`).
    let plan: ContentHash
    /// The payloads that are on the disk, in the order of the layout.
    var payloads: [WrittenPayload] = []

    /// A record without payloads.
    init(plan: ContentHash) { self.plan = plan }
}

/// Another form for a tensor that missed its goal, with the warning about it.
struct Replacement: Sendable {
    /// Index of the payload in the layout before the replacement.
    let payload: Int
    /// The new form: `stored` or `kept`.
    let finding: RatePlanner.Finding
    /// The warning that the run gave.
    let warning: IngotWarning

    /// A replacement.
    init(payload: Int, finding: RatePlanner.Finding, warning: IngotWarning) {
        (self.payload, self.finding, self.warning) = (payload, finding, warning)
    }

    /// Reads the members of a `replaced` line; nil if this version does not write such a line.
    init?(_ value: JSONValue) {
        guard let (payload, finding) = RatePlanner.Finding.parse(value), let warning = value["warning"] else {
            return nil
        }
        self.init(payload: payload, finding: finding, warning: IngotWarning(journal: warning))
    }

    /// The members of the line.
    var members: [JSONValue.Member] {
        [
            .init("payload", .unsigned(UInt64(payload))), .init("rate", finding.json),
            .init("warning", warning.journalEntry),
        ]
    }
}

extension WrittenPayload {
    /// The payload as an entry of an `encoded` line (Specs/journal.md).
    var journalEntry: JSONValue {
        .object(
            [
                .init("bytes", .unsigned(byteCount)), .init("front_xxh3_128", .string(front.description)),
                .init("source_xxh3_128", .string(sourceHash.description)),
            ]
                + (calibrated.map { sums in
                    [("h_signal", sums.signal), ("h_noise", sums.noise)].map { key, sum in
                        JSONValue.Member(key, .string(ContentHash.hexadecimal(sum.bitPattern)))
                    }
                } ?? []))
    }

    /// Reads an entry; nil if this version does not write such an entry.
    init?(journal value: JSONValue) {
        guard let bytes = value["bytes"]?.unsigned,
            let front = value["front_xxh3_128"]?.string.flatMap({ ContentHash(hexadecimal: $0) }),
            let source = value["source_xxh3_128"]?.string.flatMap({ ContentHash(hexadecimal: $0) })
        else { return nil }
        let sums = ["h_signal", "h_noise"].compactMap { value[$0]?.string }.compactMap { UInt64($0, radix: 16) }
        guard sums.isEmpty || sums.count == 2 else { return nil }
        var calibrated: ActivationSums?
        if sums.count == 2 {
            calibrated = ActivationSums()
            calibrated?.signal = Double(bitPattern: sums[0])
            calibrated?.noise = Double(bitPattern: sums[1])
        }
        self.init(byteCount: bytes, front: front, sourceHash: source, calibrated: calibrated)
    }
}

extension IngotWarning {
    /// The warning as a journal has it.
    var journalEntry: JSONValue {
        .object([
            .init("file", .string(file)), .init("tensor", tensor.map { .string($0.text) } ?? .null),
            .init("message", .string(message)),
        ])
    }

    /// A warning from a journal; missing members are empty.
    init(journal value: JSONValue) {
        self.init(
            file: value["file"]?.string ?? "", tensor: value["tensor"]?.string.map { TensorName($0) },
            value["message"]?.string ?? "")
    }
}

extension ConversionPlan.ShardPlan {
    /// Hash of everything that decides the payloads and their places: names, descriptions and rates of all payloads, and the start of the
    /// first. A run continues the payloads of an earlier run only under the same plan.
    var hash: ContentHash {
        var text = "\(layout.dataStart)\n"
        for (payload, encoding) in zip(layout.payloads, encodings) {
            let prologue = payload.descriptor?.prologue
            JSONValue.writeString(payload.tensor.name.text, to: &text)
            text += prologue.map { "\($0.scheme.summary) \($0.codec.name) \($0.elementType) \($0.grid.count)" } ?? ""
            text += JSONValue.object(prologue?.scheme.members ?? []).text()
            switch encoding {
            case .trellis(let rate): text += rate.map { RatePlanner.Finding.rate($0).json.text() } ?? ""
            case .copied: text += payload.descriptor.map { "copied \($0.sourceHash) \($0.sums)" } ?? ""
            case .lossless(let form), .uniform(let form):
                text += form.map { RatePlanner.Finding.stored($0).json.text() } ?? ""
            }
            text += "\n"
        }
        return ContentHash(of: Array(text.utf8).span)
    }
}
