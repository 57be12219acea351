import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Weights

/// The files beside the weights of a checkpoint that say what the model is: configuration, tokenizer, templates.
struct ModelFiles {
    /// The directory of the files.
    let directory: FilePath
    /// The files of a sealed checkpoint, with their hashes; nil for any other checkpoint.
    private let sealed: [TensorName: ContentHash]?

    /// The files beside the weights of a checkpoint. Nothing is read yet.
    init(_ checkpoint: OpenedCheckpoint) {
        switch checkpoint.content {
        case .sealed(let content):
            directory = content.path
            sealed = Dictionary(
                content.manifest.files.filter { !$0.isShard }.map { (TensorName($0.name), $0.hash) },
                uniquingKeysWith: { first, _ in first })
        case .plain(let content):
            directory = content.layout.directory ?? checkpoint.path.removingLastComponent()
            sealed = nil
        }
    }

    /// The path of a file as messages name it.
    func path(_ name: String) -> String { directory.appending(name).string }

    /// Whether there is such a file. A sealed checkpoint has the files that its manifest names.
    ///
    /// - Throws: errors of reading.
    func has(_ name: String) throws -> Bool {
        guard sealed.map({ $0[TensorName(name)] != nil }) ?? true else { return false }
        return try Directory.kind(directory.appending(name)) == .file
    }

    /// The bytes of a file; nil if there is none.
    ///
    /// - Throws: `fileHash` if the hash in the manifest is another; `headerTooLarge`; errors of reading.
    func bytes(_ name: String) throws -> [UInt8]? {
        guard try has(name) else { return nil }
        let bytes = try WholeFile.read(directory.appending(name), limit: Limits.standard.documentBytes)
        if let hash = sealed?[TensorName(name)], hash != ContentHash(of: bytes.span) {
            throw IngotError(
                .fileHash, file: path(name), found: "\(bytes.count) bytes whose hash differs from the manifest's",
                expected: "the bytes as they were written")
        }
        return bytes
    }

    /// A file of text; nil if there is none.
    ///
    /// - Throws: `invalidText` if it is not UTF-8, and what `bytes` throws.
    func text(_ name: String) throws -> String? {
        guard let bytes = try bytes(name) else { return nil }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw IngotError(.invalidText, file: path(name), found: "bytes that are no text", expected: "UTF-8")
        }
        return text
    }

    /// A JSON object; nil if there is no such file.
    ///
    /// - Throws: `headerSyntax` and the like if it is no JSON object, and what `bytes` throws.
    func object(_ name: String) throws -> ModelDocument? {
        guard let bytes = try bytes(name) else { return nil }
        return try ModelDocument(bytes, path: path(name))
    }

    /// Names of the files of a folder with a suffix, sorted by their bytes. The names begin with that of the folder.
    ///
    /// - Throws: errors of reading.
    func names(in folder: String, suffix: String) throws -> [String] {
        let place = directory.appending(folder)
        guard try Directory.kind(place) == .directory else { return [] }
        return try Directory.entries(place).filter { $0.isText && TensorName.hasSuffix($0.name, suffix) }
            .map { "\(folder)/\($0.name)" }.filter { try has($0) }.sorted { TensorName($0) < TensorName($1) }
    }
}

/// A JSON object that describes a model, with checks of its members.
struct ModelDocument {
    /// The object.
    let value: JSONValue
    /// The path of its file, for messages.
    let path: String

    /// Reads an object.
    ///
    /// - Throws: `headerSyntax` and the like if it is no JSON object.
    init(_ bytes: [UInt8], path: String) throws {
        self.path = path
        do {
            value = try JSONValue.parse(bytes)
        } catch let error as IngotError {
            throw error.inFile(path)
        }
        guard value.object != nil else {
            throw IngotError(.headerSyntax, file: path, found: "no JSON object", expected: "an object")
        }
    }

    /// The member with a key; nil if it is missing or null.
    subscript(key: String) -> JSONValue? {
        let value = value[key]
        return value == .null ? nil : value
    }

    /// An error about the model that the object describes.
    func unsupported(_ found: String, _ expected: String, remedy: Remedy? = nil) -> IngotError {
        IngotError(
            .unsupportedSource, file: path, found: found, expected: expected,
            remedy: remedy
                ?? "convert it with llama.cpp's convert_hf_to_gguf.py if that knows it, and name the file that it makes"
        )
    }

    /// An error about the value of a member.
    func invalid(_ key: String, _ value: JSONValue, _ expected: String) -> IngotError {
        var text = String(value.text().prefix(80))
        if case .number(let number) = value, !number.isFinite { text = "a number beyond binary64" }
        return IngotError(
            .valueOutOfRange, file: path, found: "`\(key)`: \(text)", expected: expected, remedy: "correct the file")
    }

    /// A text; nil if it is missing.
    ///
    /// - Throws: `valueOutOfRange` for a value of another kind.
    func text(_ key: String) throws -> String? {
        guard let value = self[key] else { return nil }
        guard let text = value.string else { throw invalid(key, value, "a text") }
        return text
    }

    /// A truth value; nil if it is missing.
    ///
    /// - Throws: `valueOutOfRange` for a value of another kind.
    func flag(_ key: String) throws -> Bool? {
        guard let value = self[key] else { return nil }
        guard let flag = value.bool else { throw invalid(key, value, "true or false") }
        return flag
    }

    /// A whole number from 1 to `maximum`; nil if it is missing.
    ///
    /// - Throws: `valueOutOfRange` for another value.
    func count(_ key: String, maximum: Int) throws -> Int? {
        guard let value = self[key] else { return nil }
        guard let number = value.unsigned.flatMap({ Int(exactly: $0) }), (1...maximum).contains(number) else {
            throw invalid(key, value, "a whole number from 1 to \(maximum)")
        }
        return number
    }

    /// A whole number from 1 to `maximum` that must be there.
    ///
    /// - Throws: `missingField`, `valueOutOfRange`.
    func required(_ key: String, maximum: Int) throws -> Int {
        guard let number = try count(key, maximum: maximum) else {
            throw IngotError(
                .missingField, file: path, found: "no `\(key)`", expected: "a whole number from 1 to \(maximum)",
                remedy: "add it to the file")
        }
        return number
    }

    /// A finite number above 0; nil if it is missing.
    ///
    /// - Parameter object: an object with the member; nil for the document itself.
    /// - Throws: `valueOutOfRange` for another value.
    func positive(_ key: String, in object: JSONValue? = nil) throws -> Double? {
        guard let value = object.map({ $0[key] }) ?? self[key], value != .null else { return nil }
        guard let number = value.double, number > 0, Float(number).isFinite, Float(number) > 0 else {
            throw invalid(key, value, "a number above 0 that binary32 can hold")
        }
        return number
    }
}

extension JSONValue {
    /// The number; nil for any other kind of value.
    var double: Double? {
        if case .number(let number) = self { return number }
        return unsigned.map { Double($0) }
    }
}
