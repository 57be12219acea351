import SystemPackage

/// Paths of the repository these tests were built from.
enum Repository {
    /// The root.
    static let root = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
    /// What earlier versions wrote, and tables of what every version keeps.
    static let fixtures = root.appending("Tests").appending("Fixtures")
    /// The checkpoint in float16; `bf16` and `fp32` beside its shards.
    static let sampleWeights = root.appending("SampleWeights")
}
