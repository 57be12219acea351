import Calibration
import Moments
import TensorModel

/// What `calibrate` and `evaluate` would take, as text for people.
enum CalibrationForecastText {
    /// The section of `plan`.
    static func text(_ forecast: CalibrationForecast) -> String {
        let options = forecast.options
        let tokens = UInt64(forecast.sequences * options.context)
        var lines = ["calibrate and evaluate: \(Format.grouped(tokens)) tokens in sequences of \(options.context)"]
        func add(_ label: String, _ value: String) { lines.append(Format.filled(label, to: 18) + value) }
        let moments = forecast.momentRate.isFinite ? ", moments \(rate(forecast.momentRate)) in 2 threads" : ""
        let jobs = options.jobs == 1 ? "1 job" : "\(options.jobs) jobs"
        add("measured here", "\(rate(forecast.productRate)) in \(jobs)\(moments)")
        for (name, run) in [("calibrate", forecast.calibrate), ("evaluate", forecast.evaluate)] {
            add(
                name,
                "about \(time(run.seconds)), \(Format.scientific(run.operations)) operations, --max-memory \(mebibytes(run.leastMemory)) at least"
            )
            let states = run.keepsStates ? "in memory" : "in a scratch file"
            let passes = run.passes == 1 ? "once" : "\(Format.grouped(UInt64(run.passes))) times"
            let read = Format.bytes(UInt64(min(1e19, Double(run.passes) * Double(forecast.weightBytes))))
            add("", "with \(mebibytes(run.memory)): weights read \(passes) (\(read)),")
            add("", "states \(Format.bytes(forecast.statesBytes)) \(states)")
        }
        if let gradients = forecast.gradients {
            let states =
                "\(Format.bytes(gradients.statesBytes)) \(gradients.keepsStates ? "in memory" : "in a scratch file")"
            add("gradients", "\(Format.grouped(UInt64(gradients.tokens))) tokens, states of all layers \(states)")
        }
        add("file of moments", "\(Format.bytes(forecast.momentsBytes))  (blocks: \(options.blocks.text))")
        add("", "Times are without reading from a disk.")
        return lines.joined(separator: "\n")
    }

    private static func rate(_ operations: Double) -> String {
        "\(NumberText.fixed(operations / 1e9, operations < 1e11 ? 1 : 0)) GFLOP/s"
    }

    /// Bytes as a value of `--max-memory` that is enough.
    private static func mebibytes(_ bytes: UInt64) -> String { "\((bytes + (1 << 20) - 1) >> 20)MiB" }

    /// A time with two or three digits.
    static func time(_ seconds: Double) -> String {
        for (unit, scale) in [("s", 1.0), ("min", 60), ("h", 3600)] where seconds < 100 * scale {
            return "\(NumberText.fixed(seconds / scale, seconds < 10 * scale ? 1 : 0)) \(unit)"
        }
        return "\(NumberText.fixed(min(seconds / 86400, 1e9), 0)) days"
    }
}
