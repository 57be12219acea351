// swift-tools-version: 6.3
import PackageDescription

/// The fuzzer is a package of its own: its flags are none that a dependency may have.
///
/// `Tests/Fuzz/run.sh` builds it with what SwiftPM must be told for coverage of Swift and of C.
let package = Package(
    name: "ingot-fuzz",
    platforms: [.macOS(.v26)],
    dependencies: [.package(name: "ingot", path: "../..")],
    targets: [
        // libFuzzer brings `main`.
        .executableTarget(
            name: "IngotFuzz", dependencies: [.product(name: "FuzzTargets", package: "ingot")],
            swiftSettings: [.unsafeFlags(["-parse-as-library"])])
    ]
)
