import ArgumentParser
import FileAccess
import TensorModel

/// Runs the verb the arguments name, and turns whatever it throws into a message and an exit status.
enum Command {
    /// Ends the process where it may have no descriptors or no threads to work with.
    static func requireResources() {
        do {
            try DescriptorRoom.require(10)
            try ThreadRoom.require(4)
        } catch let error as IngotError {
            Console.message(RemedyText.message(error))
            Console.exit(error.code.exitStatus)
        } catch {
            Console.exit(74)
        }
    }

    static func run() async {
        do {
            guard Console.hasTextArguments else {
                throw IngotError(
                    .usage, found: "an argument that is not UTF-8", expected: "paths of UTF-8",
                    remedy: "rename the file, or reach it through a symbolic link")
            }
            try requireKnownHelp(CommandLine.arguments.dropFirst())
            var command = try Ingot.parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let error as IngotError {
            if !Progress.tell(error) { Console.message(RemedyText.message(error)) }
            Console.exit(error.code.exitStatus)
        } catch let code as ExitCode {
            Console.exit(code.rawValue)
        } catch {
            let text = Ingot.fullMessage(for: error)
            let status = Ingot.exitCode(for: error).rawValue
            if status == 0 { Console.result(text) } else { Console.message(escapedLines(text)) }
            Console.exit(status)
        }
        Console.exit(0)
    }

    /// `help` and a word that is no verb is a mistake; the library would print the help of the whole command.
    private static func requireKnownHelp(_ arguments: ArraySlice<String>) throws {
        let verbs = Ingot.configuration.subcommands.map { String(describing: $0).lowercased() }
        guard arguments.first == "help", let word = arguments.dropFirst().first, !word.hasPrefix("-"),
            !(verbs + ["help"]).contains(word)
        else { return }
        throw IngotError(
            .usage, found: "help of `\(word)`", expected: "one of \(verbs.joined(separator: ", "))",
            remedy: "`ingot help` lists what there is")
    }

    /// The message of a usage error repeats arguments, which may be names of files that others chose.
    private static func escapedLines(_ text: String) -> String {
        var message = text.unicodeScalars
        // A character that no script has stands for the end of a line in an argument, which ends no line of the message.
        let lineEnd: Unicode.Scalar = "\u{F8FE}"
        // An option's value is repeated alone.
        for argument in CommandLine.arguments.dropFirst() {
            for part in [argument[...]] + argument.split(separator: "=", maxSplits: 1).dropFirst()
            where part.unicodeScalars.contains("\n") {
                message = message.replacing(
                    part.unicodeScalars, with: part.unicodeScalars.map { $0 == "\n" ? lineEnd : $0 })
            }
        }
        return message.split(separator: "\n", omittingEmptySubsequences: false).map {
            IngotErrorRenderer.escaped(String($0))
        }.joined(separator: "\n").replacing(String(lineEnd), with: IngotErrorRenderer.escape("\n"))
    }
}
