package import Quantization

extension ChunkWorkspace {
    /// Counts the codes of the chunk that was decoded last; false of a lossless one, which has none.
    package func count(_ entry: ChunkEntry, of payload: SealedShard.Payload, into counts: inout CodeCounts) -> Bool {
        switch payload.descriptor.scheme {
        case .lossless: return false
        case .uniform: counts.count(groups.codes, count: count)
        case .trellis(let parameters): counts.count(restored, count: count, step: entry.step ?? 0, parameters)
        }
        return true
    }
}
