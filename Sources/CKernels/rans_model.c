// Models, tables and classes of the rANS coder: see rans_model.h and Specs/rans.md.

#include "rans_model.h"

#include <string.h>

// The encoder's choices are made in doubles; a fused multiply-add would make others.
#pragma clang fp contract(off)

static void store_model(struct rans_model model, uint8_t *bytes) {
    uint32_t word = (uint32_t)model.scale | (uint32_t)(model.b + 256) << 3 | (uint32_t)(model.c + 512) << 12
        | (uint32_t)model.escape << 22 | (uint32_t)model.reach << 26;
    for (int i = 0; i < RANS_MODEL_BYTES; i += 1) { bytes[i] = (uint8_t)(word >> 8 * i); }
}

static struct rans_model load_model(const uint8_t *bytes) {
    uint32_t word = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    return (struct rans_model){
        (int32_t)(word & 7), (int32_t)(word >> 3 & 511) - 256, (int32_t)(word >> 12 & 1023) - 512,
        (int32_t)(word >> 22 & 15), (int32_t)(word >> 26)};
}

static const uint16_t escape_frequencies[16] = {0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 1024};

static int32_t escape_code(double frequency) {
    int32_t code = 0;
    while (code < 15 && escape_frequencies[code] < frequency) { code += 1; }
    return code;
}

// round(2^24 * 2^(-i/16)) and round(2^24 * 2^(-i/256)).
static const uint32_t coarse_powers[16] = {
    16777216, 16065917, 15384775, 14732511, 14107901, 13509772, 12937002, 12388516,
    11863283, 11360319, 10878679, 10417458, 9975792, 9552851, 9147842, 8760003,
};
static const uint32_t fine_powers[16] = {
    16777216, 16731851, 16686609, 16641490, 16596492, 16551616, 16506861, 16462228,
    16417715, 16373322, 16329050, 16284897, 16240863, 16196949, 16153153, 16109476,
};

// 2^24 * 2^(-exponent/256), rounded at the 24th bit and then cut.
uint32_t rans_power(uint32_t exponent) {
    uint32_t shift = exponent >> 8;
    if (shift > 24) { return 0; }
    uint64_t product = (uint64_t)coarse_powers[exponent >> 4 & 15] * fine_powers[exponent & 15];
    return (uint32_t)((product + (1 << 23)) >> 24) >> shift;
}

// In 1/256 bit.
static int32_t exponent_of(struct rans_model model, int32_t m) {
    return (model.b * m * (1 << (model.scale + 3)) + model.c * m * m) >> (2 * model.scale);
}

// Completes a context from the frequencies of one half: that of h = 0 (odd) or 1 (even) first. What they leave goes to 0.
// Returns -1 where they leave nothing for it.
static int32_t make_frequencies(
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

// -1-h has to exist for every h of an odd context.
static int32_t reach_in(int32_t reach, int32_t odd) { return odd && reach == RANS_LARGEST ? reach - 1 : reach; }

static int32_t model_frequencies(struct rans_model model, int32_t odd, struct rans_frequencies *result) {
    int32_t reach = reach_in(model.reach, odd);
    int32_t exponents[RANS_LARGEST + 1], half[RANS_LARGEST + 1], least = INT32_MAX;
    for (int32_t h = 0; h <= reach; h += 1) {
        exponents[h] = exponent_of(model, 2 * h + odd);
        if (exponents[h] < least) { least = exponents[h]; }
    }
    uint64_t sum = 0;
    uint32_t weights[RANS_LARGEST + 1];
    for (int32_t h = 0; h <= reach; h += 1) {
        weights[h] = rans_power((uint32_t)(exponents[h] - least));
        sum += weights[h] * (h == 0 && !odd ? 1u : 2u);
    }
    int32_t escape = escape_frequencies[model.escape];
    uint64_t share = (uint64_t)(RANS_TOTAL - escape), before = 0, running = 0;
    for (int32_t h = odd ? 0 : 1; h <= reach; h += 1) {
        // Rounding the running sums keeps the total.
        running += weights[h];
        uint64_t behind = running * share / sum;
        half[h] = (int32_t)(behind - before);
        before = behind;
        if (half[h] == 0) { half[h] = 1; }
    }
    return make_frequencies(half, reach, odd, escape, result);
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

// 2^-x to a part in 10^7, x >= 0: the Taylor series of exp(-y), y = x' ln 2, on the fraction.
static double power_of_half(double x) {
    if (!(x <= 1000)) { return 0; }
    int32_t whole = (int32_t)x;
    double y = (x - whole) * 0.69314718055994531, term = 1, sum = 1;
    for (int i = 1; i < 11; i += 1) {
        term = term * -y / i;
        sum += term;
    }
    for (; whole >= 32; whole -= 32) { sum *= 0x1p-32; }
    return sum / (double)((uint64_t)1 << whole);
}

// Sums over the magnitudes of one parity: weight times m^0...m^4.
static void weigh(double b, double c, int32_t odd, double sums[5]) {
    for (int i = 0; i < 5; i += 1) { sums[i] = 0; }
    // Ratios of neighbouring weights are themselves a geometric series, so two powers of two make them all.
    double m = odd, weight = odd ? 2 : 1;
    double exponent = 2 * b + 4 * c * (m + 1);
    double ratio = exponent >= 0 ? power_of_half(exponent) : 1 / power_of_half(-exponent);
    double change = c >= 0 ? power_of_half(8 * c) : 1 / power_of_half(-8 * c);
    for (int32_t i = 0; i < RANS_LARGEST; i += 1) {
        double term = weight;
        for (int k = 0; k < 5; k += 1) {
            sums[k] += term;
            term *= m;
        }
        weight *= ratio;
        if (i == 0 && !odd) { weight *= 2; }
        ratio *= change;
        m += 2;
        if (weight < sums[0] * 1e-9) { break; }
    }
}

// log2 of a positive double, to 10^-9; what is infinite, or no number, stays so.
double rans_logarithm(double x) {
    int exponent = 0;
    if (!(x < 0x1p1023)) { return x; }
    while (x >= 1.4142135623730951) { x *= 0.5; exponent += 1; }
    while (x < 0.70710678118654757) { x *= 2; exponent -= 1; }
    double z = (x - 1) / (x + 1), square = z * z, term = z, sum = 0;
    for (int i = 1; i < 20; i += 2) {
        sum += term / i;
        term *= square;
    }
    return exponent + sum * 2.8853900817779268;
}

struct likelihood {
    double bits, slope[2], curve[3];
};

// Bits that the moments cost with weights 2^-(b m + c m^2), and their derivatives by b and c.
static struct likelihood likelihood(struct rans_moments moments, double b, double c) {
    struct likelihood result = {b * moments.first + c * moments.second, {moments.first, moments.second}, {0, 0, 0}};
    for (int32_t odd = 0; odd < 2; odd += 1) {
        double count = odd ? moments.odd : moments.even, sums[5];
        weigh(b, c, odd, sums);
        double first = sums[1] / sums[0], second = sums[2] / sums[0];
        // Magnitude m of the first weight is taken out of `weigh`: put the exponent it dropped back.
        result.bits += count * (rans_logarithm(sums[0]) - odd * (b + c));
        result.slope[0] -= count * first;
        result.slope[1] -= count * second;
        result.curve[0] += count * (second - first * first);
        result.curve[1] += count * (sums[3] / sums[0] - first * second);
        result.curve[2] += count * (sums[4] / sums[0] - second * second);
    }
    for (int i = 0; i < 3; i += 1) { result.curve[i] *= 0.69314718055994531; }
    return result;
}

static int32_t rounded_to_int(double x) { return (int32_t)(x < 0 ? x - 0.5 : x + 0.5); }

struct rans_model rans_fit(struct rans_moments moments) {
    struct rans_model model = {0, 0, 0, 0, RANS_LARGEST};
    double count = moments.even + moments.odd;
    if (count == 0) { return model; }
    // Half a symbol of magnitude 2 and of 3 keeps the optimum finite where only the least magnitudes occur.
    moments.even += 0.5;
    moments.odd += 0.5;
    moments.first += 2.5;
    moments.second += 6.5;
    count += 1;
    double variance = moments.second / count;
    double b = 0, c = 0.72134752 / (variance + 0.1);
    struct likelihood here = likelihood(moments, b, c);
    for (int round = 0; round < 20; round += 1) {
        double across = here.curve[1], determinant = here.curve[0] * here.curve[2] - across * across;
        if (!(determinant > 1e-9 * here.curve[0] * here.curve[2])) { break; }
        double step_b = (here.curve[2] * here.slope[0] - across * here.slope[1]) / determinant;
        double step_c = (here.curve[0] * here.slope[1] - across * here.slope[0]) / determinant;
        struct likelihood next = here;
        int halvings = 0;
        for (; halvings < 8; halvings += 1) {
            // Weights may grow with the magnitude, but not beyond what a double holds.
            double largest = 127 * (b - step_b) + 127.0 * 127.0 * (c - step_c);
            if (largest > -500) {
                next = likelihood(moments, b - step_b, c - step_c);
                if (next.bits <= here.bits) { break; }
            }
            step_b *= 0.5;
            step_c *= 0.5;
        }
        if (halvings == 8) { break; }
        b -= step_b;
        c -= step_c;
        double gain = here.bits - next.bits;
        here = next;
        if (gain < 2) { break; }
    }
    while (model.scale < 7 && (double)(4 << 2 * model.scale) <= variance) { model.scale += 1; }
    for (;; model.scale -= 1) {
        double scaled_b = b * (double)(32 << model.scale), scaled_c = c * (double)(256 << 2 * model.scale);
        int fits = scaled_b < 255 && scaled_b > -255 && scaled_c < 511 && scaled_c > -511;
        if (!fits && model.scale > 0) { continue; }
        scaled_b = scaled_b > 255 ? 255 : scaled_b < -255 ? -255 : scaled_b;
        scaled_c = scaled_c > 511 ? 511 : scaled_c < -511 ? -511 : scaled_c;
        model.b = rounded_to_int(scaled_b);
        model.c = rounded_to_int(scaled_c);
        break;
    }
    model.reach = RANS_LARGEST;
    for (int32_t odd = 0; odd < 2; odd += 1) {
        // Out to the first symbol that would have less than half a slot.
        int32_t reach = 0, centre = exponent_of(model, odd);
        uint64_t sum = odd ? 2u << 24 : 1u << 24;
        for (; reach < RANS_LARGEST; reach += 1) {
            int32_t exponent = exponent_of(model, 2 * (reach + 1) + odd) - centre;
            uint64_t weight = rans_power((uint32_t)(exponent < 0 ? 0 : exponent));
            if (weight * (2 * RANS_TOTAL) < sum) { break; }
            sum += 2 * weight;
        }
        if (reach < model.reach) { model.reach = reach; }
    }
    return model;
}

void rans_fit_tail(struct rans_model *model, const uint32_t *tail, double count) {
    double beyond = tail[RANS_LARGEST + 1];
    for (int32_t h = model->reach + 1; h <= RANS_LARGEST; h += 1) { beyond += tail[h]; }
    double total = RANS_TOTAL, kept_bits = 0, least = 0;
    int32_t best = model->reach, reach = model->reach;
    for (;;) {
        // An escape takes a byte, too; a symbol kept takes a slot from all the others, in two places.
        double frequency = beyond * total / count < 1 ? 1 : beyond * total / count;
        double bits = kept_bits + beyond * (8 + rans_logarithm(total / frequency));
        if (reach == model->reach || bits < least) {
            least = bits;
            best = reach;
        }
        if (beyond == 0 || reach == RANS_LARGEST) { break; }
        reach += 1;
        beyond -= tail[reach];
        kept_bits += RANS_BITS * (double)tail[reach] + 2 * 1.4427 * count / total;
    }
    beyond = tail[RANS_LARGEST + 1];
    for (int32_t h = best + 1; h <= RANS_LARGEST; h += 1) { beyond += tail[h]; }
    model->reach = best;
    model->escape = beyond > 0 ? escape_code(beyond * total / count) : 0;
    if (beyond > 0 && model->escape == 0) { model->escape = 1; }
    struct rans_frequencies trial;
    if (model_frequencies(*model, 0, &trial) != 0 || model_frequencies(*model, 1, &trial) != 0) {
        // Too many slots for the tail: equal frequencies, of which there always are enough.
        model->scale = model->b = model->c = 0;
    }
}

static int32_t code_of_escape(int32_t frequency) {
    int32_t code = 0;
    while (escape_frequencies[code] != frequency) { code += 1; }
    return code;
}

// A list: reach, escape code, and the frequencies of one half, those above 127 in two bytes.
static uint8_t *store_list(const struct rans_frequencies *frequencies, int32_t odd, uint8_t *bytes) {
    *bytes++ = (uint8_t)frequencies->last;
    *bytes++ = (uint8_t)code_of_escape(frequencies->of[0]);
    for (int32_t h = odd ? 0 : 1; h <= frequencies->last; h += 1) {
        // The negative symbol's, since what was left over is not in it.
        int32_t frequency = frequencies->of[64 - odd - h];
        if (frequency >= 128) { *bytes++ = (uint8_t)(frequency & 127) | 128; }
        *bytes++ = (uint8_t)(frequency >= 128 ? frequency >> 7 : frequency);
    }
    return bytes;
}

static const uint8_t *load_list(
    const uint8_t *bytes, const uint8_t *end, int32_t odd, struct rans_frequencies *result, int32_t *status) {
    *status = -1;
    if (end - bytes < 2) { return bytes; }
    int32_t reach = bytes[0], escape = bytes[1], half[RANS_LARGEST + 1] = {0};
    bytes += 2;
    if (reach > reach_in(RANS_LARGEST, odd) || escape > 15) { return bytes; }
    for (int32_t h = odd ? 0 : 1; h <= reach; h += 1) {
        if (end - bytes < 2) { return bytes; }
        int32_t frequency = *bytes++;
        if (frequency >= 128) { frequency = (frequency & 127) | *bytes++ << 7; }
        half[h] = frequency;
    }
    *status = make_frequencies(half, reach, odd, escape_frequencies[escape], result);
    return bytes;
}

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
            bytes = load_list(bytes, end, odd, frequencies, &status);
        } else {
            if (end - bytes < RANS_MODEL_BYTES) { return INGOT_RANS_BAD_LENGTH; }
            status = model_frequencies(load_model(bytes), odd, frequencies);
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
            bytes = store_list(&plan->frequencies[2 * i], plan->low_bits > 0, bytes);
            bytes = store_list(&plan->frequencies[2 * i + 1], 1, bytes);
        } else {
            store_model(models[i], bytes);
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
        (void)model_frequencies(*model, odd, &plan->frequencies[context]);
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
        // A sample's entropy is too low by half a nat a parameter, and by more where counts are small.
        excess += (double)bits / 256 - 1.1 * distinct;
    }
    return excess;
}

void rans_plan_lists(struct rans_plan *plan, const rans_counts *counts) {
    plan->listed = 1;
    for (int32_t context = 0; context < 2 * plan->classes.count; context += 1) {
        int32_t odd = context % 2 != 0 || plan->low_bits > 0, largest = reach_in(RANS_LARGEST, odd), reach = 0;
        double total = 0, kept = 0, pairs[RANS_LARGEST + 1];
        for (int i = 0; i < RANS_ALPHABET; i += 1) { total += counts[context][i]; }
        for (int32_t h = 0; h <= largest; h += 1) {
            pairs[h] = counts[context][64 + h];
            if (h > 0 || odd) { pairs[h] += counts[context][64 - odd - h]; }
            // Two slots more than the pair's byte each.
            if (h > 0 && pairs[h] * 8 <= total * (2 * 1.4427 / RANS_TOTAL)) { pairs[h] = 0; }
            if (pairs[h] > 0) { reach = h; }
            kept += pairs[h];
        }
        int32_t half[RANS_LARGEST + 1] = {0}, escape = 0;
        if (kept < total) {
            escape = escape_code((total - kept) * RANS_TOTAL / total);
            if (escape == 0) { escape = 1; }
        }
        escape = escape_frequencies[escape];
        int32_t left = RANS_TOTAL - escape;
        for (int32_t h = odd ? 0 : 1; h <= reach; h += 1) {
            if (kept > 0) { half[h] = (int32_t)(pairs[h] * (RANS_TOTAL - escape) / (2 * kept)); }
            if (half[h] == 0 && pairs[h] > 0) { half[h] = 1; }
            left -= 2 * half[h];
        }
        // What is kept at the centre is left over; of the greatest where that is nothing.
        while (left + (odd ? half[0] : 0) < 1) {
            int32_t greatest = reach;
            for (int32_t h = reach; h >= 0; h -= 1) {
                if (half[h] > half[greatest]) { greatest = h; }
            }
            half[greatest] -= 1;
            left += 2;
        }
        (void)make_frequencies(half, reach, odd, escape, &plan->frequencies[context]);
    }
}

double rans_list_bits(const struct rans_plan *plan) {
    double symbols = 0;
    for (int32_t context = 0; context < 2 * plan->classes.count; context += 1) {
        symbols += plan->frequencies[context].last + 2;
    }
    return symbols * 11 / plan->classes.count;
}

void rans_extent(const int8_t *indices, size_t n, int8_t *least, int8_t *largest) {
    *least = *largest = indices[0];
    for (size_t i = 1; i < n; i += 1) {
        *least = indices[i] < *least ? indices[i] : *least;
        *largest = indices[i] > *largest ? indices[i] : *largest;
    }
}

uint32_t rans_from_state(int32_t states) { return states == 32 ? 18 : states == 16 ? 9 : 5; }

uint32_t rans_from_symbol(int32_t states) { return states == 32 ? 4 : 2; }
