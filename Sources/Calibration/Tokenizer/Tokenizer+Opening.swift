import Checkpoints
import FileAccess
package import SystemPackage
import TensorModel

extension Tokenizer {
    /// Opens the tokenizer of a model: a `tokenizer.json`, a GGUF file, or a directory that has a `tokenizer.json` or the metadata of a GGUF
    /// file that was converted.
    ///
    /// - Throws: `noInput` if nothing is there; `tokenizerInvalid` for a directory with neither; the errors of the formats.
    package static func open(_ path: FilePath) throws -> Tokenizer {
        guard try Directory.kind(path) == .directory else { return try openFile(path) }
        let file = path.appending(fileName)
        guard try Directory.kind(file) != nil else {
            let metadata = path.appending(GGUFMetadataBytes.fileName)
            guard try Directory.kind(metadata) == nil else { return try openFile(metadata) }
            throw IngotError(
                .tokenizerInvalid, file: path.string, found: "no \(fileName) in the directory",
                expected: "a directory with a \(fileName) or a \(GGUFMetadataBytes.fileName), or a GGUF file",
                remedy:
                    #"make one: python -c "from transformers import AutoTokenizer; AutoTokenizer.from_pretrained('DIR').save_pretrained('DIR')""#
            )
        }
        return try openFile(file)
    }

    private static func openFile(_ path: FilePath) throws -> Tokenizer {
        let file = try MappedFile.open(path)
        guard let front = ByteRange(start: 0, count: min(4, file.byteCount)) else { throw file.wasChanged }
        if try file.bytes(front) == Array("GGUF".utf8) {
            return try Tokenizer(gguf: GGUFTokenizerData.read(path), path: path)
        }
        guard file.byteCount <= UInt64(TokenizerJSON.maximumBytes) else {
            throw IngotError(
                .tokenizerInvalid, file: path.string, found: "a file of \(file.byteCount) bytes",
                expected: "a \(fileName), or a GGUF file")
        }
        return try Tokenizer(json: file.bytes(file.wholeRange), path: path)
    }
}

/// Texts that are read whole.
package enum TextFile {
    /// Reads a text.
    ///
    /// - Throws: `textInvalid` for an empty file, and for one that is too long; `notARegularFile`; `noInput`.
    package static func read(_ path: FilePath) throws -> [UInt8] {
        let file = try MappedFile.open(path)
        do {
            guard file.byteCount > 0 else {
                throw TokenizerFailure.text("an empty text", "one byte or more", remedy: "give a text")
            }
            guard file.byteCount <= UInt64(Tokenizer.maximumTextBytes) else {
                throw TokenizerFailure.text(
                    "a text of \(file.byteCount) bytes", "at most \(Tokenizer.maximumTextBytes) bytes",
                    remedy: "cut it into several files")
            }
            return try file.bytes(file.wholeRange)
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
    }
}
