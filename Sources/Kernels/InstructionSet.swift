internal import CKernels

/// Arithmetic over whole chunks, implemented in C.
///
/// Every function gives the same bits on every instruction set. Sizes that do not match are programmer errors and trap. No values
/// from a file cause a trap, unless a function says otherwise.
package enum Kernels {
    /// An instruction set that the kernels are compiled for. The raw value is its name in `INGOT_KERNELS`.
    package enum InstructionSet: String, Sendable, Hashable, CaseIterable {
        /// Baseline arm64.
        case neon
        /// Baseline x86-64.
        case sse2
        /// AVX2, F16C and FMA.
        case avx2
        /// AVX-512 F, BW, VL and DQ.
        case avx512
        /// AVX-512 F, BW, VL, DQ and VBMI2.
        case avx512vbmi2

        fileprivate var level: Int32? {
            switch self {
            #if arch(x86_64)
                case .sse2: Int32(INGOT_LEVEL_BASELINE)
                case .avx2: Int32(INGOT_LEVEL_AVX2)
                case .avx512: Int32(INGOT_LEVEL_AVX512)
                case .avx512vbmi2: Int32(INGOT_LEVEL_AVX512_VBMI2)
            #else
                case .neon: Int32(INGOT_LEVEL_BASELINE)
            #endif
            default: nil
            }
        }
    }

    /// The instruction sets that this processor supports, slowest first.
    package static var availableInstructionSets: [InstructionSet] {
        InstructionSet.allCases.filter { set in
            guard let level = set.level else { return false }
            return ingot_level_is_available(level) == 1
        }
    }

    /// The instruction set in use: the one given to `use(_:)`, otherwise the one in `INGOT_KERNELS`, otherwise the fastest available.
    package static var activeInstructionSet: InstructionSet {
        let level = ingot_level_active()
        guard let set = InstructionSet.allCases.first(where: { $0.level == level }) else {
            preconditionFailure("the kernels report an unknown instruction set")
        }
        return set
    }

    /// Uses `instructionSet` from now on, in every thread. For tests and measurements.
    ///
    /// - Returns: false if this processor does not support it; then nothing changes.
    package static func use(_ instructionSet: InstructionSet) -> Bool {
        guard let level = instructionSet.level else { return false }
        return ingot_level_force(level) == 0
    }
}
