import TensorModel

extension IngotError.Code {
    /// Exit status for an error, from sysexits.h where one fits.
    var exitStatus: Int32 {
        switch kind {
        case .disagreement: 1
        case .request: 64
        case .badData: 65
        case .noInput: 66
        case .cannotCreate: 73
        case .system: 74
        case .tryAgain: 75
        case .interrupted: 130
        case .terminated: 143
        }
    }
}
