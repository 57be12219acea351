import ArgumentParser
import Container
import FileAccess

/// The command: a table of its verbs.
@main
struct Ingot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ingot",
        abstract: "Quantize, inspect, verify and export checkpoints of large language models.",
        discussion: """
            Results go to standard output, progress and messages to standard error.
            Exit codes: 0 success, 1 a claim or comparison failed, 64 usage, 65 bad data,
            66 no input, 73 cannot create, 74 I/O error, 75 try again
            (locked, or a download that stopped), 130/143 interrupted.
            """,
        version: "\(ContainerFormat.writer) (\(CodecLibraries.versions))",
        subcommands: [Convert.self, Plan.self, Inspect.self, Verify.self, Diff.self, Export.self])

    // On the main thread up to the first switch to another one, which may not be had.
    @MainActor static func main() async {
        Interruption.install()
        Command.requireResources()
        await Command.run()
    }
}
