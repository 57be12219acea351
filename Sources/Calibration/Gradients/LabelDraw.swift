/// Draws the labels of a backward pass: a number for each position of the text, always the same.
enum LabelDraw {
    /// A number from 0 up to but not 1, which nothing but its place in the texts decides. So it depends on no other text, no budget, no number
    /// of jobs.
    ///
    /// - Parameters:
    ///   - text: number of the text, from 0.
    ///   - sequence: number of the sequence in its text, from 0; those count too that no gradients are taken on.
    ///   - position: number of the token in its sequence, from 0.
    static func number(text: Int, sequence: Int, position: Int) -> Double {
        let state = [sequence, position].reduce(mixed(UInt64(text))) { mixed($0 ^ UInt64($1)) }
        return Double(state >> 11) * 0x1p-53
    }

    /// The output of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014) in a state.
    private static func mixed(_ state: UInt64) -> UInt64 {
        var z = state &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }
}
