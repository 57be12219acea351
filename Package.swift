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

/// The tests of one layer, under `Tests/`.
func tests(
    of name: String, imports: [Target.Dependency], resources: [Resource]? = nil, exclude: [String] = []
) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: imports, exclude: exclude, resources: resources, swiftSettings: settings)
}

let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

/// All layers below the command, for tests that go through a whole conversion.
let everyLayer: [Target.Dependency] = [
    "TensorModel", "FileAccess", "Checkpoints", "Quantization", "Container", "Publishing", "Conversion", "Inspection",
    "Export", system,
]

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
        .target(name: "CKernels", dependencies: ["CXXHash"]),
        layer("TensorModel", imports: []),
        layer("Kernels", imports: ["CKernels", "TensorModel"]),
        layer("FileAccess", imports: ["TensorModel", "CKernels", "CXXHash", "CCrypto", system]),
        layer("Checkpoints", imports: ["TensorModel", "FileAccess", system]),
        layer("Quantization", imports: ["TensorModel", "Kernels"]),
        layer(
            "Container",
            imports: [
                "TensorModel", "FileAccess", "Checkpoints", "Quantization", "CZstd", "CLZ4", system,
            ]),
        layer("Publishing", imports: ["TensorModel", "FileAccess", "Checkpoints", "Container", system]),
        layer(
            "Conversion",
            imports: [
                "TensorModel", "FileAccess", "Checkpoints", "Quantization", "Container", "Publishing", system,
            ]),
        layer(
            "Inspection",
            imports: [
                "TensorModel", "FileAccess", "Checkpoints", "Quantization", "Container", "Publishing", "Conversion",
                system,
            ],
            // The HTML report's page lives in files of its own kind, and in the binary: one file is all there is to ship.
            resources: [.embedInCode("Reports/HTML/Page")]),
        layer(
            "Export",
            imports: [
                "TensorModel", "FileAccess", "Checkpoints", "Quantization", "Container", "Publishing", "Conversion",
                system,
            ]),
        .executableTarget(
            name: "IngotCommand",
            dependencies: [
                "TensorModel", "FileAccess", "Checkpoints", "Quantization", "Container", "Publishing", "Conversion",
                "Inspection", "Export", system,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings),
        tests(of: "TensorModel", imports: ["TensorModel"]),
        tests(of: "Checkpoints", imports: ["Checkpoints", "FileAccess", "TensorModel", "TestSupport", system]),
        tests(of: "Quantization", imports: ["Quantization", "Kernels", "TensorModel"]),
        .target(
            name: "TestSupport", dependencies: everyLayer, path: "Tests/TestSupport", swiftSettings: settings),
        .target(
            name: "FuzzTargets", dependencies: ["TestSupport"] + everyLayer, path: "Tests/FuzzTargets",
            swiftSettings: settings),
        tests(of: "Fuzz", imports: ["FuzzTargets", "TestSupport"] + everyLayer),
        tests(of: "FileAccess", imports: ["FileAccess", "TensorModel", "TestSupport", system]),
        tests(of: "Container", imports: ["TestSupport"] + everyLayer),
        tests(of: "Publishing", imports: ["Publishing", "FileAccess", "TensorModel", "TestSupport", system]),
        tests(of: "Conversion", imports: ["TestSupport", "Kernels"] + everyLayer),
        tests(of: "Inspection", imports: ["TestSupport"] + everyLayer, exclude: ["bad-claims.json"]),
        tests(of: "Command", imports: ["TestSupport"] + everyLayer, exclude: ["Goldens"]),
    ]
)
