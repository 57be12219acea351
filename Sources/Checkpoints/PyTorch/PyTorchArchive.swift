package import FileAccess
import SystemPackage
package import TensorModel

/// Remedies for PyTorch files that are not read.
enum PyTorchRemedy {
    /// Saves the tensors again, for a file that PyTorch loads without running any code in it.
    static let resave: Remedy = """
        if you trust the file, save its tensors anew: \(line("d.get('state_dict', d)", safely: true))
        """
    /// Saves the tensors again, for a file that may run code when it is loaded.
    static let run: Remedy = """
        loading it may run programs: if you trust who made it, save its tensors anew: \
        \(line("d.state_dict() if isinstance(d, torch.nn.Module) else d.get('state_dict', d)", safely: false))
        """
    /// Saves the tensors again, for a TorchScript program.
    static let script: Remedy = """
        if you trust the file, save its tensors anew: python -c "import torch, safetensors.torch as s; \
        s.save_file(dict(torch.jit.load('FILE', map_location='cpu').state_dict()), 'model.safetensors')"
        """
    /// For tensors without names.
    static let name: Remedy = "save the tensors with names: torch.save({'weight': tensor}, 'FILE')"

    /// The Python command. It copies each tensor, because safetensors refuses tensors that share a storage or are not contiguous.
    private static func line(_ dictionary: String, safely: Bool) -> String {
        "python -c \"import torch, safetensors.torch as s; "
            + "d = torch.load('FILE', weights_only=\(safely ? "True" : "False"), map_location='cpu'); d = \(dictionary); "
            + "s.save_file({k: v.clone().contiguous() for k, v in d.items() if torch.is_tensor(v)}, 'model.safetensors')\""
    }
}

/// A checkpoint as `torch.save` has written it since version 1.6: a zip archive with the pickle of a state dict and one record per storage.
package struct PyTorchArchive {
    private let file: MappedFile
    private let archive: ZipArchive
    private let limits: Limits
    /// The directory inside the archive, with a final `/`. All records are in it.
    private let prefix: String
    private var warnings: [IngotWarning] = []

    private static let pickleName = "data.pkl"
    private static let smallRecordBytes: UInt64 = 1 << 20
    /// The highest version of the format that PyTorch itself reads.
    private static let maximumVersion = 10
    /// The tensors may have this many times the bytes of the file, because a tensor can be expanded from a few elements.
    private static let maximumExpansion: UInt64 = 1024
    private static let freeExpansion: UInt64 = 64 << 20

    /// Whether an archive is a checkpoint of PyTorch.
    static func isOne(_ archive: ZipArchive) -> Bool {
        archive.entries.contains { $0.name == pickleName || TensorName.hasSuffix($0.name, "/" + pickleName) }
    }

    /// Reads the header of a file.
    ///
    /// This checks the CRC-32 of the pickle and of small records. `Shard.checkRecords()` checks the storages, because that takes as long as
    /// reading them.
    ///
    /// - Parameter key: keys of nested dicts that lead to the state dict, joined by `.`; nil for the usual ones.
    /// - Throws: `unsupportedSource` for other forms of PyTorch files, and the errors of archive and pickle.
    package static func readHeader(_ file: MappedFile, key: String? = nil, limits: Limits = .standard) throws
        -> ShardHeader
    {
        try readHeader(file, ZipArchive.read(file, limits: limits, look: refuseScript), key: key, limits: limits)
    }

    /// The same for an archive whose directory is read already.
    static func readHeader(
        _ file: MappedFile, _ archive: ZipArchive, key: String? = nil, limits: Limits = .standard
    ) throws -> ShardHeader {
        do {
            var reader = try PyTorchArchive(file, archive, limits)
            return try reader.header(key)
        } catch let error as IngotError {
            throw error.inFile(file.path.string)
        }
    }

    private init(_ file: MappedFile, _ archive: ZipArchive, _ limits: Limits) throws {
        (self.file, self.archive, self.limits) = (file, archive, limits)
        prefix = try PyTorchArchive.prefix(archive)
        try requireDistinctNames()
        try requireLayout()
    }

    // MARK: - Records

    /// Throws for a name that occurs only in the archive of a TorchScript program.
    static func refuseScript(_ name: String, _ place: UInt64) throws {
        let parts = name.split(separator: "/")
        guard parts.last == "constants.pkl" || parts.count > 2 && parts[1] == "code" else { return }
        throw IngotError(
            .unsupportedSource, offset: place, found: "a TorchScript program (record `\(name)`)",
            expected: "a state dict",
            remedy: PyTorchRemedy.script)
    }

    private static func prefix(_ archive: ZipArchive) throws -> String {
        let pickles = archive.entries.filter { entry in
            entry.name == pickleName || TensorName.hasSuffix(entry.name, "/" + pickleName)
        }
        guard let pickle = pickles.first else {
            throw IngotError(
                .unsupportedSource, offset: 0, found: "a zip archive without data.pkl",
                expected: "what torch.save writes")
        }
        guard pickles.count == 1 else {
            throw IngotError(
                .zipInvalid, offset: pickles[1].headerStart, found: "\(pickles.count) records named data.pkl",
                expected: "one")
        }
        let prefix = String(decoding: pickle.name.utf8.dropLast(pickleName.utf8.count), as: UTF8.self)
        guard prefix.split(separator: "/").count <= 1,
            let stranger = archive.entries.first(where: { !$0.name.utf8.starts(with: prefix.utf8) })
        else {
            guard prefix.split(separator: "/").count <= 1 else {
                throw IngotError(
                    .zipInvalid, offset: pickle.headerStart, found: "the pickle in `\(prefix)`",
                    expected: "one directory for all records")
            }
            return prefix
        }
        throw IngotError(
            .zipInvalid, offset: stranger.headerStart, found: "record `\(stranger.name)` outside `\(prefix)`",
            expected: "one directory for all records")
    }

    /// torch ignores the case of ASCII letters when it looks up a record, so names must differ in more than case.
    private func requireDistinctNames() throws {
        func folded(_ name: String) -> [UInt8] {
            name.utf8.map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }
        }
        let known = [PyTorchArchive.pickleName, "byteorder", "version", ".data/version"].map { prefix + $0 }
        let meant = Dictionary(known.map { (folded($0), $0) }, uniquingKeysWith: { first, _ in first })
        var seen: Set<[UInt8]> = []
        for entry in archive.entries {
            let name = folded(entry.name)
            let isOther = meant[name].map { !$0.utf8.elementsEqual(entry.name.utf8) } ?? false
            guard seen.insert(name).inserted, !isOther else {
                throw IngotError(
                    .zipInvalid, offset: entry.headerStart,
                    found:
                        "record `\(entry.name.prefix(80))`, which torch does not tell from a name that differs in case only",
                    expected: "names that differ in more than case")
            }
        }
    }

    private func text(_ name: String) throws -> (text: String, entry: ZipArchive.Entry)? {
        guard let entry = archive[prefix + name] else { return nil }
        let bytes = try archive.bytes(of: entry, in: file, limit: PyTorchArchive.smallRecordBytes)
        return (String(decoding: bytes.prefix(64), as: UTF8.self), entry)
    }

    /// Requires little-endian byte order and a version that is read.
    private func requireLayout() throws {
        if let (text, entry) = try text("byteorder"), text != "little" {
            throw IngotError(
                .unsupportedSource, offset: entry.range.start, found: "byte order `\(text)`", expected: "little",
                remedy: PyTorchRemedy.resave)
        }
        guard let (text, entry) = try text("version") ?? text(".data/version") else {
            throw IngotError(
                .unsupportedSource, offset: archive.directoryStart, found: "an archive without a version",
                expected: "the record `\(prefix)version`", remedy: PyTorchRemedy.resave)
        }
        let digits = text.utf8.last == 0x0A ? text.dropLast() : text[...]
        guard let version = Int(digits), (1...PyTorchArchive.maximumVersion).contains(version) else {
            throw IngotError(
                .unsupportedSource, offset: entry.range.start, found: "version `\(digits)` of the format",
                expected: "1 to \(PyTorchArchive.maximumVersion)", remedy: PyTorchRemedy.resave)
        }
    }

    private mutating func warn(_ message: String) {
        warnings.append(IngotWarning(file: file.path.string, message))
    }

    // MARK: - The header

    private mutating func header(_ key: String?) throws -> ShardHeader {
        guard let pickle = archive[prefix + PyTorchArchive.pickleName] else {
            throw IngotError(.zipInvalid, offset: 0, found: "no data.pkl")
        }
        let bytes = try archive.bytes(of: pickle, in: file, limit: limits.headerBytes)
        let objects = try PickleMachine.run(bytes, at: pickle.range.start, limits: limits)
        let state = try StateDictionary(objects, key: key, at: pickle.range.start, limits: limits)
        for remark in state.remarks { warn(remark) }
        var views = StorageViews(prefix: prefix, archive: archive, file: file)
        var tensors: [StoredTensor] = []
        var aliases: [ShardHeader.Alias] = []
        var total: UInt64 = 0
        for entry in state.entries {
            let tensor = objects.tensors[entry.tensor]
            do {
                switch try views.place(tensor, of: objects, named: entry.name) {
                case .alias(let target): aliases.append(ShardHeader.Alias(entry.name, of: target))
                case .stored(let stored):
                    tensors.append(stored)
                    total = Checked.add(total, stored.byteCount) ?? .max
                }
                try requireSane(total)
            } catch var error as IngotError {
                error.tensor = entry.name
                error.offset = error.offset ?? tensor.place
                throw error
            }
        }
        noteAliases(aliases)
        let records = views.records
        let unverified = archive.entries.count { $0.checksum == 0 && $0.range.count > 0 }
        if unverified > 0 { warn("\(unverified) records have no checksum (CRC-32 0): unverified") }
        let unused = archive.entries.count { entry in
            entry.range.count > 0 && entry.name.utf8.starts(with: (prefix + "data/").utf8) && !records.contains(entry)
        }
        if unused > 0 { warn("\(unused) storages that no tensor uses are left out") }
        let order = tensors.indices.sorted { a, b in
            let (x, y) = (tensors[a].range.start, tensors[b].range.start)
            return x == y ? a < b : x < y
        }
        let dataBytes = records.reduce(UInt64(0)) { $0 + $1.range.count }
        let padding = archive.entries.reduce(UInt64(0)) { $0 + $1.paddingBytes }
        return ShardHeader(
            .pytorch, tensors: order.map { tensors[$0] }, dataStart: records.map(\.range.start).min() ?? file.byteCount,
            aliases: aliases, warnings: warnings, headerByteCount: file.byteCount - dataBytes - padding,
            checksums: records.sorted { $0.range.start < $1.range.start }.map(\.recordChecksum))
    }

    private func requireSane(_ total: UInt64) throws {
        let limit = (Checked.multiply(file.byteCount, PyTorchArchive.maximumExpansion) ?? .max / 2)
            .addingReportingOverflow(PyTorchArchive.freeExpansion).partialValue
        guard total <= limit else {
            throw IngotError(
                .invalidShape, found: "views that need storages of \(total) bytes in a file of \(file.byteCount)",
                expected: "at most \(limit): \(PyTorchArchive.maximumExpansion) times the file, and 64 MiB")
        }
    }

    /// One warning for each alias, at most 20.
    private mutating func noteAliases(_ aliases: [ShardHeader.Alias]) {
        for alias in aliases.prefix(20) {
            warnings.append(
                IngotWarning(
                    file: file.path.string, tensor: alias.name,
                    "the same bytes as \(alias.target.text), under which they are stored once"))
        }
        if aliases.count > 20 { warn("\(aliases.count - 20) more names of tensors that are stored once") }
    }
}

/// The tensors as views of storages, checked against the records that hold the storages.
private struct StorageViews {
    enum Placement {
        case stored(StoredTensor)
        case alias(TensorName)
    }

    private struct View: Hashable {
        let record: UInt64
        let elementType: ElementType
        let start: UInt64
        let shape: Shape
        let strides: [UInt64]
    }

    let prefix: String
    let archive: ZipArchive
    let file: MappedFile
    private(set) var records: Set<ZipArchive.Entry> = []
    private var owners: [View: TensorName] = [:]

    init(prefix: String, archive: ZipArchive, file: MappedFile) {
        (self.prefix, self.archive, self.file) = (prefix, archive, file)
    }

    mutating func place(
        _ tensor: PickledTensor, of objects: PickleObjects, named name: TensorName
    ) throws -> Placement {
        let record = try record(objects.storages[tensor.storage])
        let width = UInt64(tensor.elementType.bitWidth / 8)
        let extent = try extent(tensor, capacity: record.range.count / width, width: width, in: record)
        records.insert(record)
        func stored(_ decoder: StridedBytes? = nil) -> Placement {
            .stored(
                StoredTensor(
                    name: name, elementType: tensor.elementType, shape: tensor.shape, range: extent, decoder: decoder))
        }
        guard tensor.shape.elementCount > 0 else { return stored() }
        let view = View(
            record: record.range.start, elementType: tensor.elementType, start: tensor.start, shape: tensor.shape,
            strides: tensor.strides)
        if let owner = owners[view] { return .alias(owner) }
        owners[view] = name
        if StridedBytes.isContiguous(tensor.shape, tensor.strides) { return stored() }
        return stored(StridedBytes(shape: tensor.shape, strides: tensor.strides, elementBytes: Int(width)))
    }

    /// The record of a storage. Throws if its size differs from the size in the pickle.
    private func record(_ storage: PickledStorage) throws -> ZipArchive.Entry {
        guard let record = archive[prefix + "data/" + storage.key] else {
            throw IngotError(
                .missingField, found: "storage `\(storage.key.prefix(80))`, which has no record",
                expected: "the record `\(prefix)data/\(storage.key.prefix(80))`")
        }
        let width = UInt64((storage.elementType?.bitWidth ?? 8) / 8)
        guard Checked.multiply(storage.count, width) == record.range.count else {
            throw IngotError(
                .invalidOffsets, found: "a storage of \(storage.count) elements of \(width) bytes",
                expected: "\(record.range.count) bytes, as record `\(record.name)` has")
        }
        return record
    }

    /// The range in the file from the first element to the end of the last.
    private func extent(
        _ tensor: PickledTensor, capacity: UInt64, width: UInt64, in record: ZipArchive.Entry
    ) throws -> ByteRange {
        var end: UInt64? = tensor.start
        if tensor.shape.elementCount > 0 {
            for (count, stride) in zip(tensor.shape.dimensions, tensor.strides) {
                end = Checked.multiply(UInt64(count - 1), stride).flatMap { step in
                    end.flatMap { Checked.add($0, step) }
                }
            }
            end = end.flatMap { Checked.add($0, 1) }
        } else {
            end = 0
        }
        guard let end, end <= capacity else {
            throw IngotError(
                .invalidOffsets,
                found: end.map { "a view up to element \($0)" } ?? "a view beyond any number of elements",
                expected: "at most \(capacity), which the storage has")
        }
        let first = tensor.shape.elementCount > 0 ? tensor.start : 0
        guard let range = ByteRange(start: record.range.start + first * width, end: record.range.start + end * width)
        else { throw IngotError(.invalidOffsets, found: "a view that ends before it begins") }
        return range
    }
}
