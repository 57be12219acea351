package import FileAccess
package import SystemPackage
package import TensorModel

/// The list of a checkpoint's files with their hashes. It is written last; a directory without it is not a checkpoint.
package struct Manifest: Sendable, Hashable {
    /// File name of the manifest.
    package static let fileName = "ingot-manifest.json"

    /// A file of the checkpoint.
    package struct File: Sendable, Hashable {
        /// Path relative to the checkpoint's directory, with `/` between components.
        package let name: String
        /// Size of the file in bytes.
        package let byteCount: UInt64
        /// XXH3-128 of the file; for a shard, the hash of its seal, which covers all its bytes.
        package let hash: ContentHash
        /// Whether the file is a shard, so that `hash` is that of its seal.
        package let isShard: Bool

        /// Makes an entry.
        package init(name: String, byteCount: UInt64, hash: ContentHash, isShard: Bool) {
            self.name = name
            self.byteCount = byteCount
            self.hash = hash
            self.isShard = isShard
        }
    }

    /// All other files of the directory, sorted by the bytes of their names.
    package var files: [File]
    /// The options of the conversion, for information.
    package var options: [JSONValue.Member]
    /// Total size of the source's shards in bytes.
    package var sourceBytes: UInt64
    /// Versions of the codec libraries that wrote the streams.
    package var codecs: String

    /// A manifest; sorts `files`.
    package init(files: [File], options: [JSONValue.Member], sourceBytes: UInt64, codecs: String) {
        self.files = files.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        self.options = options
        self.sourceBytes = sourceBytes
        self.codecs = codecs
    }

    private static let hashKey = ",\n  \"manifest_xxh3_128\": \""
    private static let ending = "\"\n}\n"

    /// The text of the manifest. Its last member is the hash of all bytes before the comma in front of it.
    package func encoded() -> [UInt8] {
        let entries = files.map { file in
            JSONValue.object([
                .init("name", .string(file.name)), .init("bytes", .unsigned(file.byteCount)),
                .init(file.isShard ? "seal_xxh3_128" : "xxh3_128", .string(file.hash.description)),
            ])
        }
        let text = JSONValue.object([
            .init("format", .string("ingot-manifest")), .init("version", .unsigned(ContainerFormat.version)),
            .init("writer", .string(ContainerFormat.writer)), .init("codecs", .string(codecs)),
            .init("options", .object(options)), .init("source_bytes", .unsigned(sourceBytes)),
            .init("files", .array(entries)),
        ]).text(indented: true)
        let body = Array(text.dropLast(2).utf8)
        let hash = ContentHash(of: body.span)
        return body + Array((Manifest.hashKey + hash.description + Manifest.ending).utf8)
    }

    /// Reads and checks the manifest of a directory.
    ///
    /// - Throws: `noInput` if there is none, `manifestInvalid`, `containerVersion`.
    package static func read(_ directory: FilePath) throws -> Manifest {
        let path = directory.appending(fileName)
        guard try Directory.kind(path) != nil else {
            throw IngotError(
                .noInput, file: directory.string, found: "no \(fileName): not a checkpoint of Ingot's",
                remedy: "name a directory that `ingot convert` made")
        }
        let file = try MappedFile.open(path)
        func failure(_ found: String, _ expected: String? = nil) -> IngotError {
            IngotError(.manifestInvalid, file: path.string, found: found, expected: expected)
        }
        guard file.byteCount <= ContainerFormat.maximumManifestBytes,
            let range = ByteRange(start: 0, end: file.byteCount)
        else {
            throw failure("\(file.byteCount) bytes", "at most \(ContainerFormat.maximumManifestBytes) bytes")
        }
        return try parse(try file.bytes(range), path.string)
    }

    /// Parses and checks the text of a manifest. `path` is for errors: `manifestInvalid`, `containerVersion`.
    package static func parse(_ bytes: [UInt8], _ path: String) throws -> Manifest {
        func failure(_ found: String, _ expected: String? = nil) -> IngotError {
            IngotError(.manifestInvalid, file: path, found: found, expected: expected)
        }
        let tail = hashKey.utf8.count + 32 + ending.utf8.count
        guard bytes.count > tail else { throw failure("a manifest of \(bytes.count) bytes") }
        let split = bytes.count - tail
        let hash = ContentHash(of: bytes.span.extracting(0..<split))
        guard bytes[split...].elementsEqual((hashKey + hash.description + ending).utf8) else {
            throw failure("a manifest whose own hash differs")
        }
        do {
            return try Manifest(JSONValue.parse(bytes), failure)
        } catch let error as IngotError {
            throw error.inFile(path)
        }
    }

    private init(_ value: JSONValue, _ failure: (String, String?) -> IngotError) throws {
        guard value["format"]?.string == "ingot-manifest", let version = value["version"]?.unsigned else {
            throw failure("no manifest of Ingot", nil)
        }
        guard version == ContainerFormat.version else {
            throw IngotError(
                .containerVersion, found: "format version \(version)", expected: "version \(ContainerFormat.version)")
        }
        guard let entries = value["files"]?.array, let sourceBytes = value["source_bytes"]?.unsigned,
            let options = value["options"]?.object, let codecs = value["codecs"]?.string
        else { throw failure("a manifest with a member missing", Manifest.members.joined(separator: ", ")) }
        guard value["writer"]?.string != nil, value.object?.map(\.key).elementsEqual(Manifest.members) == true else {
            throw failure(
                "the members \(Manifest.listed(value))", Manifest.members.joined(separator: ", ") + ", in this order")
        }
        var files: [File] = []
        for entry in entries {
            guard let name = entry["name"]?.string, let count = entry["bytes"]?.unsigned,
                let digits = (entry["seal_xxh3_128"] ?? entry["xxh3_128"])?.string,
                let hash = ContentHash(hexadecimal: digits), CheckpointNames.isContained(name), entry.object?.count == 3
            else {
                throw failure(
                    "file entry \(files.count) is not one",
                    "a name that stays in the directory, bytes, and xxh3_128 or seal_xxh3_128")
            }
            if let last = files.last.map({ TensorName($0.name) }), last >= TensorName(name) {
                throw failure(
                    last == TensorName(name) ? "the file \(name) a second time" : "the file \(name) behind \(last)",
                    "every file once, sorted by the bytes of their names")
            }
            files.append(File(name: name, byteCount: count, hash: hash, isShard: entry["seal_xxh3_128"] != nil))
        }
        self.init(files: files, options: options, sourceBytes: sourceBytes, codecs: codecs)
        try CheckpointNames.check(files, failure)
    }

    /// The members of a manifest, in order.
    private static let members = [
        "format", "version", "writer", "codecs", "options", "source_bytes", "files", "manifest_xxh3_128",
    ]

    /// The members that were found, for a message.
    private static func listed(_ value: JSONValue) -> String {
        let keys = value.object?.map(\.key) ?? []
        return keys.prefix(12).map { String($0.prefix(40)) }.joined(separator: ", ") + (keys.count > 12 ? ", ..." : "")
    }
}
