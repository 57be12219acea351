// A list: the frequencies of a context one by one, for symbols that no model describes.

#ifndef INGOT_RANS_LISTS_H
#define INGOT_RANS_LISTS_H

#include "frequencies.h"

// Counts of one context, by symbol + 64; [0] those of symbols beyond +-63.
typedef uint32_t rans_counts[RANS_ALPHABET];
/// The frequencies that a list for these counts holds.
void rans_list_frequencies(const uint32_t *counts, int32_t odd, struct rans_frequencies *result);

/// Writes a list of RANS_LIST_BYTES bytes at most. Returns where it ended.
uint8_t *rans_store_list(const struct rans_frequencies *frequencies, int32_t odd, uint8_t *bytes);
/// Reads a list. `*status` becomes 0, or -1 if the bytes are not a list. Returns where the list ended.
const uint8_t *rans_load_list(
    const uint8_t *bytes, const uint8_t *end, int32_t odd, struct rans_frequencies *result, int32_t *status);

#endif
