import Foundation
import FuzzTargets

/// The target that `INGOT_FUZZ_TARGET` names.
private let target: FuzzTarget = {
    let name = ProcessInfo.processInfo.environment["INGOT_FUZZ_TARGET"] ?? ""
    guard let target = FuzzTarget(rawValue: name) else {
        fatalError("INGOT_FUZZ_TARGET is one of \(FuzzTarget.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return target
}()

/// What libFuzzer calls first. Where `INGOT_FUZZ_SEEDS` names a directory, the seeds of every target are written into
/// DIR/TARGET/, the targets' names are printed, and that is all.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(_ count: OpaquePointer?, _ arguments: OpaquePointer?) -> CInt {
    guard let path = ProcessInfo.processInfo.environment["INGOT_FUZZ_SEEDS"] else { return 0 }
    Task.detached {
        do {
            try await writeSeeds(URL(fileURLWithPath: path))
            exit(0)
        } catch {
            print("seeds: \(error)")
            exit(1)
        }
    }
    while true { sleep(1) }
}

private func writeSeeds(_ root: URL) async throws {
    for target in FuzzTarget.allCases {
        let directory = root.appendingPathComponent(target.rawValue)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        for (index, bytes) in try await FuzzSeeds.make(target).enumerated() {
            try Data(bytes).write(to: directory.appendingPathComponent("seed-\(index)"))
        }
        print(target.rawValue)
    }
}

/// What libFuzzer calls with every input.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    target.run(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}
