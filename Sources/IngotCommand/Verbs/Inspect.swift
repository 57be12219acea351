import ArgumentParser
import Conversion
import FileAccess
package import Inspection
import SystemPackage
package import TensorModel
import Weights
import Work

struct Inspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what is in a checkpoint: tensors, weights, and where its bytes go.",
        usage: "ingot inspect <path> [options]",
        discussion: """
            PATH is a file of weights (safetensors, PyTorch, GGUF, NumPy), a directory with
            a checkpoint, or one that `ingot convert` made. All weights are read, once and in bounded memory;
            those of an encoded tensor as they are restored. Of F32 and of restored
            weights, outliers and histogram are good to 8 bits; all else is exact.

            In text, `|max|` is the largest magnitude, `>6 sd` counts the weights farther
            than six standard deviations from the mean, `kurt` is 3 for a Gaussian, and the
            bars show how weights are distributed, four standard deviations to each side of
            the mean. Figures of a group are those of all its weights together; its
            outliers and bars are those of each tensor by itself, added up.
            """)

    @Argument(help: "Checkpoint to look into.")
    var path: FilePath

    @Flag(help: "Read headers and tables only, no weights.")
    var headersOnly = false

    @Option(
        name: .customLong("filter"),
        help: "Only tensors whose names match, as in '*.k_proj.weight'; may be repeated.")
    var filters: [NamePattern] = []

    @Option(
        help:
            "Order: file, name, size, elements, bits, mean, std, absmax, kurtosis, outliers, zeros, nonfinite, entropy, error; figures fall."
    )
    var sort = TensorOrder.file

    @Option(help: "Only so many of the rows.")
    var top: Int?

    @Option(help: "Rows: tensor, layer or kind.")
    var groupBy = InspectGrouping.tensor

    @Flag(help: "All figures of each tensor, on a card of its own (text).")
    var details = false

    @Option(help: "Form of the result: text, json, csv, markdown or html.")
    var format = InspectFormat.text

    @OptionGroup var keyed: KeyOption
    @OptionGroup var result: ResultOptions
    @OptionGroup var work: WorkOptions
    @OptionGroup var shown: ProgressOptions

    func validate() throws {
        if let top, top < 1 { throw ValidationError("--top must be 1 or more.") }
        if details, groupBy != .tensor { throw ValidationError("--details shows tensors: not with --group-by.") }
    }

    func run() async throws {
        Interruption.install()
        let progress = Progress(shown.progress, isQuiet: shown.quiet)
        try result.requireApart(from: [path])
        let checkpoint = try OpenedCheckpoint(path, key: keyed.key)
        try keyed.require(in: [checkpoint])
        var report = try CheckpointReport(checkpoint)
        for warning in report.warnings { progress.show(.warning(warning)) }
        report.select(filters)
        if report.tensors.isEmpty, !filters.isEmpty {
            progress.show(.warning(IngotWarning(file: path.string, "no tensor's name matches --filter")))
        }
        if !headersOnly { try await readWeights(&report, progress) }
        try checkpoint.requireUnchanged()
        Progress.clear()
        var view = InspectionView()
        view.hasDetails = details
        view.kinds = TensorGroup.groups(of: report.tensors, by: .kind)
        if let key = groupBy.key {
            let groups = TensorGroup.groups(of: report.tensors, by: key)
            view.grouping = key
            view.rowsInAll = groups.count
            view.groups = TensorGroup.ordered(groups, by: sort, top: top)
        } else {
            view.rowsInAll = report.tensors.count
            report.order(by: sort, top: top)
        }
        switch format {
        case .text: try result.deliver(parts: InspectionText.parts(report, view, result.style))
        case .json: try result.deliver(json: report.jsonText(view.groups))
        case .html:
            try result.deliver(parts: HTMLReport.parts(title: path.string, json: report.jsonText(view.groups)))
        case .csv: try result.deliver(parts: InspectionCSV.parts(report, view))
        case .markdown: try result.deliver(parts: InspectionMarkdown.parts(report, view))
        }
    }

    private func readWeights(_ report: inout CheckpointReport, _ progress: Progress) async throws {
        let clock = ContinuousClock()
        let begin = clock.now
        var state = ConversionProgress()
        state.totalBytes = report.tensors.reduce(0) { $0 + $1.byteCount }
        state.shardCount = report.files.count
        let numbers = Dictionary(
            report.files.enumerated().map { ($0.element.name, $0.offset + 1) }, uniquingKeysWith: { first, _ in first })
        try await report.readWeights(by: StatisticsReader(memory: work.maxMemory.bytes, jobs: work.jobs)) {
            tensor, bytes in
            state.doneBytes = bytes
            state.tensor = tensor.name
            state.shard = tensor.fileName
            state.shardNumber = numbers[tensor.fileName] ?? 0
            progress.show(.progress(state))
        }
        guard shown.verbose, !shown.quiet else { return }
        let seconds = (clock.now - begin).seconds
        let bytes = state.totalBytes ?? 0
        let rate = seconds > 0 ? Format.bytes(UInt64(Double(bytes) / seconds)) : "-"
        Console.message(
            "read \(Format.bytes(bytes)) in \(NumberText.fixed(seconds, 2)) s, \(rate)/s, "
                + "\(NumberText.fixed(ProcessUsage.processorSeconds, 2)) s of processors, "
                + "peak memory \(ProcessUsage.peakResidentBytes) bytes")
    }
}

/// The form of an inspection.
enum InspectFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, csv, markdown, html
}

/// What a row of an inspection is.
enum InspectGrouping: String, ExpressibleByArgument, CaseIterable {
    case tensor, layer, kind

    var key: TensorGroup.Key? {
        switch self {
        case .tensor: nil
        case .layer: .layer
        case .kind: .kind
        }
    }
}

extension TensorOrder: ExpressibleByArgument {}

extension NamePattern: ExpressibleByArgument {
    /// A pattern as the user typed it.
    package init?(argument: String) { self.init(argument) }
}
