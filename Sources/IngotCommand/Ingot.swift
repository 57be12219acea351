import ArgumentParser
import Container
import FileAccess

/// The command `ingot` and its verbs.
@main
struct Ingot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ingot",
        abstract: "Quantize, inspect, verify and export LLM checkpoints.",
        discussion: """
            Examples:
              ingot convert llama-7b llama-7b.ingot --bits 4
              ingot verify llama-7b.ingot --against llama-7b
              ingot export llama-7b.ingot llama-7b-4bit --dtype bf16

            Results go to standard output, progress and messages to standard error.

            Exit codes: 0 success; 1 a claim or a comparison failed; 64 wrong usage, or a
            goal that cannot be met; 65 bad data; 66 no input; 73 the output cannot be
            created; 74 I/O error; 75 try again (another run holds the lock, or a download
            stopped); 130 and 143 interrupted.
            """,
        version: "\(ContainerFormat.writer) (\(CodecLibraries.versions))",
        subcommands: [
            Convert.self, Plan.self, Inspect.self, Verify.self, Diff.self, Export.self, Tokenize.self, Evaluate.self,
            Calibrate.self,
        ])

    // Stays on the main thread until `requireResources` has checked that other threads can start.
    @MainActor static func main() async {
        Interruption.install()
        Command.requireResources()
        await Command.run()
    }
}
