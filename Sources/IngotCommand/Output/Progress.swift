import TensorModel

/// One line on a terminal that says how far a long run is; nothing anywhere else.
enum Progress {
    private static let visible = Console.showsProgress

    /// Draws the line anew.
    static func show(done: UInt64, total: UInt64, _ name: TensorName) {
        guard visible else { return }
        let share = total == 0 ? 1 : Double(done) / Double(total)
        let filled = Int(share * 24)
        let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: 24 - filled)
        let percent = Format.padded("\(Int(share * 100))", to: 3)
        let text = "[\(bar)] \(percent) %  " + Format.shortened(IngotErrorRenderer.escaped(name.text), to: 44)
        Console.raw("\r\u{1B}[K" + text)
    }

    /// Removes the line.
    static func clear() {
        if visible { Console.raw("\r\u{1B}[K") }
    }
}
