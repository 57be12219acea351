import Checkpoints
import Container
import Quantization
import TensorModel
package import Weights

/// A matrix of a model: some rows of a tensor, usually all of them.
struct WeightMatrix: Sendable {
    /// The tensor.
    let weights: ReadableWeights
    /// The rows of the tensor that belong to the matrix.
    let rows: Range<Int>
    /// Number of columns: the length of the inputs.
    var columns: Int { weights.columns }
    /// Most rows that are read and multiplied together, whole chunks of an encoded tensor.
    let bandRows: Int
    /// Rows of a chunk of an encoded tensor, of which a part takes as long to decode as the whole; 1 for a plain tensor.
    private let chunkRows: Int

    /// Least and most rows of a band, and its usual number of weights. A product packs all states for each band, so narrow bands are slow:
    /// with 256 rows, packing is a tenth of the time.
    private static let leastRows = 256, mostRows = 1024, usualWeights = 1 << 22

    init(_ weights: ReadableWeights, rows: Range<Int>) {
        self.weights = weights
        self.rows = rows
        let usual = WeightMatrix.usualWeights / weights.columns
        let wanted = max(WeightMatrix.leastRows, min(WeightMatrix.mostRows, usual))
        chunkRows = weights.grid?.chunkRows ?? 1
        bandRows = max(1, min(chunkRows * max(1, wanted / chunkRows), rows.count))
    }

    /// The bands of the matrix, as rows of the tensor: about equally many for each job, so that no job waits for another at the end. They end
    /// where chunks of the tensor end.
    func bands(jobs: Int) -> [Range<Int>] {
        let least = (rows.count + bandRows - 1) / bandRows
        let even = (least + jobs - 1) / jobs * jobs
        let count = max(least, min(even, rows.count / WeightMatrix.leastRows))
        let size = ((rows.count + count - 1) / count + chunkRows - 1) / chunkRows * chunkRows
        var bands: [Range<Int>] = []
        var start = rows.lowerBound
        while start < rows.upperBound {
            let whole = (start + size) / chunkRows * chunkRows
            let end = min(whole > start ? whole : start + size, rows.upperBound)
            bands.append(start..<end)
            start = end
        }
        return bands
    }
}

/// A linear layer: y = W x + bias.
struct Linear: Sendable {
    /// The matrix W.
    let matrix: WeightMatrix
    /// A number per row of W; nil without bias.
    let bias: [Float]?
}

/// The feed-forward part of a layer, or of one expert: down(silu(gate x) * (up x)).
struct GatedLinear: Sendable {
    let gate: Linear, up: Linear, down: Linear
}

/// The weights of a layer.
struct LayerWeights: Sendable {
    /// Scales of the norm before attention, and of the norm before the feed-forward part.
    let attentionNorm: [Float], feedForwardNorm: [Float]
    let query: Linear, key: Linear, value: Linear, output: Linear
    /// The feed-forward parts: one in a dense layer, all experts otherwise.
    let feedForward: [GatedLinear]
    /// The matrix that chooses experts; nil in a dense layer.
    let router: Linear?
}

/// The weights of a decoder of the Llama type, found by their names in a checkpoint of any format.
package struct ModelWeights: Sendable {
    /// The hyperparameters of the model.
    package let hyperparameters: ModelHyperparameters
    /// The token embeddings: vocabulary x hidden.
    let embedding: WeightMatrix
    /// The output head: vocabulary x hidden. It is the embedding if the model ties them.
    let head: Linear
    /// Scales of the norm before the head.
    let finalNorm: [Float]
    let layers: [LayerWeights]
    /// Whether rotary positions turn neighbouring numbers of a head, as in GGUF files of architecture `llama`, whose rows of queries and keys
    /// are permuted; otherwise they turn number i with number i + headSize / 2.
    let turnsNeighbours: Bool

    /// Finds the weights. It reads norms and biases, and checks the shape of every matrix.
    ///
    /// - Throws: `missingField` if a tensor is missing, `invalidShape` if one has another shape than the hyperparameters say,
    ///   `valueOutOfRange` if there are more layers than they say; errors of reading.
    package init(_ checkpoint: OpenedCheckpoint, _ hyperparameters: ModelHyperparameters) throws {
        var finder = TensorFinder(checkpoint)
        let h = hyperparameters
        self.hyperparameters = h
        let names = finder.names
        turnsNeighbours = names == .gguf && h.family != .qwen2
        embedding = try finder.matrix(names.embedding, h.vocabulary, h.hidden)
        finalNorm = try finder.vector(names.finalNorm, h.hidden)
        if h.tiesEmbeddings || !finder.has(names.head) {
            head = Linear(matrix: embedding, bias: nil)
        } else {
            head = Linear(matrix: try finder.matrix(names.head, h.vocabulary, h.hidden), bias: nil)
        }
        layers = try (0..<h.layers).map { try finder.layer($0, h) }
        try finder.refuseLayers(from: h.layers)
    }

    /// The widest band of rows of any matrix, in numbers: what a worker decodes at a time.
    var largestBand: Int {
        allMatrices.map { $0.bandRows * $0.columns }.max() ?? 0
    }

    /// The largest number of rows of a band.
    var largestBandRows: Int { allMatrices.map(\.bandRows).max() ?? 0 }

    private var allMatrices: [WeightMatrix] {
        [embedding, head.matrix]
            + layers.flatMap { layer in
                [layer.query, layer.key, layer.value, layer.output].map(\.matrix)
                    + layer.feedForward.flatMap { [$0.gate.matrix, $0.up.matrix, $0.down.matrix] }
            }
    }
}
