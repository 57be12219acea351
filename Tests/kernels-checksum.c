// Prints one checksum a kernel, over inputs that reach every branch; the same on every instruction set.
// Used by kernels-aarch64.sh; includes nothing that a cross compiler might lack but the C library.

#include "CKernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 37, COLUMNS = 331, COUNT = ROWS * COLUMNS };

static uint64_t state = 88172645463325252u;

static uint32_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static uint64_t hash;

static void add(const void *bytes, size_t count) {
    const uint8_t *start = bytes;
    for (size_t i = 0; i < count; i += 1) { hash = (hash ^ start[i]) * 1099511628211u; }
}

static void report(const char *name) {
    printf("%s %016llx\n", name, (unsigned long long)hash);
    hash = 14695981039346656037u;
}

static uint8_t raw[COUNT * 4], bytes[COUNT * 4], again[COUNT * 4], codes[COUNT];
static float weights[COUNT], restored[COUNT], scales[COUNT], biases[COUNT];

// Weights of mixed size in each row, with constant, subnormal and huge groups among them.
static void make_weights(void) {
    for (int i = 0; i < COUNT; i += 1) {
        float sum = 0;
        for (int k = 0; k < 8; k += 1) { sum += (float)(next() >> 8) * 0x1p-24f - 0.5f; }
        switch (i / COLUMNS % 7) {
        case 3: weights[i] = 0.25f; break;
        case 4: weights[i] = sum * 0x1p-140f; break;
        case 5: weights[i] = sum * 0x1p125f; break;
        default: weights[i] = sum * (i % 90 == 0 ? 20.0f : 0.02f); break;
        }
    }
}

int main(void) {
    static const int32_t widths[] = {2, 3, 4, 5, 6, 8};
    hash = 14695981039346656037u;
    for (int i = 0; i < COUNT * 4; i += 1) { raw[i] = (uint8_t)next(); }
    for (int32_t format = 1; format <= 3; format += 1) {
        ingot_expand(format, raw, restored, COUNT);
        add(restored, sizeof restored);
        struct ingot_non_finite found = ingot_scan_non_finite(format, raw, COUNT);
        add(&found.nan_count, 4);
        add(&found.infinity_count, 4);
        add(&found.first_index, 4);
        uint32_t overflows = (uint32_t)ingot_narrow(format, (const float *)(const void *)raw, bytes, COUNT);
        add(&overflows, 4);
        add(bytes, COUNT * (format == 3 ? 4 : 2));
    }
    report("conversion");
    make_weights();
    for (int32_t format = 1; format <= 3; format += 1) {
        for (int width = 0; width < 6; width += 1) {
            for (int32_t symmetric = 0; symmetric < 2; symmetric += 1) {
                for (size_t group = 32; group <= 128; group *= 2) {
                    size_t groups = ROWS * ((COLUMNS + group - 1) / group);
                    ingot_uniform_encode(
                        weights, ROWS, COLUMNS, group, widths[width], symmetric, format, codes, scales, biases);
                    add(codes, sizeof codes);
                    add(scales, groups * sizeof(float));
                    if (!symmetric) { add(biases, groups * sizeof(float)); }
                    ingot_uniform_decode(
                        codes, scales, symmetric ? NULL : biases, ROWS, COLUMNS, group, widths[width], restored);
                    add(restored, sizeof restored);
                    struct ingot_error_sums sums = ingot_error_sums(weights, restored, COUNT);
                    add(&sums, sizeof sums);
                }
            }
        }
    }
    report("uniform");
    for (int width = 0; width < 6; width += 1) {
        for (int32_t layout = 0; layout < 2; layout += 1) {
            for (int i = 0; i < COUNT; i += 1) { codes[i] = raw[i] >> (8 - widths[width]); }
            size_t count = ingot_packed_byte_count(layout, widths[width], COUNT);
            if (ingot_pack(layout, widths[width], codes, bytes, COUNT) != 0) { return 1; }
            add(bytes, count);
            if (ingot_unpack(layout, widths[width], bytes, again, COUNT) != 0) { return 1; }
            if (memcmp(codes, again, COUNT) != 0) { return 1; }
        }
    }
    report("packing");
    for (int32_t width = 2; width <= 4; width += 2) {
        for (int32_t rotated = 0; rotated < 2; rotated += 1) {
            ingot_planes_split(width, rotated, raw, bytes, COUNT);
            add(bytes, COUNT * (size_t)width);
            ingot_planes_join(width, rotated, bytes, again, COUNT);
            if (memcmp(raw, again, COUNT * (size_t)width) != 0) { return 1; }
        }
    }
    report("planes");
    return 0;
}
