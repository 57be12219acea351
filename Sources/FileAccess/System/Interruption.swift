internal import CSystemCalls
internal import TensorModel

/// SIGINT and SIGTERM as a state that long work checks between two chunks.
package enum Interruption {
    /// From now on SIGINT and SIGTERM are recorded and do not end the process. SIGPIPE and SIGXFSZ become errors of the failing calls.
    package static func install() { _ = ingot_interrupt_install() }

    /// Throws `interrupted` or `terminated` if a signal has arrived.
    package static func check() throws {
        switch ingot_interrupt_received() {
        case 0: return
        case 2: throw IngotError(.interrupted, found: "the run was interrupted (SIGINT)")
        default: throw IngotError(.terminated, found: "the run was ended (SIGTERM)")
        }
    }
}
