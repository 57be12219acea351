import Conversion
import TensorModel

/// Events of a conversion as text and as JSON.
enum ProgressText {
    /// Message that stays on the screen: a finished shard, or a warning. Nil for events that only move the bar.
    static func message(_ event: ConversionEvent, isSharded: Bool) -> String? {
        func escaped(_ name: String) -> String { IngotErrorRenderer.escaped(name) }
        switch event {
        case .warning(let warning): return IngotErrorRenderer.text(warning)
        case .resumed(let shard): return "\(escaped(shard)): finished by an earlier run; checked, and kept"
        case .continued(let shard, let tensors, let count):
            return "\(escaped(shard)): \(tensors) of \(count) tensors were encoded by an earlier run; checked, and kept"
        case .sealed(let shard, let bytes):
            return isSharded ? "\(escaped(shard)): sealed, \(Format.bytes(bytes))" : nil
        case .consumed(let shard): return "\(escaped(shard)): its output is verified; deleted"
        case .planning, .progress, .waiting, .verifying: return nil
        }
    }

    /// The progress bar, at most `width` columns.
    static func bar(_ event: ConversionEvent, _ rate: Double?, width: Int) -> String {
        let room = max(20, width - 1)
        switch event {
        case .progress(let progress):
            let cells = 10
            let share = progress.share ?? 0
            let filled = Int(share * Double(cells))
            var text = "[" + String(repeating: "#", count: filled) + String(repeating: ".", count: cells - filled) + "]"
            text += progress.share.map { Format.padded("\(Int($0 * 100))", to: 4) + " %" } ?? ""
            text += "  " + amounts(progress)
            if let rate { text += "  \(Format.bytes(UInt64(rate)))/s" }
            if let left = secondsLeft(progress, rate) { text += "  \(duration(left))" }
            if let bits = progress.bitsPerWeight { text += "  \(NumberText.fixed(bits, 2)) bits" }
            if let name = progress.tensor, room - text.width > 8 {
                text += "  " + Format.shortened(IngotErrorRenderer.escaped(name.text), to: room - text.width - 2)
            }
            return String(text.prefix(room))
        default: return String((line(event, rate) ?? "").prefix(room))
        }
    }

    /// The event as a separate line; nil for events that `message` covers.
    static func line(_ event: ConversionEvent, _ rate: Double?) -> String? {
        switch event {
        case .progress(let progress):
            var parts: [String] = []
            if let share = progress.share { parts.append("\(Int(share * 100)) %") }
            parts.append(amounts(progress))
            if let rate { parts.append("\(Format.bytes(UInt64(rate)))/s") }
            if let left = secondsLeft(progress, rate) { parts.append("\(duration(left)) left") }
            if let bits = progress.bitsPerWeight { parts.append("\(NumberText.fixed(bits, 2)) bits") }
            if progress.shardCount > 1 { parts.append("shard \(progress.shardNumber) of \(progress.shardCount)") }
            if let name = progress.tensor { parts.append(IngotErrorRenderer.escaped(name.text)) }
            return parts.joined(separator: ", ")
        case .planning(let shard):
            return "planning rates" + (shard.map { " of \(IngotErrorRenderer.escaped($0))" } ?? "")
        case .verifying(let shard): return "verifying \(IngotErrorRenderer.escaped(shard))"
        case .waiting(let name, let bytes, let total):
            let there = total.map { "\(Format.bytes(bytes)) of \(Format.bytes($0))" } ?? "\(Format.bytes(bytes))"
            return "waiting for \(IngotErrorRenderer.escaped(name))" + (bytes > 0 ? ", \(there) there" : "")
        case .warning, .resumed, .continued, .sealed, .consumed: return nil
        }
    }

    private static func amounts(_ progress: ConversionProgress) -> String {
        let done = Format.bytes(progress.doneBytes)
        guard let total = progress.totalBytes.map(Format.bytes) else { return done }
        // State a common unit once: `1.20 of 2.20 GB`.
        let unit = total.split(separator: " ").last ?? ""
        return (done.hasSuffix(" \(unit)") ? String(done.dropLast(unit.count + 1)) : done) + " of \(total)"
    }

    private static func secondsLeft(_ progress: ConversionProgress, _ rate: Double?) -> Double? {
        guard let total = progress.totalBytes, let rate, rate > 0 else { return nil }
        return Double(total - min(total, progress.doneBytes)) / rate
    }

    /// A duration: `0:07`, `12:40`, `3:05:00`.
    static func duration(_ seconds: Double) -> String {
        let whole = Int(min(seconds.rounded(.up), 359_999))
        func two(_ number: Int) -> String { NumberText.padded(number, digits: 2) }
        let (hours, minutes) = (whole / 3600, whole / 60 % 60)
        return (hours > 0 ? "\(hours):\(two(minutes))" : "\(minutes)") + ":\(two(whole % 60))"
    }

    // MARK: - JSON

    /// An event as a line of `--progress json` (Specs/json.md, "Events").
    static func json(_ event: ConversionEvent, _ rate: Double?, seconds: Double) -> JSONValue {
        func object(_ name: String, _ members: [JSONValue.Member]) -> JSONValue {
            .object([.init("event", .string(name)), .init("seconds", .number(seconds))] + members)
        }
        func optional(_ value: UInt64?) -> JSONValue { value.map { .unsigned($0) } ?? .null }
        switch event {
        case .warning(let warning):
            return object("warning", [.init("message", .string(IngotErrorRenderer.text(warning)))])
        case .resumed(let shard): return object("resumed", [.init("shard", .string(shard))])
        case .continued(let shard, let tensors, let count):
            return object(
                "continued",
                [
                    .init("shard", .string(shard)), .init("tensors", .unsigned(UInt64(tensors))),
                    .init("of", .unsigned(UInt64(count))),
                ])
        case .planning(let shard): return object("planning", [.init("shard", shard.map { .string($0) } ?? .null)])
        case .progress(let progress):
            return object(
                "progress",
                [
                    .init("done_bytes", .unsigned(progress.doneBytes)),
                    .init("total_bytes", optional(progress.totalBytes)),
                    .init("resumed_bytes", .unsigned(progress.resumedBytes)),
                    .init("bytes_per_second", rate.map { .number($0) } ?? .null),
                    .init("seconds_left", secondsLeft(progress, rate).map { .number($0) } ?? .null),
                    .init("bits_per_weight", progress.bitsPerWeight.map { .number($0) } ?? .null),
                    .init("shard", .string(progress.shard)),
                    .init("shard_number", .unsigned(UInt64(progress.shardNumber))),
                    .init("shards", .unsigned(UInt64(progress.shardCount))),
                    .init("tensor", progress.tensor.map { .string($0.text) } ?? .null),
                ])
        case .waiting(let name, let bytes, let total):
            return object(
                "waiting",
                [.init("name", .string(name)), .init("bytes", .unsigned(bytes)), .init("total_bytes", optional(total))])
        case .sealed(let shard, let bytes):
            return object("sealed", [.init("shard", .string(shard)), .init("bytes", .unsigned(bytes))])
        case .verifying(let shard): return object("verifying", [.init("shard", .string(shard))])
        case .consumed(let shard): return object("consumed", [.init("shard", .string(shard))])
        }
    }

    /// An error that ends the run, as an event.
    static func json(_ error: IngotError, seconds: Double) -> JSONValue {
        .object([
            .init("event", .string("error")), .init("seconds", .number(seconds)),
            .init("code", .string(error.code.rawValue)),
            .init("exit_status", .unsigned(UInt64(error.code.exitStatus))),
            .init("message", .string(RemedyText.message(error))),
        ])
    }
}

extension ConversionProgress {
    /// Finished share of the source, 0 to 1; nil if its size is unknown.
    fileprivate var share: Double? {
        totalBytes.map { $0 == 0 ? 1 : min(1, Double(doneBytes) / Double($0)) }
    }
}
