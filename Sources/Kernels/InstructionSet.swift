internal import CKernels

/// The arithmetic over whole chunks that Swift leaves to C.
///
/// Every function gives the same bits on every instruction set. Sizes that do not fit together are programmer
/// errors and trap; nothing here depends on the values a file holds.
package enum Kernels {
    /// An instruction set the kernels are compiled for.
    package enum InstructionSet: String, Sendable, Hashable, CaseIterable {
        /// Baseline arm64.
        case neon
        /// Baseline x86-64.
        case sse2
        /// AVX2 and F16C.
        case avx2
        /// AVX-512 F, BW, VL and DQ.
        case avx512
        /// The same with VBMI2.
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

    /// The instruction sets this processor has, slowest first.
    package static var availableInstructionSets: [InstructionSet] {
        InstructionSet.allCases.filter { set in
            guard let level = set.level else { return false }
            return ingot_level_is_available(level) == 1
        }
    }

    /// The instruction set in use: the fastest available one unless `use(_:)` chose another.
    package static var activeInstructionSet: InstructionSet {
        let level = ingot_level_active()
        guard let set = InstructionSet.allCases.first(where: { $0.level == level }) else {
            preconditionFailure("the kernels report an unknown instruction set")
        }
        return set
    }

    /// Uses `instructionSet` from now on, in every thread; for tests and measurements.
    ///
    /// - Returns: false, having changed nothing, where this processor lacks it.
    package static func use(_ instructionSet: InstructionSet) -> Bool {
        guard let level = instructionSet.level else { return false }
        return ingot_level_force(level) == 0
    }
}
