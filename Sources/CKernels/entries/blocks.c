// Encoding of ggml's blocks (Specs/gguf-blocks.md).

#include "../levels/dispatch.h"

int32_t ingot_blocks_encode(
    int32_t type, int32_t rounding, const float *weights, size_t rows, size_t columns, const float *importance,
    uint8_t *blocks) {
    const struct ingot_table *table = ingot_active_table();
    int32_t status = table->blocks_small(type, rounding, weights, rows, columns, importance, blocks);
    return status == INGOT_BLOCKS_UNKNOWN
        ? table->blocks_super(type, rounding, weights, rows, columns, importance, blocks) : status;
}
