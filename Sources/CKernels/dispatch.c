// Chooses the instruction set and forwards each public function to it.

#include "rans_model.h"
#include "table.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int32_t active_level = -1;

static const struct ingot_table *table_of(int32_t level) {
#if defined(__x86_64__)
    switch (level) {
    case INGOT_LEVEL_AVX512_VBMI2: return &ingot_table_avx512_vbmi2;
    case INGOT_LEVEL_AVX512: return &ingot_table_avx512;
    case INGOT_LEVEL_AVX2: return &ingot_table_avx2;
    default: return &ingot_table_sse2;
    }
#else
    (void)level;
    return &ingot_table_neon;
#endif
}

int32_t ingot_level_is_available(int32_t level) {
    if (level == INGOT_LEVEL_BASELINE) { return 1; }
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (level == INGOT_LEVEL_AVX2) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
    }
    if (level == INGOT_LEVEL_AVX512_VBMI2) {
        return ingot_level_is_available(INGOT_LEVEL_AVX512) && __builtin_cpu_supports("avx512vbmi2");
    }
    if (level == INGOT_LEVEL_AVX512) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    }
#endif
    return 0;
}

// The level that INGOT_KERNELS names, where this processor has it; else the highest.
static int32_t first_level(void) {
    const char *asked = getenv("INGOT_KERNELS");
    for (int32_t level = INGOT_LEVEL_AVX512_VBMI2; asked && level >= INGOT_LEVEL_BASELINE; level -= 1) {
        if (strcmp(asked, ingot_level_name(level)) == 0 && ingot_level_is_available(level)) { return level; }
    }
    int32_t level = INGOT_LEVEL_AVX512_VBMI2;
    while (!ingot_level_is_available(level)) { level -= 1; }
    return level;
}

int32_t ingot_level_active(void) {
    int32_t level = atomic_load_explicit(&active_level, memory_order_relaxed);
    if (level < 0) {
        level = first_level();
        // Two threads may both arrive here; they store the same number.
        atomic_store_explicit(&active_level, level, memory_order_relaxed);
    }
    return level;
}

int32_t ingot_level_force(int32_t level) {
    if (!ingot_level_is_available(level)) { return -1; }
    atomic_store_explicit(&active_level, level, memory_order_relaxed);
    return 0;
}

const char *ingot_level_name(int32_t level) {
    switch (level) {
#if defined(__x86_64__)
    case INGOT_LEVEL_BASELINE: return "sse2";
#else
    case INGOT_LEVEL_BASELINE: return "neon";
#endif
    case INGOT_LEVEL_AVX2: return "avx2";
    case INGOT_LEVEL_AVX512: return "avx512";
    case INGOT_LEVEL_AVX512_VBMI2: return "avx512vbmi2";
    default: return "unknown";
    }
}

const struct ingot_table *ingot_active_table(void) { return table_of(ingot_level_active()); }

void ingot_expand(int32_t format, const void *source, float *result, size_t n) {
    ingot_active_table()->expand(format, source, result, n);
}

size_t ingot_narrow(int32_t format, const float *source, void *result, size_t n) {
    return ingot_active_table()->narrow(format, source, result, n);
}

struct ingot_non_finite ingot_scan_non_finite(int32_t format, const void *source, size_t n) {
    return ingot_active_table()->scan_non_finite(format, source, n);
}

void ingot_uniform_encode(
    const float *weights, size_t rows, size_t columns, size_t group_size, int32_t bits, int32_t symmetric,
    int32_t scale_format, uint8_t *codes, float *scales, float *biases) {
    ingot_active_table()->uniform_encode(
        weights, rows, columns, group_size, bits, symmetric, scale_format, codes, scales, biases);
}

struct ingot_error_sums ingot_uniform_round(
    int32_t format, const void *source, size_t rows, size_t columns, size_t group_size, int32_t bits,
    int32_t symmetric, uint8_t *codes, float *scales, float *biases) {
    return ingot_active_table()->uniform_round(
        format, source, rows, columns, group_size, bits, symmetric, codes, scales, biases);
}

void ingot_uniform_decode(
    const uint8_t *codes, const float *scales, const float *biases, size_t rows, size_t columns,
    size_t group_size, int32_t bits, float *weights) {
    ingot_active_table()->uniform_decode(codes, scales, biases, rows, columns, group_size, bits, weights);
}

struct ingot_error_sums ingot_error_sums(const float *original, const float *restored, size_t n) {
    return ingot_active_table()->error_sums(original, restored, n);
}

size_t ingot_packed_byte_count(int32_t layout, int32_t bits, size_t n) {
    if (layout == INGOT_LAYOUT_ALIGNED) {
        size_t codes_per_byte = bits == 2 ? 4 : bits <= 4 ? 2 : 1;
        return n / codes_per_byte + (n % codes_per_byte != 0);
    }
    // n = 8a + r: no product of n that could wrap.
    return n / 8 * (size_t)bits + (n % 8 * (size_t)bits + 7) / 8;
}

int32_t ingot_pack(int32_t layout, int32_t bits, const uint8_t *codes, uint8_t *packed, size_t n) {
    return ingot_active_table()->pack(layout, bits, codes, packed, n);
}

int32_t ingot_unpack(int32_t layout, int32_t bits, const uint8_t *packed, uint8_t *codes, size_t n) {
    return ingot_active_table()->unpack(layout, bits, packed, codes, n);
}

void ingot_planes_split(int32_t width, int32_t rotated, const void *source, uint8_t *planes, size_t n) {
    ingot_active_table()->planes_split(width, rotated, source, planes, n);
}

void ingot_planes_join(int32_t width, int32_t rotated, const uint8_t *planes, void *result, size_t n) {
    ingot_active_table()->planes_join(width, rotated, planes, result, n);
}

void ingot_pack_thirds(const uint8_t *symbols, uint8_t *packed, size_t n) {
    ingot_active_table()->pack_thirds(symbols, packed, n);
}

int32_t ingot_unpack_thirds(const uint8_t *packed, uint8_t *symbols, size_t n) {
    return ingot_active_table()->unpack_thirds(packed, symbols, n);
}

void ingot_weight_statistics(
    int32_t format, const void *source, size_t rows, size_t columns, double shift, uint32_t *counts,
    float *row_energies, float *column_energies, struct ingot_moments *moments) {
    ingot_active_table()->weight_statistics(
        format, source, rows, columns, shift, counts, row_energies, column_energies, moments);
}

struct ingot_comparison ingot_compare_weights(
    const float *original, const float *restored, size_t n, uint32_t *error_counts) {
    return ingot_active_table()->compare_weights(original, restored, n, error_counts);
}

void ingot_row_energies(const float *weights, size_t rows, size_t columns, float *energies) {
    ingot_active_table()->row_energies(weights, rows, columns, energies);
}

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

size_t ingot_rans_encode(
    const int16_t *symbols, const uint64_t *odd_masks, size_t rows, size_t columns, struct ingot_rans_rule rule,
    uint8_t *bytes, void *scratch) {
    return ingot_active_table()->rans_encode(symbols, odd_masks, rows, columns, rule, bytes, scratch);
}

int32_t ingot_rans_decode(
    const uint8_t *bytes, size_t count, size_t rows, size_t columns, struct ingot_rans_rule rule, const uint8_t *low,
    float step, float *weights, size_t stride, void *scratch) {
    return ingot_active_table()->rans_decode(bytes, count, rows, columns, rule, low, step, weights, stride, scratch);
}
