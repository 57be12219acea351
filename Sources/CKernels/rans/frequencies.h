// Frequencies of the symbols of one context, and the tables that the encoder and the decoder make of them.

#ifndef INGOT_RANS_FREQUENCIES_H
#define INGOT_RANS_FREQUENCIES_H

#include <stdint.h>

#include "format.h"

// Frequencies of one context, by symbol + 64; [0] is the escape's. `first` and `last` are the symbols that have one.
struct rans_frequencies {
    uint16_t of[RANS_ALPHABET];
    int32_t first, last;
};

/// Completes a context from the frequencies of one half: that of h = 0 (odd) or 1 (even) first. Symbol 0 gets the slots that
/// are left. Returns -1 if no slot is left.
int32_t rans_make_frequencies(
    const int32_t *half, int32_t reach, int32_t odd, int32_t escape, struct rans_frequencies *result);

/// The frequency that an escape code, 0 to 15, stands for.
int32_t rans_escape_frequency(int32_t code);
/// The first code of at least this frequency, or the last.
int32_t rans_escape_code(double frequency);
/// The code of exactly this frequency, which must have one.
int32_t rans_code_of_escape(int32_t frequency);

/// Fills 4096 entries: symbol << 25 | frequency << 12 | offset of the slot in the symbol.
void rans_decoder_table(const struct rans_frequencies *frequencies, uint32_t *table);
/// Fills 128 entries, by symbol + 64: escape << 31 | frequency << 12 | start.
void rans_encoder_table(const struct rans_frequencies *frequencies, uint32_t *table);

// -1-h has to exist for every h of an odd context.
static inline int32_t rans_reach_in(int32_t reach, int32_t odd) {
    return odd && reach == RANS_LARGEST ? reach - 1 : reach;
}

#endif
