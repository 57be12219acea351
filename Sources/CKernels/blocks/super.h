// Encodes super-blocks of 256 weights.

#ifndef INGOT_BLOCKS_SUPER_H
#define INGOT_BLOCKS_SUPER_H

#include "CKernels.h"
#include "../common/lanes.h"

// See ingot_blocks_encode.
static int32_t blocks_super(
    int32_t type, int32_t rounding, const float *weights, size_t rows, size_t columns, const float *importance,
    uint8_t *blocks) {
    (void)type, (void)rounding, (void)weights, (void)rows, (void)columns, (void)importance, (void)blocks;
    return INGOT_BLOCKS_UNKNOWN;
}

#endif
