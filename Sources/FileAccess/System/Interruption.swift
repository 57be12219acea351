internal import CSystemCalls
internal import TensorModel

/// SIGINT and SIGTERM as something long work looks at between two chunks.
package enum Interruption {
    /// Records the signals instead of dying of them; SIGPIPE and SIGXFSZ become errors of the calls that raise them.
    package static func install() { _ = ingot_interrupt_install() }

    /// Throws `interrupted` or `terminated` once a signal has come.
    package static func check() throws {
        switch ingot_interrupt_received() {
        case 0: return
        case 2: throw IngotError(.interrupted, found: "the run was interrupted (SIGINT)")
        default: throw IngotError(.terminated, found: "the run was ended (SIGTERM)")
        }
    }
}
