import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Weights
import Work

/// Reads a checkpoint once and writes one or more exports of it, in bounded memory.
///
/// All offsets are known before the run, so bands may come in any order of the outputs. The bytes depend on the plans alone.
struct ExportRun {
    /// A file that was written, before it is read back.
    struct Written: Sendable {
        /// The pieces of each file, by plan and file.
        var pieces: [[[Piece]]]

        /// A range of a file and the hash of the bytes that were meant for it.
        struct Piece: Sendable {
            let offset: UInt64, count: Int, hash: ContentHash
        }
    }

    private let checkpoint: OpenedCheckpoint
    private let plans: [ExportPlan]
    private let budget: MemoryBudget
    private let tensors: [RowsExporter.Readable]
    private let bands: RowBands
    private let calibration: ExportCalibration?

    /// Bytes of a band in a worker for each weight: binary32 twice, elements as read and as written, codes.
    private static let workspaceBytes = 20
    /// Bytes of the buffers of a worker that do not grow with a band.
    private static let fixedBytes = 4 << 20

    /// Prepares a run; reads the chunk tables of encoded tensors.
    ///
    /// - Parameters:
    ///   - memory: bytes of buffers at most.
    ///   - jobs: bands in work at the same time.
    /// - Throws: `usage` if the memory is too small for a band; errors of reading.
    ///   - activations: what is known of the activations; nil for nothing.
    init(
        _ checkpoint: OpenedCheckpoint, _ plans: [ExportPlan], _ activations: ExportActivations?, memory: UInt64,
        jobs: Int
    ) throws {
        self.checkpoint = checkpoint
        self.plans = plans
        tensors = try checkpoint.tensors.map { try RowsExporter.Readable($0) }
        let bands = RowBands(tensors, plans)
        self.bands = bands
        let written = plans.reduce(0) { most, plan in
            most + (plan.tensors.map { ExportRun.bytesPerWeight($0) }.max() ?? 0)
        }
        let scratch = plans.flatMap(\.tensors).reduce(0) { max($0, $1.encoding.scratchBytes(columns: $1.columns)) }
        let more = activations.map { ExportCalibration($0, maximumBytes: 0).needs(rows: bands.mostRows) }
        let needs = MemoryBudget.Bands(
            workspace: UInt64(
                bands.largestBand * ExportRun.workspaceBytes + bands.largestEncodedBand * 4 + ExportRun.fixedBytes
                    + scratch
                    + (more?.workspace ?? 0)),
            result: UInt64(Double(bands.largestBand) * written) + (64 << 10), factors: UInt64(more?.factors ?? 0))
        budget = try MemoryBudget(bytes: memory, jobs: jobs, bands: needs)
        let factorBytes = budget.factorBytes
        calibration = activations.map { ExportCalibration($0, maximumBytes: factorBytes) }
    }

    /// Bytes that an output has for each weight of a tensor.
    private static func bytesPerWeight(_ tensor: ExportPlan.Tensor) -> Double {
        guard tensor.columns > 0 else { return 0 }
        return Double(tensor.streams.reduce(0) { $0 + $1.rowBytes }) / Double(tensor.columns)
    }

    /// Writes the files of all plans.
    ///
    /// - Parameters:
    ///   - directories: a directory for each plan.
    ///   - mode: permissions of the files.
    ///   - progress: called with a tensor, its file, and the bytes of it that were read since the last call.
    /// - Returns: what was written where, for reading it back.
    /// - Throws: `nonFinite`, `valueOutOfRange`; errors of reading and writing.
    func run(
        to directories: [FilePath], mode: NewFileMode, progress: @escaping (TensorName, String, UInt64) -> Void
    ) async throws -> Written {
        let files = OpenFiles()
        for (plan, directory) in zip(plans, directories) {
            for file in plan.files { try files.add(file, in: directory, mode) }
            files.endPlan()
        }
        var written = Written(pieces: plans.map { plan in plan.files.map { _ in [] } })
        let (tensors, plans, calibration) = (tensors, plans, calibration)
        try await budget.pipeline { RowsExporter(calibration) }.run(
            bands.bands, makeOutput: { ExportedBand() }
        ) { band, exporter, result in
            try exporter.export(band, of: tensors[band.tensor], plans, into: &result)
        } consume: { band, result in
            for piece in result.pieces {
                try files.write(
                    result.bytes.span.extracting(piece.range), at: piece.offset, plan: piece.plan, file: piece.file)
                written.pieces[piece.plan][piece.file].append(
                    Written.Piece(offset: piece.offset, count: piece.range.count, hash: piece.hash))
            }
            let tensor = tensors[band.tensor].stored
            let share = Double(band.rows.count) / Double(max(1, tensor.shape.rows))
            progress(tensor.name, tensor.fileName, UInt64(Double(tensor.byteCount) * share))
        }
        try files.publish()
        return written
    }

    /// Files being written; used by one task at a time.
    private final class OpenFiles {
        private var files: [[Box]] = [[]]

        /// A reference, because an array cannot hold a value that is not copied.
        private final class Box {
            var file: AtomicFile?
            init(_ file: consuming AtomicFile) { self.file = consume file }
        }

        func add(_ planned: ExportPlan.File, in directory: FilePath, _ mode: NewFileMode) throws {
            var file = try AtomicFile(directory.appending(planned.name), mode: mode)
            try file.appendHole(planned.byteCount)
            for constant in planned.constants { try file.overwrite(constant.bytes.span, at: constant.offset) }
            files[files.count - 1].append(Box(file))
        }

        func endPlan() { files.append([]) }

        func write(_ bytes: Span<UInt8>, at offset: UInt64, plan: Int, file: Int) throws {
            try files[plan][file].file?.overwrite(bytes, at: offset)
        }

        func publish() throws {
            for box in files.joined() {
                guard let file = box.file.take() else { continue }
                try file.publish()
            }
        }
    }
}
