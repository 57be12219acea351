import ArgumentParser
import Checkpoints
import Conversion
import FileAccess
package import Inspection
import SystemPackage
package import TensorModel
import Weights
import Work

/// `ingot inspect`: shows tensors, statistics and bytes of a checkpoint.
struct Inspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show tensors, statistics of weights, and where every byte goes.",
        usage: "ingot inspect <path> ... [options]",
        discussion: """
            PATH is a checkpoint in a file or a directory: safetensors, PyTorch, GGUF,
            NumPy, or an output of `ingot convert`. Weights are read once, in bounded
            memory. Quantized weights are decoded first. Tensors of GGUF types that Ingot
            cannot decode are listed without figures. Several paths give several reports,
            one after the other.

            A file of moments, or an importance matrix of llama.cpp (imatrix, in GGUF or
            the older form), is shown with a row per input of linear layers.

            Columns in text: `|max|` is the largest magnitude. `>6 sd` counts weights more
            than 6 standard deviations away from the mean. `kurt` is the kurtosis, 3 for a
            normal distribution. The bars are a histogram of the weights up to 4 standard
            deviations away from the mean. `act err` is the relative error over activations
            of matrices that were quantized with calibration; --sort error sorts by it, and
            by the relative MSE of others. Of a group it is the mean over its matrices.

            With --group-by, `>6 sd` and the bars are sums over the tensors of the group,
            each with its own mean and standard deviation. All other figures treat the
            weights of the group as one tensor. They leave out whole numbers, and the codes
            and scales of other quantizers.

            With --group-by expert, a tensor with the experts of a layer in its first of
            three dimensions is cut into a slice per expert. A slice has an equal share of
            the bytes, and no error of its own.

            `model` shows what the metadata of a GGUF file, or the `config.json` of a
            directory, says about the model.

            For elements of 32 and 64 bits and decoded weights, `>6 sd`, percentiles and
            the bars use the upper 16 bits of each weight as a 32-bit float. All other
            figures are exact.

            Columns for moments: `per column` is tokens per column. `dead` counts columns
            that are always zero. `max/min` is the largest mean square over the smallest.
            `halves` is how far the halves of the text disagree: the median over columns
            of |log2| of the ratio of their mean squares.

            Examples:
              ingot inspect llama-7b --headers-only
              ingot inspect llama-7b.ingot --sort error --top 20
              ingot inspect llama-7b --format html --output llama-7b.html
            """)

    /// Options about the tensors and figures to show.
    struct RowOptions: ParsableArguments {
        @Flag(help: "Read headers and chunk tables only, no weights.")
        var headersOnly = false

        @Option(
            name: .customLong("filter"),
            help: ArgumentHelp(
                "Only tensors whose name matches, such as '*.k_proj.weight'. May be given several times.",
                valueName: "pattern"))
        var filters: [NamePattern] = []

        @Option(
            help: ArgumentHelp(
                "Order of the rows: as in the files, by name, or by a figure, largest first.", valueName: "order"))
        var sort = TensorOrder.file

        @Option(help: ArgumentHelp("Rows at most. Default: all.", valueName: "n"))
        var top: Int?

        @Option(
            help: ArgumentHelp(
                "One row per tensor, per layer, per kind of tensor, or per expert of each layer.", valueName: "rows"))
        var groupBy = InspectGrouping.tensor

        @Flag(help: "In text: show all figures of each tensor, one below the other.")
        var details = false

        @OptionGroup var keyed: KeyOption

        func validate() throws {
            if let top, top < 1 { throw ValidationError("--top must be 1 or more.") }
            if details, groupBy != .tensor { throw ValidationError("--details shows tensors: not with --group-by.") }
        }
    }

    /// Options about the format of the result.
    struct OutputOptions: ParsableArguments {
        @Option(help: "Format of the result. html: one page that opens offline.")
        var format = InspectFormat.text
    }

    @Argument(help: ArgumentHelp("Checkpoints to inspect: files or directories.", valueName: "path"))
    var paths: [FilePath]

    @OptionGroup(title: "Tensors and figures") var rows: RowOptions
    @OptionGroup(title: "Output") var output: OutputOptions
    @OptionGroup(title: "Output") var result: ResultOptions
    @OptionGroup(title: "Memory and jobs") var work: WorkOptions
    @OptionGroup(title: "Progress") var shown: ProgressOptions

    func validate() throws {
        guard output.format != .html || paths.count == 1 else {
            throw ValidationError("--format html makes one page of one checkpoint: give one path.")
        }
    }

    func run() async throws {
        Interruption.install()
        let progress = Progress(shown.progress, isQuiet: shown.quiet)
        try result.requireApart(from: paths)
        if try inspectMoments(progress) { return }
        var inspections: [(report: CheckpointReport, view: InspectionView)] = []
        for path in paths { inspections.append(try await inspect(path, progress)) }
        Progress.clear()
        let several = paths.count > 1
        switch output.format {
        case .text:
            try result.deliver(
                parts: inspections.enumerated().flatMap { index, inspection in
                    let title = several ? [(index > 0 ? "\n" : "") + heading(inspection.report) + "\n"] : []
                    return title + InspectionText.parts(inspection.report, inspection.view, result.style)
                })
        case .json:
            let texts = inspections.map { $0.report.jsonText($0.view.groups) }
            if several {
                try result.deliver(json: InspectionList.parts(texts))
            } else {
                try result.deliver(json: texts[0])
            }
        case .html:
            for (report, view) in inspections {
                try result.deliver(
                    parts: HTMLReport.parts(title: report.path.string, json: report.jsonText(view.groups)))
            }
        case .csv:
            try result.deliver(
                parts: inspections.enumerated().lazy.flatMap { index, inspection in
                    InspectionCSV.parts(
                        inspection.report, inspection.view, namesPath: several, hasTitles: index == 0)
                })
        case .markdown:
            try result.deliver(
                parts: inspections.enumerated().flatMap { index, inspection in
                    (index > 0 ? ["\n"] : []) + InspectionMarkdown.parts(inspection.report, inspection.view)
                })
        }
    }

    /// The line above the report of one of several checkpoints.
    private func heading(_ report: CheckpointReport) -> String {
        result.style.strong(IngotErrorRenderer.escaped(report.path.string))
    }

    /// Reads one checkpoint, and chooses the rows to show.
    private func inspect(
        _ path: FilePath, _ progress: Progress
    ) async throws -> (report: CheckpointReport, view: InspectionView) {
        let checkpoint = try OpenedCheckpoint(path, key: rows.keyed.key, undecodable: .listed)
        try rows.keyed.require(in: [checkpoint])
        var report = try CheckpointReport(checkpoint)
        for warning in report.warnings { progress.show(.warning(warning)) }
        report.select(rows.filters)
        if report.tensors.isEmpty, !rows.filters.isEmpty {
            progress.show(.warning(IngotWarning(file: path.string, "no tensor's name matches --filter")))
        }
        if !rows.headersOnly { try await readWeights(&report) }
        try checkpoint.requireUnchanged()
        var view = InspectionView()
        view.hasDetails = rows.details
        view.kinds = TensorGroup.groups(of: report.tensors, by: .kind)
        if let key = rows.groupBy.key {
            let groups = TensorGroup.groups(of: report.tensors, by: key)
            view.grouping = key
            view.rowsInAll = groups.count
            view.groups = TensorGroup.ordered(groups, by: rows.sort, top: rows.top)
        } else {
            view.rowsInAll = report.tensors.count
            report.order(by: rows.sort, top: rows.top)
        }
        return (report, view)
    }

    private func readWeights(_ report: inout CheckpointReport) async throws {
        let reading = ReadingProgress(
            shown, totalBytes: report.tensors.reduce(0) { $0 + $1.byteCount }, files: report.files.map(\.name))
        try await report.readWeights(
            by: StatisticsReader(memory: work.memory.bytes, jobs: work.jobs),
            slicesExperts: rows.groupBy == .expert
        ) {
            reading.note($0.name, $0.fileName, total: $1)
        }
        reading.finish()
    }
}

/// Format of an inspection.
enum InspectFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, csv, markdown, html
}

/// Subject of a row of an inspection.
enum InspectGrouping: String, ExpressibleByArgument, CaseIterable {
    case tensor, layer, kind, expert

    /// Key of the groups; nil for tensors.
    var key: TensorGroup.Key? {
        switch self {
        case .tensor: nil
        case .layer: .layer
        case .kind: .kind
        case .expert: .expert
        }
    }
}

extension TensorOrder: ExpressibleByArgument {}

extension NamePattern: ExpressibleByArgument {
    /// A pattern as the user typed it; nil if it is invalid.
    package init?(argument: String) { self.init(argument) }
}
