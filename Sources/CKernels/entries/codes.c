// The public functions for the codes of other quantizers.

#include "../levels/dispatch.h"

void ingot_codes_unpack(int32_t bits, int32_t high_first, const uint8_t *packed, uint8_t *codes, size_t n) {
    ingot_active_table()->codes_unpack(bits, high_first, packed, codes, n);
}

void ingot_codes_values(int32_t kind, const float *table, const uint8_t *codes, float *values, size_t n) {
    ingot_active_table()->codes_values(kind, table, codes, values, n);
}

void ingot_codes_scale(
    float *values, size_t n, size_t first, size_t group, const float *scales, const float *zeros, const float *biases,
    int32_t between) {
    ingot_active_table()->codes_scale(values, n, first, group, scales, zeros, biases, between);
}

void ingot_codes_transpose(int32_t width, const void *from, void *to, size_t rows, size_t columns) {
    ingot_active_table()->codes_transpose(width, from, to, rows, columns);
}
