// swift-tools-version: 6.3
import PackageDescription

/// One target a layer; each lists everything it may import, so the layers of CONTRIBUTING.md hold by construction.
let settings: [SwiftSetting] = [
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableExperimentalFeature("Lifetimes"),
]

/// A target under `Sources/` written in Swift, with the settings every one of them shares.
func layer(_ name: String, imports: [Target.Dependency], resources: [Resource]? = nil) -> Target {
    .target(name: name, dependencies: imports, resources: resources, swiftSettings: settings)
}

/// The test targets to build, by their names without "Tests", separated by spaces; all of them without this variable.
let chosenTests = Context.environment["INGOT_TESTS"].map { $0.split(separator: " ").map(String.init) }

/// The tests under `Tests/` with a name; they import what they test and no more. None where `INGOT_TESTS` leaves them out.
func tests(of name: String, imports: [Target.Dependency], exclude: [String] = []) -> [Target] {
    guard chosenTests?.contains(name) ?? true else { return [] }
    return [
        .testTarget(name: "\(name)Tests", dependencies: imports, exclude: exclude, swiftSettings: settings)
    ]
}

let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

/// The layers that everything above them may import, in order.
let base: [Target.Dependency] = ["TensorModel", "FileAccess", "Checkpoints", "Quantization", "Container", system]

/// The layers that `Conversion`, `Inspection` and `Export` stand on; these three do not import each other.
let ground: [Target.Dependency] = base + ["Architectures", "Work", "Weights", "Publishing", "Moments"]

/// All layers below the command.
let everyLayer: [Target.Dependency] = ground + ["Conversion", "Inspection", "Export", "Calibration"]

/// What tests of whole conversions import.
let wholeConversions: [Target.Dependency] =
    base + ["Weights", "Work", "Conversion", "Inspection", "TestSupport", "ConversionSupport"]

let package = Package(
    name: "ingot",
    platforms: [.macOS(.v26)],
    products: [
        .executable(name: "ingot", targets: ["IngotCommand"]),
        // For the fuzzer alone, a package of its own in Tests/Fuzz.
        .library(name: "FuzzTargets", targets: ["FuzzTargets"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-system", exact: "1.8.1"),
    ],
    targets: [
        .systemLibrary(
            name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"]), .brew(["zstd"])]),
        .systemLibrary(
            name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"]), .brew(["lz4"])]),
        .systemLibrary(
            name: "CXXHash", pkgConfig: "libxxhash",
            providers: [.apt(["libxxhash-dev"]), .brew(["xxhash"])]),
        .systemLibrary(
            name: "CCrypto", pkgConfig: "libcrypto",
            providers: [.apt(["libssl-dev"]), .brew(["openssl@3"])]),
        // Not named CSystem: swift-system has a target of that name.
        .target(name: "CSystemCalls"),
        .target(name: "CKernels"),
        .target(name: "CBLAS", linkerSettings: [.linkedFramework("Accelerate", .when(platforms: [.macOS]))]),
        layer("TensorModel", imports: []),
        layer("Kernels", imports: ["CKernels", "TensorModel"]),
        layer("FileAccess", imports: ["TensorModel", "CSystemCalls", "CXXHash", "CCrypto", system]),
        layer("Work", imports: ["TensorModel", "FileAccess"]),
        layer("Checkpoints", imports: ["TensorModel", "FileAccess", "Kernels", system]),
        layer("Architectures", imports: ["TensorModel"]),
        layer("Quantization", imports: ["TensorModel", "Kernels"]),
        layer(
            "Container",
            imports: [
                "TensorModel", "FileAccess", "Checkpoints", "Quantization", "CZstd", "CLZ4", system,
            ]),
        layer("Weights", imports: base + ["Architectures", "Work"]),
        layer("Publishing", imports: ["TensorModel", "FileAccess", "Checkpoints", "Container", system]),
        layer("Moments", imports: ["TensorModel", "FileAccess", "Checkpoints", "Architectures", system]),
        layer("Conversion", imports: ground),
        layer(
            "Inspection", imports: ground,
            // The HTML report's page lives in files of its own kind, and in the binary: one file is all there is to ship.
            resources: [.embedInCode("Reports/HTML/Page")]),
        layer("Export", imports: ground),
        layer("Products", imports: ["CBLAS", "TensorModel"]),
        layer("Calibration", imports: ground + ["Products"]),
        .executableTarget(
            name: "IngotCommand",
            dependencies: everyLayer + [.product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: settings),
        // What tests share: files, tensors, processes; and whole conversions.
        .target(
            name: "TestSupport", dependencies: ["TensorModel", "FileAccess", "Checkpoints", system],
            path: "Tests/TestSupport", swiftSettings: settings),
        .target(
            name: "ConversionSupport", dependencies: ["TestSupport"] + everyLayer, path: "Tests/ConversionSupport",
            swiftSettings: settings),
        .target(
            name: "FuzzTargets",
            dependencies: [
                "TestSupport", "ConversionSupport", "Conversion", "Inspection", "Moments", "Architectures",
                "Weights", "Calibration",
            ] + base,
            path: "Tests/FuzzTargets", swiftSettings: settings),
    ]
        // One layer each.
        + tests(of: "TensorModel", imports: ["TensorModel"])
        + tests(of: "Work", imports: ["Work", "TensorModel"])
        + tests(of: "Checkpoints", imports: ["Checkpoints", "FileAccess", "TensorModel", "TestSupport", system])
        + tests(of: "Architectures", imports: ["Architectures", "TensorModel"])
        + tests(
            of: "Moments",
            imports: ["Moments", "Architectures", "Checkpoints", "FileAccess", "TensorModel", "TestSupport", system])
        + tests(of: "Quantization", imports: ["Quantization", "Kernels", "TensorModel"])
        + tests(of: "FileAccess", imports: ["FileAccess", "CSystemCalls", "TensorModel", "TestSupport", system])
        + tests(of: "Publishing", imports: ["Publishing", "FileAccess", "TensorModel", "TestSupport", system])
        + tests(
            of: "Inspection", imports: ["Inspection", "FileAccess", "TensorModel", "TestSupport", system],
            exclude: ["bad-claims.json"])
        + tests(
            of: "Export",
            imports: base + [
                "Architectures", "Weights", "Calibration", "Conversion", "Export", "Moments", "TestSupport",
                "ConversionSupport",
            ])
        + tests(of: "Calibration", imports: base + ["Calibration", "Products", "Weights", "Work", "TestSupport"])
        // Whole conversions: runs and what they promise; bytes that stay the same on all machines and in all versions; what `verify`, `diff`
        // and `inspect` measure; checkpoints that somebody changed.
        + tests(of: "Conversion", imports: wholeConversions + ["Architectures", "Moments", "Publishing"])
        + tests(of: "Stability", imports: wholeConversions + ["Kernels"])
        + tests(of: "Measurement", imports: wholeConversions)
        + tests(of: "Tampering", imports: wholeConversions)
        + tests(of: "Fuzz", imports: ["FuzzTargets", "TestSupport"])
        // The command, as a process of its own.
        + tests(
            of: "Command",
            imports: [
                "Architectures", "Checkpoints", "Container", "Conversion", "ConversionSupport", "FileAccess", "Moments",
                "Publishing", "TensorModel", "TestSupport", system,
            ], exclude: ["Goldens"])
)
