package import Checkpoints
import Container
import FileAccess
import Publishing
import Quantization
package import SystemPackage
package import TensorModel
import Weights

/// The scheme, rate and place of every tensor, decided before the first byte of a shard is written.
package struct ConversionPlan: Sendable {
    /// Names and paths of the files of the source.
    package let source: CheckpointLayout
    /// The options of the conversion.
    package let options: ConversionOptions
    /// The moments of a calibrated conversion; nil for any other.
    package let moments: CalibrationMoments?
    /// The shards by their position; nil for a shard that has not arrived, is finished, or was consumed.
    package private(set) var shards: [ShardPlan?]
    /// All warnings so far.
    package private(set) var warnings: [IngotWarning]
    private var toldWarnings = 0

    /// Opens a checkpoint that can be converted, or compared with a converted one.
    ///
    /// - Parameters:
    ///   - key: for PyTorch files, the keys that lead to the dictionary of weights (`EncodingOptions.key`).
    ///   - quantized: what becomes of codes of other quantizers (`EncodingOptions.sourceForm`).
    /// - Throws: `unsupportedSource` for an output of a conversion; what `Checkpoint.open` throws.
    package static func openSource(
        _ path: FilePath, key: String? = nil, quantized: QuantizedSources = .decoded
    ) throws -> Checkpoint {
        try refuseSealed(path)
        return try Checkpoint.open(path, key: key, quantized: quantized)
    }

    /// Refuses an output of a conversion as a source.
    ///
    /// - Throws: `unsupportedSource`.
    static func refuseSealed(_ path: FilePath) throws {
        guard try !SealedCheckpoint.isOne(path) else {
            throw IngotError(
                .unsupportedSource, file: path.string, found: "a checkpoint that ingot convert made",
                expected: "the original", remedy: "name the original, or turn this one back with ingot export first")
        }
    }

    /// Plans a conversion of a complete checkpoint. It reads headers; with `nonFinite` = `.keep`, it also scans the weights for NaN and
    /// infinity.
    ///
    /// - Throws: `unsupportedSource` for a source that is quantized already, `usage` for a key without PyTorch files; errors of reading.
    package init(_ source: Checkpoint, _ options: ConversionOptions, _ moments: CalibrationMoments? = nil) throws {
        self.init(source.layout, options, moments)
        try openAll(source)
    }

    /// Plans all shards of a checkpoint. No shard may be planned yet.
    mutating func openAll(_ source: Checkpoint) throws {
        warnings = source.warnings
        try CompanionFiles(of: source.layout).refuseQuantizedSource(keepsCodes: options.encoding.keepsCodes)
        for (position, shard) in source.shards.enumerated() { try place(shard, at: position) }
    }

    /// Makes a plan without shards; `add` plans them one by one.
    init(_ source: CheckpointLayout, _ options: ConversionOptions, _ moments: CalibrationMoments?) {
        self.moments = moments
        self.source = source
        self.options = options
        shards = [ShardPlan?](repeating: nil, count: source.shardNames.count)
        warnings = source.warnings
    }

    /// The planned shards that are open, by position.
    package var openShards: [ShardPlan] { shards.compactMap { $0 } }

    /// Plans one shard, which the caller opened, and adds the warnings of its header.
    mutating func add(_ shard: Shard, at position: Int) throws {
        warnings += shard.header.warnings
        try place(shard, at: position)
    }

    /// Plans a shard; the warnings of its header are in `warnings` already.
    private mutating func place(_ shard: Shard, at position: Int) throws {
        if options.run.consumesSource, let field = shard.header.unknownField {
            throw IngotError(
                .unsupportedSource, file: shard.file.path.string, tensor: field.tensor,
                found: "the field `\(field.key)`, which is not of the format: it would be lost with the source",
                expected: "tensors with dtype, shape and data_offsets",
                remedy: .option(.keepSource))
        }
        guard options.encoding.key == nil || shard.header.format == .pytorch else {
            throw IngotError(
                .usage, file: shard.file.path.string, found: "a key for a file without dictionaries",
                expected: "no key: only PyTorch files hold dictionaries", remedy: .option(.leaveOutKey))
        }
        if position > 0, let metadata = shard.header.carriedMetadata, metadata.count > 0 {
            warnings.append(
                IngotWarning(
                    file: shard.file.path.string,
                    "\(metadata.count) metadata entries are not carried over: only those of the first part are"))
        }
        let codes =
            options.encoding.keepsCodes && QuantizedTensors.first(in: shard.header.tensors) != nil
            ? CodeTensors(options.encoding) : nil
        if options.run.consumesSource, let form = shard.header.tensors.compactMap(\.form).first(where: \.spansFiles) {
            throw IngotError(
                .unsupportedSource, file: shard.file.path.string, tensor: form.parts[0].tensor.name,
                found: "codes whose scales are in another shard",
                expected: "all that belongs to codes in the shard that is deleted",
                remedy: .option(.keepSource))
        }
        let plans = try shard.header.tensors.map { tensor in
            try codes?.plan(tensor, in: shard) ?? ConversionPlan.plan(tensor, in: shard, options, &warnings)
        }
        do {
            let layout = try ShardLayout(plans, sourceMetadata: ConversionPlan.metadata(of: shard))
            shards[position] = ShardPlan(
                at: position, shard, outputName: outputName(position), layout, options.encoding)
        } catch let error as IngotError {
            throw error.inFile(shard.file.path.string)
        }
    }

    /// The metadata of a safetensors header, which goes into the output; the metadata of other formats does not.
    private static func metadata(of shard: Shard) -> [SafetensorsHeader.MetadataEntry] {
        shard.header.format == .safetensors ? shard.header.metadata : []
    }

    /// Searches all weights that would be quantized for NaN and infinity.
    ///
    /// - Throws: `nonFinite`, as the conversion does.
    func requireFinite() throws {
        for shard in openShards {
            for payload in shard.layout.payloads {
                guard let descriptor = payload.descriptor, descriptor.scheme != .lossless,
                    let found = try NonFiniteScan.scan(payload.tensor, descriptor.format, in: shard.source.file)
                else { continue }
                throw NonFiniteScan.refusal(shard.source, payload.tensor.name, found)
            }
        }
    }

    /// Adds a warning if there is one.
    mutating func warn(_ warning: IngotWarning?) {
        if let warning { warnings.append(warning) }
    }

    /// Removes a shard from the plan, and closes its source.
    mutating func remove(at position: Int) { shards[position] = nil }

    private static func plan(
        _ tensor: StoredTensor, in shard: Shard, _ options: ConversionOptions, _ warnings: inout [IngotWarning]
    ) throws -> TensorPlan {
        if let encoding = tensor.encoding, tensor.needsConsent, !options.encoding.requantizes {
            throw IngotError(
                .unsupportedSource, file: shard.file.path.string, tensor: tensor.name,
                found: "a tensor that is quantized already, \(encoding)",
                expected: "F32, F16 or BF16: quantizing twice adds both errors",
                remedy: .either("convert the original", or: .option(.requantize)))
        }
        let choice = DefaultRecipe.choice(tensor.name, tensor.elementType, tensor.shape, options.encoding)
        guard let format = tensor.elementType.quantizable, var scheme = choice.scheme else {
            return TensorPlan(tensor: tensor, descriptor: nil)
        }
        if options.encoding.nonFinite == .keep, scheme != .lossless,
            let found = try NonFiniteScan.scan(tensor, format, in: shard.file)
        {
            scheme = .lossless
            warnings.append(
                IngotWarning(file: shard.file.path.string, tensor: tensor.name, "\(found); stored lossless"))
        }
        let descriptor = TensorDescriptor(
            scheme: scheme, codec: codec(options.encoding.codec, scheme), format: format, shape: tensor.shape)
        // A matrix that would not get smaller is kept, unless a rule of the recipe asks for it.
        guard choice.isByRecipe || minimumBytes(descriptor, choice, options.encoding) < Double(tensor.byteCount) else {
            return TensorPlan(tensor: tensor, descriptor: nil)
        }
        return TensorPlan(tensor: tensor, descriptor: descriptor)
    }

    /// Lower bound of the payload, as far as it follows from the shape: prologue, chunk table and padding, and codes of the asked width.
    private static func minimumBytes(
        _ descriptor: TensorDescriptor, _ choice: TensorChoice, _ options: EncodingOptions
    ) -> Double {
        var bytes = Double(descriptor.prologue.fixedBytes)
        if case .trellis = descriptor.scheme, case .bits(let asked) = options.goal {
            bytes += choice.bits(asked) * Double(descriptor.shape.elementCount) / 8
        }
        return bytes
    }

    /// The codec of a scheme: only scheme `trellis` can use `rans`; the others use zstd instead.
    static func codec(_ asked: Codec, _ scheme: TensorScheme) -> Codec {
        if case .trellis = scheme { return asked }
        return asked == .rans ? .zstd : asked
    }

    // MARK: - Rates

    /// The findings of one shard, by the index of the payload in its layout.
    typealias Findings = [Int: RatePlanner.Finding]

    /// Plans a rate for every tensor of scheme `trellis` in the open shards that have none yet. It reads a sample of the weights; it reads
    /// all weights of small tensors, and of all tensors if the goal is a relative MSE.
    ///
    /// - Throws: `usage`, `goalUnreachable`; errors of reading.
    mutating func addRates(_ budget: MemoryBudget) async throws {
        let planned = openShards.filter(\.needsRates)
        guard !planned.isEmpty else { return }
        for (shard, findings) in zip(planned, try await findings(planned, budget)) {
            try apply(findings, at: shard.position)
        }
    }

    /// Probes the tensors of some shards.
    ///
    /// - Parameter planned: the shards; all of them if the goal is for all matrices together.
    /// - Returns: one dictionary per shard, in the order of `planned`.
    /// - Throws: `usage`, `goalUnreachable`; errors of reading.
    func findings(_ planned: [ShardPlan], _ budget: MemoryBudget) async throws -> [Findings] {
        try options.encoding.requireReachable()
        if let moments { return try await calibratedFindings(planned, moments, budget) }
        var otherBytes: UInt64 = 0
        if case .totalBytes = options.encoding.goal { otherBytes = try bytesBesideTrellis() }
        return try await planner(planned, otherBytes: otherBytes, budget).findings()
    }

    private func planner(
        _ planned: [ShardPlan], otherBytes: UInt64, _ budget: MemoryBudget, includesAll: Bool = false
    ) -> RatePlanner {
        RatePlanner(
            planned, options.encoding, otherBytes: otherBytes, allowsSlack: !options.run.consumesSource,
            includesAll: includesAll, excluding: [], budget)
    }

    /// Sets the encodings of the payloads of a shard, and moves tensors that no scheme suits to the kept ones.
    ///
    /// Payloads without a finding keep their encoding.
    mutating func apply(_ findings: Findings, at position: Int) throws {
        guard var shard = shards[position] else { return }
        var payloads: [TensorPlan] = []
        var kept: [TensorPlan] = []
        var encodings: [TensorEncoding] = []
        for (index, payload) in shard.layout.payloads.enumerated() {
            var payload = payload
            var encoding = shard.encodings[index]
            switch findings[index] {
            case .rate(let rate):
                payload.descriptor?.scheme = .trellis(rate.parameters)
                payload.descriptor?.calibrated =
                    rate.parameters.scaleBytes == nil ? nil : moments.map { .init(calibration: $0.hash) }
                encoding = .trellis(rate)
            case .stored(let form):
                payload.descriptor?.scheme = form.scheme
                payload.descriptor?.codec = ConversionPlan.codec(options.encoding.codec, form.scheme)
                payload.descriptor?.calibrated = nil
                encoding = TensorEncoding(form)
                warn(about: form, of: payload.tensor, in: shard.source)
            case .kept:
                payload.descriptor = nil
                kept.append(payload)
                continue
            case .copied:
                guard let earlier = moments?.phase?.payload(of: payload.tensor.name)?.payload else { break }
                payload.descriptor = earlier.descriptor
                encoding = .copied(earlier.range.count)
            case .notFinite: encoding = .trellis(TensorRate.zeros(.error(1), options.encoding))
            case nil: break
            }
            payloads.append(payload)
            encodings.append(encoding)
        }
        if kept.isEmpty {
            kept = shard.layout.kept
        } else {
            // Kept tensors with the same alignment have the order of the source.
            kept = (kept + shard.layout.kept).sorted { $0.tensor.range.start < $1.tensor.range.start }
        }
        shard.layout = try ShardLayout(payloads + kept, sourceMetadata: shard.layout.sourceMetadata)
        shard.encodings = encodings
        shards[position] = shard
    }

    /// Lowers the goals of a shard whose payloads take more than their upper bound (`ShardPlan.tightened`).
    ///
    /// - Returns: false, and no change, if too little can be lowered.
    mutating func tighten(by excess: UInt64, at position: Int) -> Bool {
        guard let tighter = shards[position]?.tightened(by: excess) else { return false }
        shards[position] = tighter
        return true
    }

    /// Enlarges the steps of a shard's calibrated payloads that took more bytes than planned (`ShardPlan.tightened`).
    ///
    /// - Returns: false, and no change, if none did.
    mutating func tightenCalibrated(_ taken: [UInt64], at position: Int) -> Bool {
        guard let tighter = shards[position]?.tightened(taken, options.encoding) else { return false }
        shards[position] = tighter
        return true
    }

    /// Adds a warning for a tensor of 4096 weights or more that takes more bits per weight than any rate that can be asked for.
    private mutating func warn(about form: StoredForm, of tensor: StoredTensor, in source: Shard) {
        let bits = Double(form.byteCount) * 8 / Double(tensor.shape.elementCount)
        guard bits > RateGoal.bitsRange.upperBound, tensor.shape.elementCount >= 4096 else { return }
        warnings.append(
            IngotWarning(
                file: source.file.path.string, tensor: tensor.name,
                "stored as \(form.scheme.summary), \(Int(bits.rounded())) bits per weight: no other form holds its values"
            ))
    }

    /// Gives another form to a tensor that missed its goal, and adds a warning.
    ///
    /// - Returns: what was replaced, for the journal.
    /// - Throws: `goalUnreachable` if no form meets the goal.
    mutating func replace(
        _ missed: ShardRunner.GoalMissed, at position: Int, _ budget: MemoryBudget
    ) throws -> Replacement? {
        guard let shard = shards[position] else { return nil }
        let planner = planner([shard], otherBytes: 0, budget, includesAll: true)
        let finding = try planner.replacement(
            payload: missed.payload, goal: shard.encodings[missed.payload].rate?.goal)
        let warning = IngotWarning(
            file: shard.source.file.path.string, tensor: shard.layout.payloads[missed.payload].tensor.name,
            "\(missed.found); \(finding.summary)")
        let replacement = Replacement(payload: missed.payload, finding: finding, warning: warning)
        try apply(replacement, at: position)
        return replacement
    }

    /// Repeats the replacements of an earlier run, in their order.
    ///
    /// - Throws: `cannotCreate` if they are of other tensors than the shard has.
    mutating func apply(_ replacements: [Replacement], at position: Int, _ work: WorkDirectory) throws {
        for replacement in replacements {
            guard let shard = shards[position], shard.layout.payloads.indices.contains(replacement.payload),
                shard.layout.payloads[replacement.payload].tensor.name == replacement.warning.tensor,
                replacement.finding.rate == nil
            else { throw work.damage("another form for a tensor that \(source.shardNames[position]) does not have") }
            try apply(replacement, at: position)
        }
    }

    private mutating func apply(_ replacement: Replacement, at position: Int) throws {
        warnings.append(replacement.warning)
        try apply([replacement.payload: replacement.finding], at: position)
    }

    // MARK: - Sizes

    /// The file with the metadata of a GGUF source; nil if there is none, or if the first shard is not open.
    var metadata: SourceMetadataFile? { (shards.first ?? nil).flatMap { SourceMetadataFile($0.source) } }

    /// Upper bound of the bytes of the output without payloads of scheme `trellis`, only a little above the real number: headers, seals,
    /// kept tensors, other schemes, and all other files.
    func bytesBesideTrellis() throws -> UInt64 {
        // A size that is not known yet is counted with as many digits as this one.
        let widest: UInt64 = 9_999_999_999
        var files: [Manifest.File] = []
        func add(_ name: String, _ byteCount: UInt64, isShard: Bool = false) {
            files.append(
                Manifest.File(name: name, byteCount: byteCount, hash: ContentHash(high: 0, low: 0), isShard: isShard))
        }
        for file in try CompanionFiles(of: source).copied {
            guard file.name == CompanionFiles.configuration else {
                add(file.name, FileIdentity(file.path)?.byteCount ?? 0)
                continue
            }
            var configuration = try ConfigurationFile(reading: file.path)
            try configuration.addQuantization(options.encoding.record, keepsSource: options.encoding.keepsCodes)
            add(file.name, UInt64(configuration.bytes.count))
        }
        if let metadata { add(GGUFMetadataBytes.fileName, metadata.byteCount) }
        let shards = openShards
        if shards.count > 1 {
            let names = shards.map { shard in
                (shard.outputName, (shard.layout.payloads + shard.layout.kept).map(\.tensor.name))
            }
            add(
                CheckpointNames.index(of: shards.map(\.outputName)) ?? "",
                UInt64(ShardIndexWriter.text(totalBytes: widest, shards: names).count))
        }
        var bytes = files.reduce(UInt64(0)) { $0 + $1.byteCount }
        for shard in shards {
            let layout = try calibrated(shard.layout)
            let payloads = layout.payloads.count
            // A descriptor may get one digit more when its alphabet is chosen. Two paddings take up to 63 bytes each.
            bytes += layout.dataStart + UInt64(payloads + 126)
            bytes += Seal.byteCount(records: payloads + layout.kept.count + 1)
            bytes += layout.kept.reduce(0) { $0 + $1.tensor.byteCount }
            for payload in layout.payloads {
                guard let descriptor = payload.descriptor else { continue }
                if case .trellis = descriptor.scheme { continue }
                bytes += payload.tensor.byteCount + UInt64(descriptor.prologue.fixedBytes)
            }
            add(shard.outputName, widest, isShard: true)
        }
        let manifest = Manifest(
            files: files, options: options.encoding.record,
            sourceBytes: shards.reduce(0) { $0 + $1.source.sizeBefore },
            codecs: CodecLibraries.versions)
        return bytes + UInt64(manifest.encoded().count)
    }

    /// The file name of the output shard at a position, from 0, as the Hugging Face hub names shards.
    static func outputName(_ position: Int, of source: CheckpointLayout) -> String {
        ShardName.shard(
            position + 1, of: source.shardNames.count, stem: CheckpointNames.stem(ofSource: source.shardNames))
    }

    /// The file name of the output shard at a position, from 0.
    func outputName(_ position: Int) -> String { ConversionPlan.outputName(position, of: source) }

    /// The warnings that this function has not returned before.
    mutating func takeNewWarnings() -> [IngotWarning] {
        defer { toldWarnings = warnings.count }
        return Array(warnings.dropFirst(toldWarnings))
    }
}

/// Searches a whole tensor for NaN and infinity.
enum NonFiniteScan {
    /// The error of a tensor that is to be quantized and has NaN or infinity; `found` is their number and the first place.
    static func refusal(_ shard: Shard, _ tensor: TensorName, _ found: String) -> IngotError {
        IngotError(
            .nonFinite, file: shard.file.path.string, tensor: tensor, found: found, expected: "finite weights",
            remedy: .either("repair the source", or: .option(.keepNonFinite)))
    }

    /// The number of such values, and row and column of the first, as text; nil if every value is finite.
    static func scan(_ tensor: StoredTensor, _ format: FloatFormat, in file: MappedFile) throws -> String? {
        let width = format.byteWidth
        var found = NonFiniteCount()
        try tensor.bytes(in: file).forEachPiece { bytes, start in
            found.add(bytes, format, firstElement: Int(start) / width)
        }
        return found.description(columns: tensor.shape.columns)
    }
}
