import Foundation
import FuzzTargets

// Writes the seeds of every target into DIR/TARGET/, and prints the targets' names.
let root = URL(fileURLWithPath: CommandLine.arguments.dropFirst().first ?? "seeds")
for target in FuzzTarget.allCases {
    let directory = root.appendingPathComponent(target.rawValue)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    for (index, bytes) in try await FuzzSeeds.make(target).enumerated() {
        try Data(bytes).write(to: directory.appendingPathComponent("seed-\(index)"))
    }
    print(target.rawValue)
}
