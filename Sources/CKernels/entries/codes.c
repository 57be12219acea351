// The public functions for the codes of other quantizers.

#include "../levels/dispatch.h"

#include <string.h>

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

void ingot_codes_count(const uint8_t *bytes, size_t n, uint64_t *counts) {
    // Four tables, so that equal neighbours do not wait for each other. A count of a stretch stays below 2^32.
    uint32_t tables[4][256];
    while (n > 0) {
        size_t stretch = n < (size_t)1 << 30 ? n : (size_t)1 << 30, i = 0;
        memset(tables, 0, sizeof tables);
        for (; i + 8 <= stretch; i += 8) {
            uint64_t word;
            memcpy(&word, bytes + i, 8);
            for (int k = 0; k < 8; k += 1) { tables[k & 3][word >> (8 * k) & 0xff] += 1; }
        }
        for (; i < stretch; i += 1) { tables[0][bytes[i]] += 1; }
        for (int k = 0; k < 256; k += 1) {
            counts[k] += (uint64_t)tables[0][k] + tables[1][k] + tables[2][k] + tables[3][k];
        }
        bytes += stretch;
        n -= stretch;
    }
}
