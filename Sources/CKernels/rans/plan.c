// Reads and writes the tables of a coded chunk (Specs/rans.md, section 2).

#include "plan.h"

#include "logarithms.h"

// The encoder decides in doubles; a fused multiply-add would change its decisions.
#pragma clang fp contract(off)

int32_t rans_plan(const uint8_t *bytes, size_t count, int32_t low_bits, struct rans_plan *plan) {
    if (count < RANS_HEADER) { return INGOT_RANS_BAD_LENGTH; }
    const uint8_t *end = bytes + count;
    size_t escapes = bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16;
    int32_t classes = (bytes[3] & 15) + 1, row_steps = bytes[3] >> 4 & 1, column_steps = bytes[3] >> 5 & 1;
    if (bytes[3] >> 7 != 0 || (classes == 1 && (row_steps || column_steps || bytes[4] != 0))) { return INGOT_RANS_BAD_MODEL; }
    plan->classes = (struct rans_classes){classes, (int8_t)bytes[4], row_steps, column_steps, 0, 0};
    plan->listed = bytes[3] >> 6;
    plan->low_bits = low_bits;
    plan->contexts = classes > 1 ? 2 * classes + 2 : 2;
    bytes += RANS_HEADER;
    for (int32_t context = 0; context < plan->contexts; context += 1) {
        int32_t of_class = context < 2 * classes, odd = of_class && (context % 2 != 0 || low_bits > 0), status;
        struct rans_frequencies *frequencies = &plan->frequencies[context];
        if (of_class && plan->listed) {
            bytes = rans_load_list(bytes, end, odd, frequencies, &status);
        } else {
            if (end - bytes < RANS_MODEL_BYTES) { return INGOT_RANS_BAD_LENGTH; }
            status = rans_model_frequencies(rans_load_model(bytes), odd, frequencies);
            // Both contexts of a class share its model.
            if (!of_class || context % 2 != 0) { bytes += RANS_MODEL_BYTES; }
        }
        if (status != 0) { return INGOT_RANS_BAD_MODEL; }
    }
    size_t states = RANS_LANES * sizeof(uint32_t), left = (size_t)(end - bytes);
    if (left < states || left - states < escapes || (left - states - escapes) % 2 != 0) {
        return INGOT_RANS_BAD_LENGTH;
    }
    plan->states = bytes;
    plan->escapes = plan->states + states;
    plan->words = plan->escapes + escapes;
    return INGOT_RANS_OK;
}

uint8_t *rans_plan_store(struct rans_plan *plan, const struct rans_model *models, size_t escapes, uint8_t *bytes) {
    struct rans_classes classes = plan->classes;
    for (int i = 0; i < 3; i += 1) { bytes[i] = (uint8_t)(escapes >> 8 * i); }
    bytes[3] = (uint8_t)((classes.count - 1) | classes.row_steps << 4 | classes.column_steps << 5 | plan->listed << 6);
    bytes[4] = (uint8_t)(classes.count > 1 ? classes.bias : 0);
    bytes += RANS_HEADER;
    int32_t all = classes.count > 1 ? classes.count + 2 : 1;
    for (int32_t i = 0; i < all; i += 1) {
        if (plan->listed && i < classes.count) {
            bytes = rans_store_list(&plan->frequencies[2 * i], plan->low_bits > 0, bytes);
            bytes = rans_store_list(&plan->frequencies[2 * i + 1], 1, bytes);
        } else {
            rans_store_model(models[i], bytes);
            bytes += RANS_MODEL_BYTES;
        }
    }
    return bytes;
}

void rans_plan_models(struct rans_plan *plan, const struct rans_model *models) {
    int32_t classes = plan->classes.count;
    plan->contexts = classes > 1 ? 2 * classes + 2 : 2;
    for (int32_t context = 0; context < plan->contexts; context += 1) {
        int32_t of_class = context < 2 * classes, odd = of_class && (context % 2 != 0 || plan->low_bits > 0);
        if (of_class && plan->listed) { continue; }
        const struct rans_model *model = models + (of_class ? context / 2 : context - classes);
        (void)rans_model_frequencies(*model, odd, &plan->frequencies[context]);
    }
}

double rans_excess_bits(const struct rans_plan *plan, const rans_counts *counts) {
    double excess = 0;
    for (int32_t context = 0; context < 2 * plan->classes.count; context += 1) {
        const uint16_t *frequencies = plan->frequencies[context].of;
        uint32_t total = 0, distinct = 0;
        for (int i = 0; i < RANS_ALPHABET; i += 1) { total += counts[context][i]; }
        if (total == 0) { continue; }
        int64_t bits = 0;
        int32_t base = RANS_BITS * 256 - rans_logarithm256(total);
        for (int i = 0; i < RANS_ALPHABET; i += 1) {
            uint32_t count = counts[context][i];
            if (count == 0) { continue; }
            distinct += 1;
            uint32_t frequency = i == 0 ? 0 : frequencies[i];
            int32_t taken = frequency > 0 ? 0 : 8 * 256;
            if (frequency == 0) { frequency = frequencies[0] > 0 ? frequencies[0] : 1; }
            bits += count * (int64_t)(base + rans_logarithm256(count) + taken - rans_logarithm256(frequency));
        }
        // The entropy of a sample is too low by half a nat per parameter, and by more if counts are small.
        excess += (double)bits / 256 - 1.1 * distinct;
    }
    return excess;
}

void rans_plan_lists(struct rans_plan *plan, const rans_counts *counts) {
    plan->listed = 1;
    for (int32_t context = 0; context < 2 * plan->classes.count; context += 1) {
        int32_t odd = context % 2 != 0 || plan->low_bits > 0;
        rans_list_frequencies(counts[context], odd, &plan->frequencies[context]);
    }
}

double rans_list_bits(const struct rans_plan *plan) {
    double symbols = 0;
    for (int32_t context = 0; context < 2 * plan->classes.count; context += 1) {
        symbols += plan->frequencies[context].last + 2;
    }
    return symbols * 11 / plan->classes.count;
}
