// The contexts of a coded chunk, and the bytes in front of its words that describe them.

#ifndef INGOT_RANS_PLAN_H
#define INGOT_RANS_PLAN_H

#include "CKernels.h"
#include "classes.h"
#include "lists.h"
#include "model.h"

// A chunk's contexts: 2 * class + parity of the state; behind them, with more than one class, those of row indices and of
// column indices.
struct rans_plan {
    struct rans_classes classes;
    int32_t listed;  // whether classes have lists of frequencies instead of models
    int32_t low_bits;
    int32_t contexts;
    struct rans_frequencies frequencies[RANS_MAX_CONTEXTS];
    const uint8_t *states, *escapes, *words;  // words go on to the end of the chunk
};
/// Reads the tables of a coded chunk and finds its parts. INGOT_RANS_OK, or what is wrong.
int32_t rans_plan(const uint8_t *bytes, size_t count, int32_t low_bits, struct rans_plan *plan);
/// Writes what rans_plan reads, up to the states; `models` of the indices follow those of the classes. Returns where it ended.
uint8_t *rans_plan_store(
    struct rans_plan *plan, const struct rans_model *models, size_t escapes, uint8_t *bytes);
/// Sets the plan's contexts to what the models say.
void rans_plan_models(struct rans_plan *plan, const struct rans_model *models);

/// Bits that symbols so counted take in the plan's contexts, without those an ideal coder would take.
double rans_excess_bits(const struct rans_plan *plan, const rans_counts *counts);
/// Sets the contexts of the plan's classes to lists that follow the counts.
void rans_plan_lists(struct rans_plan *plan, const rans_counts *counts);
/// About how many bits lists would take for one more class.
double rans_list_bits(const struct rans_plan *plan);

#endif
