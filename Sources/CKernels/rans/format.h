// Constants of the coded form of a chunk (Specs/rans.md).

#ifndef INGOT_RANS_FORMAT_H
#define INGOT_RANS_FORMAT_H

enum {
    RANS_BITS = 12,                  // the frequencies of a context sum to 2^12
    RANS_TOTAL = 1 << RANS_BITS,
    RANS_LANES = 32,                 // interleaved states, one for each column of a band
    RANS_LOW = 1 << 15,              // states are in [2^15, 2^31)
    RANS_MAX_CLASSES = 16,
    RANS_MAX_CONTEXTS = 2 * RANS_MAX_CLASSES + 2,
    RANS_LARGEST = 63,               // symbols beyond +-63 are escapes
    RANS_ESCAPE = -64,               // the symbol that stands for an escape in the tables
    RANS_ALPHABET = 128,
    RANS_MAX_MAGNITUDE = 127,        // |2h + 1| for h = 63
    RANS_LARGEST_INDEX = 8,          // row and column indices are in -8...8
    RANS_INDICES = 2 * RANS_LARGEST_INDEX + 1,
    RANS_HEADER = 5,
    RANS_MODEL_BYTES = 4,
    RANS_LIST_BYTES = 2 + 2 * (RANS_LARGEST + 1),  // the longest list
};

#endif
