// Lists of frequencies of the rANS coder (Specs/rans.md, "Lists").

#include "lists.h"

// The encoder decides in doubles; a fused multiply-add would change its decisions.
#pragma clang fp contract(off)

// A list: reach, escape code, and the frequencies by distance, those above 127 in two bytes.
uint8_t *rans_store_list(const struct rans_frequencies *frequencies, int32_t odd, uint8_t *bytes) {
    *bytes++ = (uint8_t)frequencies->last;
    *bytes++ = (uint8_t)rans_code_of_escape(frequencies->of[0]);
    for (int32_t h = odd ? 0 : 1; h <= frequencies->last; h += 1) {
        // Take the frequency of the negative symbol: symbol 0 also has the remaining slots.
        int32_t frequency = frequencies->of[64 - odd - h];
        if (frequency >= 128) { *bytes++ = (uint8_t)(frequency & 127) | 128; }
        *bytes++ = (uint8_t)(frequency >= 128 ? frequency >> 7 : frequency);
    }
    return bytes;
}

const uint8_t *rans_load_list(
    const uint8_t *bytes, const uint8_t *end, int32_t odd, struct rans_frequencies *result, int32_t *status) {
    *status = -1;
    if (end - bytes < 2) { return bytes; }
    int32_t reach = bytes[0], escape = bytes[1], half[RANS_LARGEST + 1] = {0};
    bytes += 2;
    if (reach > rans_reach_in(RANS_LARGEST, odd) || escape > 15) { return bytes; }
    for (int32_t h = odd ? 0 : 1; h <= reach; h += 1) {
        if (end - bytes < 2) { return bytes; }
        int32_t frequency = *bytes++;
        if (frequency >= 128) { frequency = (frequency & 127) | *bytes++ << 7; }
        half[h] = frequency;
    }
    *status = rans_make_frequencies(half, reach, odd, rans_escape_frequency(escape), result);
    return bytes;
}

void rans_list_frequencies(const uint32_t *counts, int32_t odd, struct rans_frequencies *result) {
    int32_t largest = rans_reach_in(RANS_LARGEST, odd), reach = 0;
    double total = 0, kept = 0, pairs[RANS_LARGEST + 1];
    for (int i = 0; i < RANS_ALPHABET; i += 1) { total += counts[i]; }
    for (int32_t h = 0; h <= largest; h += 1) {
        pairs[h] = counts[64 + h];
        if (h > 0 || odd) { pairs[h] += counts[64 - odd - h]; }
        // As escapes the pair costs 8 bits each; keeping it takes two slots from the others.
        if (h > 0 && pairs[h] * 8 <= total * (2 * 1.4427 / RANS_TOTAL)) { pairs[h] = 0; }
        if (pairs[h] > 0) { reach = h; }
        kept += pairs[h];
    }
    int32_t half[RANS_LARGEST + 1] = {0}, escape = 0;
    if (kept < total) {
        escape = rans_escape_code((total - kept) * RANS_TOTAL / total);
        if (escape == 0) { escape = 1; }
    }
    escape = rans_escape_frequency(escape);
    int32_t left = RANS_TOTAL - escape;
    for (int32_t h = odd ? 0 : 1; h <= reach; h += 1) {
        if (kept > 0) { half[h] = (int32_t)(pairs[h] * (RANS_TOTAL - escape) / (2 * kept)); }
        if (half[h] == 0 && pairs[h] > 0) { half[h] = 1; }
        left -= 2 * half[h];
    }
    // Symbol 0 gets the remaining slots. If none remain, take slots from the largest frequency.
    while (left + (odd ? half[0] : 0) < 1) {
        int32_t greatest = reach;
        for (int32_t h = reach; h >= 0; h -= 1) {
            if (half[h] > half[greatest]) { greatest = h; }
        }
        half[greatest] -= 1;
        left += 2;
    }
    (void)rans_make_frequencies(half, reach, odd, escape, result);
}
