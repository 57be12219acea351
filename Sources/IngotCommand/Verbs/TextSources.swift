import ArgumentParser
import Calibration
import FileAccess
import SystemPackage
import TensorModel

/// The texts that a model runs on: files of text, or files of token ids.
struct TextSources: ParsableArguments {
    @Option(
        name: .customLong("text"),
        help: ArgumentHelp(
            "Text in UTF-8. May be given several times. The weight of its tokens counts for calibration only.",
            valueName: "file[:weight]"))
    var texts: [WeightedPath] = []

    @Option(
        name: .customLong("ids"),
        help: ArgumentHelp(
            "Text as token ids: a .npy or safetensors file with one vector of whole numbers. May be given several times.",
            valueName: "file[:weight]"))
    var ids: [WeightedPath] = []

    @Option(
        help: ArgumentHelp(
            "Tokenizer of --text: a tokenizer.json, or a checkpoint that has one. Default: that of the model.",
            valueName: "path"))
    var tokenizer: FilePath?

    @Option(help: ArgumentHelp("Tokens of a sequence.", valueName: "n"))
    var context = 512

    @Option(help: ArgumentHelp("Tokens of each text at most. Default: all.", valueName: "n"))
    var tokens: Int?

    /// Whether no text is given.
    var areMissing: Bool { texts.isEmpty && ids.isEmpty }

    /// Requires a text.
    func require() throws {
        guard !areMissing else { throw ValidationError("No text: give --text or --ids.") }
    }

    func validate() throws {
        if let tokens, tokens < context { throw ValidationError("--tokens must be one --context or more.") }
    }

    /// All files.
    var paths: [FilePath] { (texts + ids).map(\.path) + (tokenizer.map { [$0] } ?? []) }

    /// The texts as ids, those in UTF-8 first, and the hash of the tokenizer; nil if all texts are ids.
    struct Loaded {
        var texts: [WeightedText] = []
        var tokenizerHash: ContentHash?
    }

    /// Reads the texts.
    ///
    /// - Throws: `textInvalid`, `tokenizerInvalid`; errors of reading.
    func read(for model: EvaluatedModel) throws -> Loaded {
        var loaded = Loaded()
        if !texts.isEmpty {
            let tokenizer = try Tokenizer.open(tokenizer ?? model.tokenizerPath)
            loaded.tokenizerHash = tokenizer.hash
            for item in texts {
                let text = try TextFile.read(item.path)
                let ids: [Int32]
                do {
                    ids = try tokenizer.encode(text)
                } catch let error as IngotError {
                    throw error.inFile(item.path.string)
                }
                loaded.texts.append(
                    WeightedText(
                        TokenizedText(
                            name: item.path.string, ids: ids, begin: tokenizer.begin,
                            textHash: ContentHash(of: text.span)),
                        weight: item.weight))
            }
        }
        for item in ids {
            let ids = try TokenFile.read(item.path, vocabulary: model.weights.hyperparameters.vocabulary)
            loaded.texts.append(
                WeightedText(TokenizedText(name: item.path.string, ids: ids, begin: []), weight: item.weight))
        }
        return loaded
    }
}

/// A path, and a weight after a colon; without one the weight is 1.
struct WeightedPath: ExpressibleByArgument {
    let path: FilePath
    let weight: Double

    init?(argument: String) {
        guard !argument.isEmpty else { return nil }
        if let colon = argument.lastIndex(of: ":"), colon != argument.startIndex,
            let weight = Double(argument[argument.index(after: colon)...])
        {
            guard weight > 0, weight <= 1e6 else { return nil }
            (path, self.weight) = (FilePath(String(argument[..<colon])), weight)
        } else {
            (path, weight) = (FilePath(argument), 1)
        }
    }
}
