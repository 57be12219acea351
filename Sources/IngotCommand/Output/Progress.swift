import Conversion
import Synchronization
import TensorModel
import Work

/// Style of progress on standard error.
enum ProgressStyle: String, CaseIterable, Sendable {
    /// A bar on a terminal, lines elsewhere.
    case auto
    /// One line that is redrawn.
    case bar
    /// A line every few seconds.
    case lines
    /// One JSON object per line (Specs/json.md).
    case json
    /// No progress.
    case none
}

/// Shows the progress of a run.
final class Progress: Sendable {
    /// The current progress: messages remove its bar first, and errors use its style.
    private static let shown = Mutex<Progress?>(nil)

    private let style: ProgressStyle
    private let isQuiet: Bool
    private let state = Mutex(State())
    private static let barInterval = 0.1, lineInterval = 5.0, jsonInterval = 0.5

    fileprivate struct State {
        let clock = ContinuousClock()
        let begin = ContinuousClock.now
        var lastShown: Double?
        var isDrawn = false
        var meter = RateMeter()
        var isSharded = false

        var seconds: Double { (clock.now - begin).seconds }
    }

    /// Starts to show a run.
    init(_ style: ProgressStyle, isQuiet: Bool) {
        self.isQuiet = isQuiet
        let chosen = style == .auto ? (Console.showsProgress ? .bar : .lines) : style
        self.style = isQuiet ? .none : chosen
        Progress.shown.withLock { $0 = self }
    }

    /// Removes the progress bar, if one is drawn.
    static func clear() {
        guard let progress = shown.withLock({ $0 }) else { return }
        progress.state.withLock { state in
            if state.isDrawn { Console.raw("\r\u{1B}[K") }
            state.isDrawn = false
        }
    }

    /// Writes an error as JSON if the style is `json`; returns false for other styles.
    static func tell(_ error: IngotError) -> Bool {
        guard let progress = shown.withLock({ $0 }), progress.style == .json else { return false }
        progress.write(ProgressText.json(error, seconds: progress.state.withLock { $0.seconds }))
        return true
    }

    /// Shows an event, if the style shows it.
    func show(_ event: ConversionEvent) {
        switch style {
        case .auto, .none:
            if case .warning(let warning) = event, !isQuiet { Console.message(IngotErrorRenderer.text(warning)) }
        case .json: showJSON(event)
        case .bar, .lines: showText(event)
        }
    }

    private func showJSON(_ event: ConversionEvent) {
        let (isDue, seconds, rate) = state.withLock { state in
            (
                state.isDue(event, every: Progress.jsonInterval, style), state.seconds,
                state.meter.note(event, state.seconds)
            )
        }
        if isDue { write(ProgressText.json(event, rate, seconds: seconds)) }
    }

    private func showText(_ event: ConversionEvent) {
        if let message = ProgressText.message(event, isSharded: state.withLock { $0.noteSharded(event) }) {
            // Short runs off a terminal do not report finished shards.
            if case .sealed = event, style == .lines, state.withLock({ $0.seconds }) < Progress.lineInterval { return }
            return Console.message(message)
        }
        let interval = style == .bar ? Progress.barInterval : Progress.lineInterval
        let (isDue, rate) = state.withLock { state in
            // Lines start after the first interval, so short runs print none. A bar is drawn at once.
            if style == .lines, state.lastShown == nil { state.lastShown = state.seconds }
            let rate = state.meter.note(event, state.seconds)
            return (state.isDue(event, every: interval, style), rate)
        }
        guard isDue else { return }
        if style == .bar {
            let width = Console.errorWidth
            state.withLock { state in
                state.isDrawn = true
                Console.raw("\r\u{1B}[K" + ProgressText.bar(event, rate, width: width))
            }
        } else if let line = ProgressText.line(event, rate) {
            Console.message(line)
        }
    }

    private func write(_ value: JSONValue) { Console.raw(IngotErrorRenderer.json(value.text()) + "\n") }
}

extension Progress.State {
    /// Whether to show an event now. Frequent events are shown once per interval; JSON shows all others.
    fileprivate mutating func isDue(_ event: ConversionEvent, every interval: Double, _ style: ProgressStyle) -> Bool {
        switch event {
        case .progress(let progress) where style != .lines && progress.doneBytes == progress.totalBytes: break
        case .planning where style == .json, .verifying where style == .json: break
        case .progress, .waiting, .planning, .verifying:
            let now = seconds
            guard now - (lastShown ?? -interval) >= interval else { return false }
            lastShown = now
        default: break
        }
        return true
    }

    fileprivate mutating func noteSharded(_ event: ConversionEvent) -> Bool {
        if case .progress(let progress) = event { isSharded = progress.shardCount > 1 }
        return isSharded
    }
}

/// Measures bytes per second over the last 10 seconds.
struct RateMeter {
    private var points: [(seconds: Double, bytes: UInt64)] = []
    private static let window = 10.0

    /// Takes an event; returns the rate in bytes per second, or nil if it is unknown yet.
    mutating func note(_ event: ConversionEvent, _ seconds: Double) -> Double? {
        if case .progress(let progress) = event {
            if let last = points.last, seconds - last.seconds < 0.2 {
            } else {
                points.append((seconds, progress.doneBytes))
            }
            while points.count > 2, seconds - points[0].seconds > RateMeter.window { points.removeFirst() }
        }
        guard let first = points.first, let last = points.last, last.seconds > first.seconds else { return nil }
        return Double(last.bytes - min(first.bytes, last.bytes)) / (last.seconds - first.seconds)
    }
}
