import ArgumentParser
import Calibration
import FileAccess
import Publishing
import SystemPackage
import TensorModel

/// `ingot tokenize`: writes the ids of a text's tokens.
struct Tokenize: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write the ids of a text's tokens as .npy.",
        usage: "ingot tokenize <model> --text <file> [options]",
        discussion: """
            MODEL is a tokenizer.json, a directory that has one, or a GGUF file. The ids
            are those of the Python library tokenizers. What is not supported is refused.

            The text is UTF-8. The result counts its tokens. With --output, the ids are
            written too, as one array of 32-bit numbers, which numpy.load reads.

            Examples:
              ingot tokenize llama-7b --text prose.txt
              ingot tokenize llama-7b/tokenizer.json --text code.txt -o code.npy
            """)

    /// Options about the text and the ids.
    struct TextOptions: ParsableArguments {
        @Option(help: ArgumentHelp("The text, at most 64 MiB of UTF-8.", valueName: "file"))
        var text: FilePath

        @Flag(help: "Also write the ids that the tokenizer puts around a text, such as that of <s>.")
        var special = false
    }

    /// Options about the result.
    struct OutputOptions: ParsableArguments {
        @Option(name: .shortAndLong, help: ArgumentHelp("Write the ids to this .npy file.", valueName: "file"))
        var output: FilePath?

        @Option(help: "Format of the result.")
        var format = OutputFormat.text
    }

    @Argument(help: "The tokenizer: a tokenizer.json, a directory that has one, or a GGUF file.")
    var model: FilePath

    @OptionGroup(title: "Text") var options: TextOptions
    @OptionGroup(title: "Output") var result: OutputOptions

    func run() async throws {
        if let output = result.output, case .file(let place, _) = try ReportFile.place(output) {
            try PathOverlap.refuse(
                report: place, over: [model, options.text], isEarlierResult: TokenFile.isOne(place))
        }
        let tokenizer = try Tokenizer.open(model)
        let text = try TextFile.read(options.text)
        var ids: [Int32]
        do {
            ids = try tokenizer.encode(text)
        } catch let error as IngotError {
            throw error.inFile(options.text.string)
        }
        let count = ids.count
        if options.special { ids = tokenizer.begin + ids + tokenizer.end }
        if let output = result.output { try ReportFile.write(bytes: TokenFile.npy(ids), to: output) }
        switch result.format {
        case .text: tell(tokenizer, bytes: text.count, tokens: count)
        case .json: Console.result(json(tokenizer, bytes: text.count, tokens: count))
        }
    }

    private func tell(_ tokenizer: Tokenizer, bytes: Int, tokens: Int) {
        func ids(_ list: [Int32]) -> String { list.map { "\($0)" }.joined(separator: " ") }
        var line =
            "\(IngotErrorRenderer.escaped(options.text.string)): \(tokens) tokens, \(bytes) bytes; "
            + "\(tokenizer.kind), \(tokenizer.vocabularyCount) tokens in the vocabulary"
        if !tokenizer.begin.isEmpty { line += "; before a text: \(ids(tokenizer.begin))" }
        if !tokenizer.end.isEmpty { line += "; after a text: \(ids(tokenizer.end))" }
        Console.result(line)
    }

    private func json(_ tokenizer: Tokenizer, bytes: Int, tokens: Int) -> JSONValue {
        func ids(_ list: [Int32]) -> JSONValue { .array(list.map { .unsigned(UInt64($0)) }) }
        return .object([
            .init("schema", .string("ingot.tokenize")), .init("schema_version", .unsigned(1)),
            .init("tokenizer", .string(tokenizer.path.string)), .init("kind", .string(tokenizer.kind)),
            .init("tokenizer_xxh3_128", .string(tokenizer.hash.description)),
            .init("vocabulary", .unsigned(UInt64(tokenizer.vocabularyCount))),
            .init("begin", ids(tokenizer.begin)), .init("end", ids(tokenizer.end)),
            .init("text", .string(options.text.string)), .init("bytes", .unsigned(UInt64(bytes))),
            .init("tokens", .unsigned(UInt64(tokens))),
            .init("has_special", .bool(options.special)),
        ])
    }
}
