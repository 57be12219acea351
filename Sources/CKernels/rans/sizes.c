// The bytes that callers of the rANS coder must provide.

#include "CKernels.h"
#include "format.h"

size_t ingot_rans_bound(size_t rows, size_t columns) {
    // A symbol takes one word and one escape at most; the widest vector of words may be written in front.
    return RANS_HEADER + RANS_MAX_CONTEXTS * RANS_LIST_BYTES + RANS_LANES * sizeof(uint32_t)
        + 3 * rows * columns + 2 * (rows + columns) + 64;
}

size_t ingot_rans_scratch(size_t rows, size_t columns) {
    // Tables and indices; the encoder's sums and escapes take the place of the decoder's tables.
    size_t decoder = sizeof(uint32_t) * RANS_TOTAL * RANS_MAX_CONTEXTS + rows + columns;
    size_t encoder = 2 * sizeof(uint32_t) * RANS_ALPHABET * RANS_MAX_CONTEXTS + 7 * (rows + columns) + rows * columns;
    return decoder > encoder ? decoder : encoder;
}
