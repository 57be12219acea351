// A list holds the frequencies of a context one by one, for symbols that no model fits (Specs/rans.md, "Lists").

#ifndef INGOT_RANS_LISTS_H
#define INGOT_RANS_LISTS_H

#include "frequencies.h"

// Counts of the symbols of one context, by symbol + 64. [0] counts all symbols beyond +-63.
typedef uint32_t rans_counts[RANS_ALPHABET];
/// Chooses the frequencies of a list for symbols with these counts.
void rans_list_frequencies(const uint32_t *counts, int32_t odd, struct rans_frequencies *result);

/// Writes a list of at most RANS_LIST_BYTES bytes. Returns the end of the list.
uint8_t *rans_store_list(const struct rans_frequencies *frequencies, int32_t odd, uint8_t *bytes);
/// Reads a list. Sets `*status` to 0, or to -1 if the bytes are not a valid list. Returns the end of what was read.
const uint8_t *rans_load_list(
    const uint8_t *bytes, const uint8_t *end, int32_t odd, struct rans_frequencies *result, int32_t *status);

#endif
