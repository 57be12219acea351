// Encodes the symbols of a trellis chunk with rANS (Specs/rans.md, section 7): sums for the classes, moments for the models,
// counts of escapes, then coding from the last symbol to the first. All decisions use integers or scalar doubles.

#ifndef INGOT_RANS_ENCODE_H
#define INGOT_RANS_ENCODE_H

#include "../trellis/code.h"
#include "lanes.h"
#include "logarithms.h"
#include "plan.h"

typedef int16_t i16x32 __attribute__((ext_vector_type(32)));
typedef uint16_t u16x32 __attribute__((ext_vector_type(32)));
typedef uint32_t u32x32 __attribute__((ext_vector_type(32)));

// The symbols of a chunk. They are coded in bands of 32 columns, half a strip each.
struct rans_source {
    const int16_t *symbols;
    const uint64_t *odd_masks;
    size_t rows, columns;
    int32_t low_bits;
};

struct rans_source_band {
    const int16_t *symbols;  // STRIP elements from row to row
    const uint64_t *odd_masks;
    int shift;               // position of the band's bits in a mask
    size_t width;
};

INLINE struct rans_source_band rans_band_at(struct rans_source source, size_t first) {
    size_t strip = first / STRIP * source.rows, within = first % STRIP;
    size_t left = source.columns - first;
    return (struct rans_source_band){
        source.symbols + strip * STRIP + within, source.odd_masks + strip, (int)within,
        left < RANS_LANES ? left : RANS_LANES};
}

INLINE u16x32 rans_lanes_below(size_t width) {
    u16x32 mask;
    for (size_t i = 0; i < 32; i += 1) { mask[i] = i < width ? 0xffff : 0; }
    return mask;
}

// Lane i has all bits set if bit i of the mask is set, otherwise none.
INLINE u16x32 rans_spread_mask(uint32_t mask) {
    u16x32 bits = {1,      1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,  1 << 8,  1 << 9,  1 << 10,
                   1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1,      1 << 1,  1 << 2,  1 << 3,  1 << 4,  1 << 5,
                   1 << 6, 1 << 7, 1 << 8,  1 << 9,  1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
    u16x16 low = (uint16_t)mask, high = (uint16_t)(mask >> 16);
    u16x32 halves = __builtin_shufflevector(
        low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
        28, 29, 30, 31);
    return (u16x32)((halves & bits) != (uint16_t)0);
}

INLINE uint32_t rans_odd_bits(struct rans_source_band band, size_t row) {
    return (uint32_t)(band.odd_masks[row] >> band.shift);
}

// The magnitude |2h + odd|, or |2h + 1| with low bits: then `odd` must be set in every lane.
INLINE u16x32 rans_magnitudes(i16x32 symbols, u16x32 odd, int32_t low_bits) {
    i16x32 level = (symbols >> (int16_t)low_bits << (int16_t)1) - (i16x32)odd;
    return (u16x32)__builtin_elementwise_abs(level);
}

// Sums the magnitudes of each row and column, for the classes. Returns nonzero if a symbol is out of range.
INLINE int rans_sum(struct rans_source source, uint32_t *row_sums, uint32_t *column_sums) {
    memset(row_sums, 0, source.rows * sizeof *row_sums);
    u16x32 out = 0;
    for (size_t first = 0; first < source.columns; first += RANS_LANES) {
        struct rans_source_band band = rans_band_at(source, first);
        u16x32 active = rans_lanes_below(band.width);
        u32x32 sums = 0;
        for (size_t row = 0; row < source.rows; row += 1) {
            i16x32 symbols = (i16x32)(LOAD(u16x32, band.symbols + row * STRIP) & active);
            u16x32 odd = rans_spread_mask(source.low_bits > 0 ? 0xffffffffu : rans_odd_bits(band, row));
            u16x32 high = (u16x32)(symbols >> (int16_t)source.low_bits);
            out |= (high + (uint16_t)128) & (uint16_t)0xff00;
            u16x32 magnitudes = rans_magnitudes(symbols, odd, source.low_bits) & active;
            sums += CONVERT(u32x32, magnitudes);
            // The sum of 32 magnitudes fits 16 bits if all symbols are in range.
            row_sums[row] += __builtin_reduce_add(magnitudes);
        }
        uint32_t wide[32];
        STORE(wide, sums);
        memcpy(column_sums + first, wide, band.width * sizeof(uint32_t));
    }
    return __builtin_reduce_or(out) != 0;
}

struct rans_choice {
    struct rans_plan plan;
    const int8_t *row_indices, *column_indices;
    int8_t least, largest;  // the smallest and largest row index
    struct rans_model models[RANS_MAX_CLASSES + 2];
};

INLINE int32_t rans_class_at(const struct rans_choice *choice, int32_t row_index, size_t column, size_t columns) {
    return rans_class(choice->plan.classes, row_index, column < columns ? choice->column_indices[column] : 0);
}

// For each row index, the bounds on magnitudes of a band's 32 columns, from bounds per class.
INLINE void rans_bounds(
    const struct rans_choice *choice, size_t first, size_t columns, const uint16_t *of_classes, uint16_t *bounds) {
    for (int32_t index = choice->least; index <= choice->largest; index += 1) {
        uint16_t *row = bounds + (index + RANS_LARGEST_INDEX) * RANS_LANES;
        for (size_t i = 0; i < RANS_LANES; i += 1) { row[i] = of_classes[rans_class_at(choice, index, first + i, columns)]; }
    }
}

// For this number of rows, sums of magnitudes fit 20 bits and sums of squares fit 32 bits.
enum { RANS_ROWS_PER_BLOCK = 1024 };

// Moments of each class, from every `step`th row. Bands start at different rows. `step` divides RANS_ROWS_PER_BLOCK.
INLINE void rans_gather_moments(
    struct rans_source source, const struct rans_choice *choice, size_t step, struct rans_moments *moments) {
    uint32_t firsts[RANS_INDICES][32], seconds[RANS_INDICES][32];
    uint16_t far[RANS_MAX_CLASSES], bounds[RANS_INDICES * RANS_LANES];
    // Clamp outliers, which would widen the model for a single symbol.
    for (int32_t class = 0; class < choice->plan.classes.count; class += 1) {
        far[class] = (uint16_t)rans_far_magnitude(choice->plan.classes, class);
    }
    memset(moments, 0, RANS_MAX_CLASSES * sizeof *moments);
    for (size_t first = 0; first < source.columns; first += RANS_LANES) {
        struct rans_source_band band = rans_band_at(source, first);
        u16x32 active = rans_lanes_below(band.width);
        rans_bounds(choice, first, source.columns, far, bounds);
        for (size_t start = 0; start < source.rows; start += RANS_ROWS_PER_BLOCK) {
            size_t end = source.rows - start < RANS_ROWS_PER_BLOCK ? source.rows : start + RANS_ROWS_PER_BLOCK;
            uint32_t counts[RANS_INDICES] = {0};
            memset(firsts, 0, sizeof firsts);
            memset(seconds, 0, sizeof seconds);
            for (size_t row = start + first / RANS_LANES % step; row < end; row += step) {
                i16x32 symbols = LOAD(i16x32, band.symbols + row * STRIP);
                u16x32 odd = rans_spread_mask(source.low_bits > 0 ? 0xffffffffu : rans_odd_bits(band, row));
                u16x32 magnitudes = rans_magnitudes(symbols, odd, source.low_bits) & active;
                int index = choice->row_indices[row] + RANS_LARGEST_INDEX;
                magnitudes = __builtin_elementwise_min(magnitudes, LOAD(u16x32, bounds + index * RANS_LANES));
                counts[index] += 1;
                u32x32 wide = CONVERT(u32x32, magnitudes), ones = CONVERT(u32x32, odd & (uint16_t)1);
                STORE(firsts[index], LOAD(u32x32, firsts[index]) + wide + (ones << 20));
                STORE(seconds[index], LOAD(u32x32, seconds[index]) + wide * wide);
            }
            for (int32_t index = choice->least; index <= choice->largest; index += 1) {
                int place = index + RANS_LARGEST_INDEX;
                for (size_t i = 0; i < band.width; i += 1) {
                    struct rans_moments *sum = moments + rans_class_at(choice, index, first + i, source.columns);
                    uint32_t odd = firsts[place][i] >> 20;
                    sum->odd += odd;
                    sum->even += counts[place] - odd;
                    sum->first += firsts[place][i] & 0xfffff;
                    sum->second += seconds[place][i];
                }
            }
        }
    }
}

// For each row index and column of a band, the offset of the class's first context in the tables: 2 * class * 128.
INLINE void rans_class_places(
    const struct rans_choice *choice, size_t first, size_t columns, uint32_t *places) {
    for (int32_t index = choice->least; index <= choice->largest; index += 1) {
        uint32_t *row = places + (index + RANS_LARGEST_INDEX) * RANS_LANES;
        for (size_t i = 0; i < RANS_LANES; i += 1) {
            row[i] = (uint32_t)rans_class_at(choice, index, first + i, columns) * 2 * RANS_ALPHABET;
        }
    }
}

// Counts the symbols beyond the reach of their class's model, by class and distance. `tails` has RANS_LARGEST + 2 counts per
// class; the last counts symbols beyond +-63.
INLINE void rans_count_tails(struct rans_source source, const struct rans_choice *choice, uint32_t *tails) {
    uint16_t limits[RANS_MAX_CLASSES], bounds[RANS_INDICES * RANS_LANES];
    for (int32_t class = 0; class < choice->plan.classes.count; class += 1) {
        int32_t reach = choice->models[class].reach;
        // With low bits all contexts are odd, where the largest distance is 62.
        limits[class] = (uint16_t)(source.low_bits > 0 ? 2 * (reach < RANS_LARGEST ? reach : reach - 1) + 1 : 2 * reach);
    }
    memset(tails, 0, RANS_MAX_CLASSES * (RANS_LARGEST + 2) * sizeof *tails);
    for (size_t first = 0; first < source.columns; first += RANS_LANES) {
        struct rans_source_band band = rans_band_at(source, first);
        u16x32 active = rans_lanes_below(band.width);
        rans_bounds(choice, first, source.columns, limits, bounds);
        for (size_t row = 0; row < source.rows; row += 1) {
            i16x32 symbols = LOAD(i16x32, band.symbols + row * STRIP);
            uint32_t odd_bits = source.low_bits > 0 ? 0xffffffffu : rans_odd_bits(band, row);
            u16x32 magnitudes = rans_magnitudes(symbols, rans_spread_mask(odd_bits), source.low_bits) & active;
            int32_t index = choice->row_indices[row];
            u16x32 beyond = (u16x32)(magnitudes > LOAD(u16x32, bounds + (index + RANS_LARGEST_INDEX) * RANS_LANES));
            if (__builtin_reduce_or(beyond) == 0) { continue; }
            for (size_t i = 0; i < band.width; i += 1) {
                if (beyond[i] == 0) { continue; }
                int32_t class = rans_class_at(choice, index, first + i, source.columns), odd = odd_bits >> i & 1;
                int32_t distance = rans_distance(band.symbols[row * STRIP + i] >> source.low_bits, odd);
                distance = distance > RANS_LARGEST - odd ? RANS_LARGEST + 1 : distance;
                if (distance > choice->models[class].reach) { tails[class * (RANS_LARGEST + 2) + distance] += 1; }
            }
        }
    }
}

struct rans_writer {
    uint8_t *words, *escapes;  // both are filled from the end downwards
};

INLINE void rans_write_escapes(i32xR symbols, uint32_t mask, struct rans_writer *writer) {
    int32_t lanes[RANS_WIDTH];
    STORE(lanes, symbols);
    while (mask != 0) {
        int lane = 31 - __builtin_clz(mask);
        mask ^= 1u << lane;
        writer->escapes -= 1;
        *writer->escapes = (uint8_t)lanes[lane];
    }
}

// The inverse of rans_read: codes one symbol into the state of each active lane. `contexts` are offsets of tables.
INLINE void rans_write(
    const uint32_t *tables, u32xR contexts, i32xR symbols, u32xR *state, i32xR active, struct rans_writer *writer) {
    i32xR beyond = (i32xR)((u32xR)(symbols + RANS_LARGEST) > (uint32_t)(2 * RANS_LARGEST));
    u32xR place = (u32xR)(symbols + 64) & ~(u32xR)beyond;
    u32xR entry = rans_gather(tables, contexts + place);
    uint32_t escaped = rans_mask((i32xR)((i32xR)entry < 0) & active);
    if (__builtin_expect(escaped != 0, 0)) { rans_write_escapes(symbols, escaped, writer); }
    u32xR frequency = entry >> RANS_BITS & 0x1fffu, start = entry & (uint32_t)(RANS_TOTAL - 1);
    u32xR x = *state;
    // States are below 2^31, so with frequency 4096 no state is full.
    i32xR full = (i32xR)((i32xR)x > (i32xR)((frequency << 19) - 1u)) & active;
    rans_spill(x, full, &writer->words);
    x = full ? x >> 16 : x;
    // The quotient is below 2^19. Four roundings to floats have a relative error of at most 2^-22, so the estimate, reduced by
    // a factor of 1 - 2^-21, is the true quotient or one less. The reciprocal does not depend on the state.
    f32xR reciprocal = 1.0f / CONVERT(f32xR, (i32xR)frequency) * (1.0f - 0x1p-21f);
    u32xR quotient = (u32xR)CONVERT(i32xR, CONVERT(f32xR, (i32xR)x) * reciprocal);
    u32xR gap = (uint32_t)RANS_TOTAL - frequency;
    i32xR rest = (i32xR)(x - quotient * frequency);
    u32xR coded = x + start + quotient * gap + (rest >= (i32xR)frequency ? gap : (u32xR)0u);
    *state = active ? coded : *state;
}

INLINE void rans_encode_band(
    struct rans_source source, const struct rans_choice *choice, size_t first, int whole, const uint32_t *tables,
    u32xR *states, struct rans_writer *shared) {
    struct rans_source_band band = rans_band_at(source, first);
    struct rans_writer writer = *shared;
    uint32_t places[RANS_INDICES * RANS_LANES];
    rans_class_places(choice, first, source.columns, places);
    u32xR x[RANS_VECTORS];
    i32xR active[RANS_VECTORS];
    for (int v = 0; v < RANS_VECTORS; v += 1) {
        x[v] = states[v];
        active[v] = whole ? (i32xR)-1 : rans_active(v, band.width);
    }
    for (size_t row = source.rows; row-- > 0;) {
        const uint32_t *row_places = places + (choice->row_indices[row] + RANS_LARGEST_INDEX) * RANS_LANES;
        u32xR odd_bits = rans_odd_bits(band, row);
#pragma clang loop unroll(full)
        for (int v = RANS_VECTORS; v-- > 0;) {
            u32xR odd = odd_bits >> (rans_lane_numbers() + (uint32_t)(v * RANS_WIDTH)) & 1u;
            i32xR symbols =
                CONVERT(i32xR, LOAD(i16xR, band.symbols + row * STRIP + v * RANS_WIDTH)) >> source.low_bits;
            u32xR contexts = LOAD(u32xR, row_places + v * RANS_WIDTH) + odd * (uint32_t)RANS_ALPHABET;
            rans_write(tables, contexts, symbols, &x[v], active[v], &writer);
        }
    }
    for (int v = 0; v < RANS_VECTORS; v += 1) { states[v] = x[v]; }
    *shared = writer;
}

INLINE void rans_encode_indices(
    const int8_t *indices, size_t n, const uint32_t *table, u32xR *states, struct rans_writer *writer) {
    for (size_t end = n; end > 0;) {
        size_t start = (end - 1) / RANS_LANES * RANS_LANES;
        int32_t values[RANS_LANES] = {0};
        for (size_t i = start; i < end; i += 1) { values[i - start] = indices[i]; }
        for (int v = RANS_VECTORS; v-- > 0;) {
            rans_write(
                table, (u32xR)0u, LOAD(i32xR, values + v * RANS_WIDTH), &states[v],
                rans_active(v, end - start), writer);
        }
        end = start;
    }
}

// Fits the model of row or column indices as they are coded. Escapes are rare.
INLINE struct rans_model rans_fit_indices(const int8_t *indices, size_t n) {
    struct rans_moments moments = {(double)n, 0, 0, 0};
    for (size_t i = 0; i < n; i += 1) {
        int32_t magnitude = 2 * (indices[i] < 0 ? -indices[i] : indices[i]);
        moments.first += magnitude;
        moments.second += magnitude * magnitude;
    }
    struct rans_model model = rans_fit(moments);
    uint32_t tail[RANS_LARGEST + 2] = {0};
    for (size_t i = 0; i < n; i += 1) {
        int32_t distance = rans_distance(indices[i], 0);
        if (distance > model.reach) { tail[distance] += 1; }
    }
    rans_fit_tail(&model, tail, (double)n);
    return model;
}

// Counts the symbols of every `step`th row by context, for lists or to compare models with lists.
static void rans_count(
    struct rans_source source, const struct rans_choice *choice, size_t step, rans_counts *counts) {
    memset(counts, 0, 2 * (size_t)choice->plan.classes.count * sizeof *counts);
    uint32_t places[RANS_INDICES * RANS_LANES], *flat = (uint32_t *)(void *)counts;
    for (size_t first = 0; first < source.columns; first += RANS_LANES) {
        struct rans_source_band band = rans_band_at(source, first);
        rans_class_places(choice, first, source.columns, places);
        for (size_t row = 0; row < source.rows; row += step) {
            const uint32_t *row_places = places + (choice->row_indices[row] + RANS_LARGEST_INDEX) * RANS_LANES;
            uint32_t odd_bits = rans_odd_bits(band, row);
            for (size_t i = 0; i < band.width; i += 1) {
                int32_t symbol = band.symbols[row * STRIP + i] >> source.low_bits;
                uint32_t place = (uint32_t)(symbol + RANS_LARGEST) > 2 * RANS_LARGEST ? 0 : (uint32_t)(symbol + 64);
                flat[row_places[i] + (odd_bits >> i & 1) * RANS_ALPHABET + place] += 1;
            }
        }
    }
}

// The least number of symbols in a sample that compares models with lists.
enum { RANS_SAMPLE = 16384 };

// Whether models cost more bits than lists, as for weights with many zeros or with few distinct values.
static int32_t rans_lists_pay(struct rans_source source, const struct rans_choice *choice, rans_counts *counts) {
    size_t n = source.rows * source.columns, step = n / RANS_SAMPLE > 1 ? n / RANS_SAMPLE : 1;
    rans_count(source, choice, step, counts);
    size_t sampled = (source.rows + step - 1) / step * source.columns;
    double excess = rans_excess_bits(&choice->plan, counts) * (double)n / (double)sampled;
    return excess > 0.01 * (double)n + 2 * rans_list_bits(&choice->plan);
}

// From this number of symbols on, half of the rows give nearly the same models.
enum { RANS_MANY = 65536 };

// Chooses the classes and fits their models. Each class costs class_bits.
static void rans_choose(
    struct rans_source source, struct ingot_rans_rule rule, const uint32_t *row_logarithms,
    const uint32_t *column_logarithms, double class_bits, int8_t *row_indices, int8_t *column_indices,
    struct rans_choice *choice) {
    choice->plan.classes = rans_choose_classes(
        row_logarithms, source.rows, column_logarithms, source.columns, rule.max_classes, rule.unit, class_bits,
        row_indices, column_indices);
    int32_t classes = choice->plan.classes.count;
    if (classes == 1) {
        memset(row_indices, 0, source.rows);
        memset(column_indices, 0, source.columns);
    }
    rans_extent(row_indices, source.rows, &choice->least, &choice->largest);
    struct rans_moments moments[RANS_MAX_CLASSES];
    size_t step = source.rows * source.columns >= RANS_MANY ? 2 : 1;
    double scale = (double)step;
    rans_gather_moments(source, choice, step, moments);
    for (int32_t class = 0; class < classes; class += 1) { choice->models[class] = rans_fit(moments[class]); }
    uint32_t tails[RANS_MAX_CLASSES * (RANS_LARGEST + 2)];
    rans_count_tails(source, choice, tails);
    for (int32_t class = 0; class < classes; class += 1) {
        double count = (moments[class].even + moments[class].odd) * scale;
        rans_fit_tail(&choice->models[class], tails + class * (RANS_LARGEST + 2), count < 1 ? 1 : count);
    }
}

static size_t rans_encode(
    const int16_t *symbols, const uint64_t *odd_masks, struct ingot_chunk_shape shape, struct ingot_rans_rule rule,
    uint8_t *bytes, uint8_t *scratch) {
    size_t rows = shape.rows, columns = shape.columns;
    uint32_t *tables = (uint32_t *)(void *)scratch;
    rans_counts *counts = (rans_counts *)(void *)(tables + RANS_MAX_CONTEXTS * RANS_ALPHABET);
    uint32_t *row_sums = (uint32_t *)(counts + RANS_MAX_CONTEXTS), *column_sums = row_sums + rows;
    int8_t *row_indices = (int8_t *)(column_sums + columns), *column_indices = row_indices + rows;
    int8_t *row_values = column_indices + columns, *column_values = row_values + rows;
    uint8_t *escapes_end = (uint8_t *)column_values + columns + rows * columns + rows + columns;
    struct rans_source source = {symbols, odd_masks, rows, columns, rule.low_bits};
    struct rans_choice choice = {.row_indices = row_indices, .column_indices = column_indices};
    choice.plan.low_bits = rule.low_bits;

    if (rans_sum(source, row_sums, column_sums)) { return 0; }
    rans_logarithms(row_sums, rows);
    rans_logarithms(column_sums, columns);
    rans_choose(
        source, rule, row_sums, column_sums, 8 * RANS_MODEL_BYTES, row_indices, column_indices, &choice);
    rans_plan_models(&choice.plan, choice.models);
    if (rans_lists_pay(source, &choice, counts)) {
        rans_choose(
            source, rule, row_sums, column_sums, rans_list_bits(&choice.plan), row_indices, column_indices, &choice);
        rans_count(source, &choice, 1, counts);
        rans_plan_lists(&choice.plan, counts);
    }
    struct rans_classes classes = choice.plan.classes;
    if (classes.count > 1) {
        memcpy(row_values, row_indices, rows);
        memcpy(column_values, column_indices, columns);
        if (classes.row_steps) { rans_make_steps(row_indices, rows, row_values); }
        if (classes.column_steps) { rans_make_steps(column_indices, columns, column_values); }
        choice.models[classes.count] = rans_fit_indices(row_values, rows);
        choice.models[classes.count + 1] = rans_fit_indices(column_values, columns);
    }
    rans_plan_models(&choice.plan, choice.models);
    for (int32_t context = 0; context < choice.plan.contexts; context += 1) {
        rans_encoder_table(&choice.plan.frequencies[context], tables + context * RANS_ALPHABET);
    }

    u32xR states[RANS_VECTORS];
    for (int v = 0; v < RANS_VECTORS; v += 1) { states[v] = (uint32_t)RANS_LOW; }
    uint8_t *words_end = bytes + ingot_rans_bound(shape);
    struct rans_writer writer = {words_end, escapes_end};
    for (size_t end = columns; end > 0;) {
        size_t first = (end - 1) / RANS_LANES * RANS_LANES;
        if (end - first == RANS_LANES) {
            rans_encode_band(source, &choice, first, 1, tables, states, &writer);
        } else {
            rans_encode_band(source, &choice, first, 0, tables, states, &writer);
        }
        end = first;
    }
    if (classes.count > 1) {
        const uint32_t *of_indices = tables + 2 * classes.count * RANS_ALPHABET;
        rans_encode_indices(column_values, columns, of_indices + RANS_ALPHABET, states, &writer);
        rans_encode_indices(row_values, rows, of_indices, states, &writer);
    }

    size_t escape_count = (size_t)(escapes_end - writer.escapes);
    size_t word_bytes = (size_t)(words_end - writer.words);
    uint8_t *to = rans_plan_store(&choice.plan, choice.models, escape_count, bytes);
    memcpy(to, states, sizeof states);
    to += sizeof states;
    memcpy(to, writer.escapes, escape_count);
    to += escape_count;
    memmove(to, writer.words, word_bytes);
    return (size_t)(to + word_bytes - bytes);
}

#endif
