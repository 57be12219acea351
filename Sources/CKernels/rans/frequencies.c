// Frequencies of one context and their tables (Specs/rans.md, section 3).

#include "frequencies.h"

#include <string.h>

static const uint16_t escape_frequencies[16] = {0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 1024};

int32_t rans_escape_frequency(int32_t code) { return escape_frequencies[code]; }

int32_t rans_escape_code(double frequency) {
    int32_t code = 0;
    while (code < 15 && escape_frequencies[code] < frequency) { code += 1; }
    return code;
}

int32_t rans_code_of_escape(int32_t frequency) {
    int32_t code = 0;
    while (escape_frequencies[code] != frequency) { code += 1; }
    return code;
}

int32_t rans_make_frequencies(
    const int32_t *half, int32_t reach, int32_t odd, int32_t escape, struct rans_frequencies *result) {
    memset(result, 0, sizeof *result);
    int32_t left = RANS_TOTAL - escape;
    for (int32_t h = odd ? 0 : 1; h <= reach; h += 1) {
        result->of[64 + h] = result->of[64 - odd - h] = (uint16_t)half[h];
        left -= 2 * half[h];
    }
    int32_t centre = result->of[64] + left;
    if (centre < 1) { return -1; }
    result->of[64] = (uint16_t)centre;
    result->of[0] = (uint16_t)escape;
    result->first = -odd - reach;
    result->last = reach;
    return 0;
}

void rans_decoder_table(const struct rans_frequencies *frequencies, uint32_t *table) {
    for (int32_t symbol = frequencies->first; symbol <= frequencies->last + 1; symbol += 1) {
        int32_t named = symbol > frequencies->last ? RANS_ESCAPE : symbol;
        uint32_t frequency = frequencies->of[named + 64];
        uint32_t entry = (uint32_t)named << 25 | frequency << RANS_BITS;
        for (uint32_t offset = 0; offset < frequency; offset += 1) { table[offset] = entry + offset; }
        table += frequency;
    }
}

void rans_encoder_table(const struct rans_frequencies *frequencies, uint32_t *table) {
    uint32_t escape = frequencies->of[0];
    uint32_t escape_entry = 1u << 31 | escape << RANS_BITS | ((uint32_t)RANS_TOTAL - escape) % RANS_TOTAL;
    for (int i = 0; i < RANS_ALPHABET; i += 1) { table[i] = escape_entry; }
    uint32_t start = 0;
    for (int32_t symbol = frequencies->first; symbol <= frequencies->last; symbol += 1) {
        uint32_t frequency = frequencies->of[symbol + 64];
        if (frequency > 0) { table[symbol + 64] = frequency << RANS_BITS | start; }
        start += frequency;
    }
}
