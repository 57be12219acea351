import ArgumentParser
import FileAccess
import TensorModel

/// Runs the verb that the arguments name, and turns errors into a message and an exit status.
enum Command {
    /// Exits with an error if the process cannot open files or start threads.
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

    /// Parses the arguments, runs the verb, and ends the process with an exit status.
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

    /// Refuses `help` with an unknown verb; the library would print the help of the whole command.
    private static func requireKnownHelp(_ arguments: ArraySlice<String>) throws {
        let verbs = Ingot.configuration.subcommands.map { String(describing: $0).lowercased() }
        guard arguments.first == "help", let word = arguments.dropFirst().first, !word.hasPrefix("-"),
            !(verbs + ["help"]).contains(word)
        else { return }
        throw IngotError(
            .usage, found: "help for `\(word)`", expected: "one of \(verbs.joined(separator: ", "))",
            remedy: "`ingot help` lists what there is")
    }

    /// Escapes control characters in a usage error, because it quotes arguments, which may be file names from others.
    private static func escapedLines(_ text: String) -> String {
        var message = text.unicodeScalars
        // A private-use character stands for a line feed inside an argument, so that splitting into lines keeps the argument whole.
        let lineEnd: Unicode.Scalar = "\u{F8FE}"
        // A usage error may quote the value after `=` without its option.
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
