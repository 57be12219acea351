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
            try UsageError.requireKnownVerb(CommandLine.arguments.dropFirst())
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
            guard status != 0 else {
                Console.result(text)
                Console.exit(0)
            }
            let verb = CommandLine.arguments.dropFirst().first.flatMap { $0.hasPrefix("-") ? nil : $0 }
            Console.message(RemedyText.message(UsageError.error(text, verb: verb)))
            Console.exit(status)
        }
        Console.exit(0)
    }
}
