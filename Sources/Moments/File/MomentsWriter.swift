package import Architectures
import Checkpoints
import FileAccess
package import SystemPackage
import TensorModel

/// Writes a file of moments input by input, in the order of its layout. An interrupted run goes on behind the last finished layer.
///
/// While it runs, `.NAME.ingot-tmp` grows beside the file, and `.NAME.ingot-journal` names the finished layers. Both stay if the value goes
/// away after the first finished layer, or the process is killed. A later writer with the same description and layout continues them.
///
///     var writer = try MomentsWriter(path, layout, description)
///     while let next = writer.next { try writer.append(halves of next.input) }
///     if writer.needsGradients { try writer.append(gradients) }
///     try writer.publish()
package struct MomentsWriter: ~Copyable {
    /// The path of the file.
    package let path: FilePath
    /// The inputs.
    package let layout: MomentsLayout
    /// What the file says about its origin.
    package let description: MomentsDescription
    /// Inputs that an earlier run finished.
    package private(set) var resumedInputs = 0

    /// Nil before it is begun and behind `publish`.
    private var file: AtomicFile?
    private var journal: RecordFile
    /// Goes away last, and lets other runs write the file.
    private let lock: LockFile
    /// The place in `layout.inputs` of the next input.
    private var place = 0
    /// Finished groups.
    private var group = 0
    private var hasher = ContentHasher()
    private var isBegun = false
    private var isPublished = false

    /// Begins a file, or continues what an earlier run left.
    ///
    /// - Throws: `momentsInvalid` for a layout that no file can have; `cannotCreate` if the unfinished file was begun with another
    ///   description or layout, or something else has one of the names; `locked` if another process writes the file.
    package static func open(
        _ path: FilePath, _ layout: MomentsLayout, _ description: MomentsDescription
    ) throws -> MomentsWriter {
        precondition((layout.gradients == nil) == (description.gradients == nil), "gradients, and what is said of them")
        let header = try header(layout, description)
        let lock = try LockFile.take(besides(path, "lock"), guarding: path)
        let journal = try RecordFile.open(besides(path, "journal"))
        var writer = MomentsWriter(path, layout, description, journal, lock)
        try writer.begin(header)
        return writer
    }

    private init(
        _ path: FilePath, _ layout: MomentsLayout, _ description: MomentsDescription,
        _ journal: consuming RecordFile, _ lock: consuming LockFile
    ) {
        (self.path, self.layout, self.description) = (path, layout, description)
        self.journal = journal
        self.lock = lock
    }

    private mutating func begin(_ header: [UInt8]) throws {
        let records = journal.lines.map { try? JSONValue.parse($0) }
        let first = JSONValue.object([.init("moments", .string("\(ContentHash(of: header.span))"))])
        let temporary = AtomicFile.temporaryPath(of: path)
        let left = try Directory.ownStatus(temporary)
        if let old = records.first, left != nil {
            guard old == first else {
                throw IngotError(
                    .cannotCreate, file: path.string,
                    found: "an unfinished file of another model, other texts or other options under this name",
                    expected: "the same as when it was begun",
                    remedy: .text("finish it with what it was begun with, or remove \(journal.path.string)"))
            }
            if let (groups, end) = MomentsWriter.intact(temporary, Array(records.dropFirst()), header, layout) {
                try journal.keep(1 + groups)
                file = try AtomicFile(continuing: path, byteCount: end)
                group = groups
                place = groups == 0 ? 0 : layout.groups[min(groups, layout.groups.count) - 1].upperBound
                resumedInputs = place
                file?.keepsTemporary = true
                isBegun = true
                return
            }
        }
        if let left, left.kind == .file, !left.isLink { try Directory.removeFile(temporary) }
        try journal.keep(0)
        file = try AtomicFile(path)
        try file?.append(header.span)
        try file?.synchronize()
        try journal.append([Array(first.text().utf8)])
        isBegun = true
    }

    deinit { if isBegun, group == 0 || isPublished { try? Directory.removeFile(journal.path) } }

    /// The input whose moments `append` takes next, and its blocks; nil behind the last.
    package var next: (input: LinearInput, blocks: BlockLayout)? {
        guard place < layout.inputs.count else { return nil }
        let entry = layout.inputs[place]
        return (entry.input, description.blocks.layout(columns: entry.columns))
    }

    /// Appends the moments of the next input: chooses the shrinkage on its halves, merges them, and writes both.
    ///
    /// Behind the last input of a layer it waits until the layer is on the disk.
    ///
    /// - Parameter halves: as many halves as the description says. A half without tokens has weight 0 and sums of 0.
    /// - Throws: `momentsInvalid` if a sum is not finite, the sum of a square is negative, a weight is negative, not finite, or 0 beside sums
    ///   that are not; the errors of writing.
    package mutating func append(_ halves: [HalfMoments]) throws {
        guard let (input, blocks) = next else { preconditionFailure("an input behind the last") }
        precondition(halves.count == description.halves && halves.allSatisfy { $0.sums.count == blocks.squareCount })
        do {
            let merged = try MergedMoments(halves, blocks)
            try write(halves.flatMap { LittleEndian.bytes($0.tokens) })
            try write(halves.flatMap { LittleEndian.bytes($0.weight.bitPattern) })
            let shrinkage = blocks.width == 1 ? 0 : Shrinkage.choose(halves, blocks)
            try write(LittleEndian.bytes(shrinkage.bitPattern))
            for half in halves { try write(LittleEndian.bytes(MergedMoments.diagonal(of: half, blocks)[...])) }
            try merged.forEachRow { try write(LittleEndian.bytes($0[...])) }
        } catch var error as IngotError {
            if error.code == .momentsInvalid { error.tensor = TensorName(input.text) }
            throw error.inFile(path.string)
        }
        place += 1
        if layout.groups[group].upperBound == place { try finishGroup() }
    }

    /// Whether `append(_: OutputGradients)` is what comes next: all inputs are written.
    package var needsGradients: Bool { next == nil && group < layout.groupCount }

    /// Appends the gradients of all matrices, and waits until they are on the disk.
    ///
    /// - Parameter gradients: for each matrix of the layout as many numbers as it has rows, and its sensitivity; and a number per token of the
    ///   vocabulary.
    /// - Throws: `momentsInvalid` for a number that is negative or not finite; the errors of writing.
    package mutating func append(_ gradients: OutputGradients) throws {
        precondition(needsGradients, "gradients come behind the last input")
        for (tensor, _, count) in layout.gradients?.tensors ?? [] {
            switch tensor {
            case .gradients(let matrix):
                let squares = gradients.squares[matrix] ?? []
                precondition(squares.count == count, "a number per row")
                try require(squares.allSatisfy { $0 >= 0 && $0.isFinite }, tensor)
                try write(LittleEndian.bytes(squares[...]))
            case .sensitivity(let matrix):
                let sensitivity = gradients.sensitivities[matrix] ?? .nan
                try require(sensitivity >= 0 && sensitivity.isFinite, tensor)
                try write(LittleEndian.bytes(sensitivity.bitPattern))
            case .embeddingWeights:
                precondition(gradients.tokenWeights.count == count, "a number per token of the vocabulary")
                try require(gradients.tokenWeights.allSatisfy { $0 >= 0 && $0.isFinite }, tensor)
                try write(gradients.tokenWeights.flatMap { LittleEndian.bytes($0.bitPattern) })
            }
        }
        try finishGroup()
    }

    private func require(_ areNumbers: Bool, _ tensor: GradientTensor) throws {
        guard !areNumbers else { return }
        throw IngotError(
            .momentsInvalid, file: path.string, tensor: tensor.name, found: "a number that is negative or not finite",
            expected: "finite numbers of 0 or more", remedy: "check the model: its gradients overflow on this text")
    }

    /// The unfinished file, whose inputs are all written: for what is computed from its moments. It has no gradients yet; reading them
    /// throws.
    ///
    /// - Throws: errors of reading.
    package func inputs() throws -> MomentsFile {
        precondition(next == nil, "inputs are missing")
        return try MomentsFile(
            unfinished: AtomicFile.temporaryPath(of: path), header: MomentsWriter.header(layout, description),
            byteCount: MomentsWriter.byteCount(layout, description))
    }

    /// The finished file, under its temporary name: for what is made of it before it is published.
    ///
    /// - Throws: errors of reading.
    package func finished() throws -> MomentsFile {
        precondition(next == nil && !needsGradients, "inputs or gradients are missing")
        return try MomentsFile(AtomicFile.temporaryPath(of: path))
    }

    /// Gives the file its name. A file that is there already is replaced.
    package consuming func publish() throws {
        precondition(next == nil && !needsGradients, "inputs or gradients are missing")
        guard let file = file.take() else { return }
        try file.publish()
        isPublished = true
    }

    private mutating func write(_ bytes: [UInt8]) throws {
        try Interruption.check()
        hasher.update(bytes.span)
        try file?.append(bytes.span)
    }

    private mutating func finishGroup() throws {
        try file?.synchronize()
        let record = JSONValue.object([
            .init("end", .unsigned(file?.byteCount ?? 0)), .init("hash", .string("\(hasher.finish())")),
        ])
        try journal.append([Array(record.text().utf8)])
        hasher = ContentHasher()
        group += 1
        file?.keepsTemporary = true
    }
}

// MARK: - The form of the file

extension MomentsWriter {
    /// Bytes of the file that a layout gives, the header among them.
    ///
    /// - Throws: `momentsInvalid` for a layout that no file can have.
    package static func byteCount(_ layout: MomentsLayout, _ description: MomentsDescription) throws -> UInt64 {
        try entries(layout, description).reduce(UInt64(try header(layout, description).count)) { $0 + $1.byteCount }
    }

    private static func header(_ layout: MomentsLayout, _ description: MomentsDescription) throws -> [UInt8] {
        try SafetensorsWriter.header(tensors: entries(layout, description), metadata: description.metadata)
    }

    private static func entries(
        _ layout: MomentsLayout, _ description: MomentsDescription
    ) throws -> [SafetensorsWriter.Entry] {
        let moments = try layout.inputs.flatMap { entry in
            let blocks = description.blocks.layout(columns: entry.columns)
            return try MomentTensor.allCases.map { tensor in
                guard let form = tensor.form(blocks, halves: description.halves),
                    let byteCount = form.type.byteCount(of: form.shape), byteCount < 1 << 50
                else {
                    throw IngotError(
                        .momentsInvalid, tensor: TensorName(entry.input.text),
                        found: "\(entry.columns) columns in blocks of \(blocks.width), more than a file can hold",
                        expected: "narrower blocks")
                }
                return SafetensorsWriter.Entry(
                    name: tensor.name(of: entry.input), elementType: form.type, shape: form.shape,
                    byteCount: byteCount)
            }
        }
        let gradients = (layout.gradients?.tensors ?? []).compactMap { tensor, type, count in
            Shape([count]).map {
                SafetensorsWriter.Entry(
                    name: tensor.name, elementType: type, shape: $0,
                    byteCount: UInt64(count) * UInt64(type == .f64 ? 8 : 4))
            }
        }
        return moments + gradients
    }

    /// A path beside the file: `.NAME.ingot-KIND`.
    private static func besides(_ path: FilePath, _ kind: String) -> FilePath {
        path.removingLastComponent().appending(".\(path.lastComponent?.string ?? "").ingot-\(kind)")
    }

    /// The groups of an unfinished file that are on the disk as the journal says, and the offset behind the last of them; nil if its header
    /// is damaged.
    private static func intact(
        _ temporary: FilePath, _ records: [JSONValue?], _ header: [UInt8], _ layout: MomentsLayout
    ) -> (groups: Int, end: UInt64)? {
        var (groups, end) = (0, UInt64(header.count))
        guard let file = try? MappedFile.open(temporary), let front = ByteRange(start: 0, end: end),
            front.end <= file.byteCount, let found = try? file.bytes(front), Array(found) == header
        else { return nil }
        for record in records.prefix(layout.groupCount) {
            guard let next = record?["end"]?.unsigned, let hash = record?["hash"]?.string,
                let range = ByteRange(start: end, end: next), range.end <= file.byteCount,
                let found = try? file.hash(of: range), "\(found)" == hash
            else { break }
            (groups, end) = (groups + 1, next)
        }
        return (groups, end)
    }
}
