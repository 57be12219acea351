// Sizes of the buffers that callers of the rANS coder provide.

#include "CKernels.h"
#include "format.h"

size_t ingot_rans_bound(struct ingot_chunk_shape shape) {
    // A symbol takes at most one word and one escape. The encoder may write a whole vector in front of the words: 64 bytes.
    return RANS_HEADER + RANS_MAX_CONTEXTS * RANS_LIST_BYTES + RANS_LANES * sizeof(uint32_t)
        + 3 * shape.rows * shape.columns + 2 * (shape.rows + shape.columns) + 64;
}

size_t ingot_rans_scratch(struct ingot_chunk_shape shape) {
    size_t edges = shape.rows + shape.columns;
    // The decoder needs tables and indices; the encoder needs its tables, counts, sums, indices and escapes. The larger counts.
    size_t decoder = sizeof(uint32_t) * RANS_TOTAL * RANS_MAX_CONTEXTS + edges;
    size_t encoder = 2 * sizeof(uint32_t) * RANS_ALPHABET * RANS_MAX_CONTEXTS + 7 * edges + shape.rows * shape.columns;
    return decoder > encoder ? decoder : encoder;
}
