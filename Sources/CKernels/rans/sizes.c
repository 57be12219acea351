// The bytes that callers of the rANS coder must provide.

#include "CKernels.h"
#include "format.h"

size_t ingot_rans_bound(struct ingot_chunk_shape shape) {
    // A symbol takes one word and one escape at most; the widest vector of words may be written in front.
    return RANS_HEADER + RANS_MAX_CONTEXTS * RANS_LIST_BYTES + RANS_LANES * sizeof(uint32_t)
        + 3 * shape.rows * shape.columns + 2 * (shape.rows + shape.columns) + 64;
}

size_t ingot_rans_scratch(struct ingot_chunk_shape shape) {
    size_t edges = shape.rows + shape.columns;
    // Tables and indices; the encoder's sums and escapes take the place of the decoder's tables.
    size_t decoder = sizeof(uint32_t) * RANS_TOTAL * RANS_MAX_CONTEXTS + edges;
    size_t encoder = 2 * sizeof(uint32_t) * RANS_ALPHABET * RANS_MAX_CONTEXTS + 7 * edges + shape.rows * shape.columns;
    return decoder > encoder ? decoder : encoder;
}
