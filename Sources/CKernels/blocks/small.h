// Encodes blocks of 32 weights.

#ifndef INGOT_BLOCKS_SMALL_H
#define INGOT_BLOCKS_SMALL_H

#include "CKernels.h"
#include "../common/lanes.h"

// See ingot_blocks_encode.
static int32_t blocks_small(
    int32_t type, int32_t rounding, const float *weights, size_t rows, size_t columns, const float *importance,
    uint8_t *blocks) {
    (void)type, (void)rounding, (void)weights, (void)rows, (void)columns, (void)importance, (void)blocks;
    return INGOT_BLOCKS_UNKNOWN;
}

#endif
