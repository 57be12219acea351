// Models of the rANS coder (Specs/rans.md, "Models" and section 7): storing, fitting, and frequencies.

#include "model.h"

#include "logarithms.h"

// The encoder decides in doubles; a fused multiply-add would change its decisions.
#pragma clang fp contract(off)

void rans_store_model(struct rans_model model, uint8_t *bytes) {
    uint32_t word = (uint32_t)model.scale | (uint32_t)(model.b + 256) << 3 | (uint32_t)(model.c + 512) << 12
        | (uint32_t)model.escape << 22 | (uint32_t)model.reach << 26;
    for (int i = 0; i < RANS_MODEL_BYTES; i += 1) { bytes[i] = (uint8_t)(word >> 8 * i); }
}

struct rans_model rans_load_model(const uint8_t *bytes) {
    uint32_t word = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    return (struct rans_model){
        (int32_t)(word & 7), (int32_t)(word >> 3 & 511) - 256, (int32_t)(word >> 12 & 1023) - 512,
        (int32_t)(word >> 22 & 15), (int32_t)(word >> 26)};
}

// The exponent e(d) of Specs/rans.md, in 1/256 bit, for magnitude m.
static int32_t exponent_of(struct rans_model model, int32_t m) {
    return (model.b * m * (1 << (model.scale + 3)) + model.c * m * m) >> (2 * model.scale);
}

int32_t rans_model_frequencies(struct rans_model model, int32_t odd, struct rans_frequencies *result) {
    int32_t reach = rans_reach_in(model.reach, odd);
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
    int32_t escape = rans_escape_frequency(model.escape);
    uint64_t share = (uint64_t)(RANS_TOTAL - escape), before = 0, running = 0;
    for (int32_t h = odd ? 0 : 1; h <= reach; h += 1) {
        // Rounding the running sums instead of each weight keeps the total exact.
        running += weights[h];
        uint64_t behind = running * share / sum;
        half[h] = (int32_t)(behind - before);
        before = behind;
        if (half[h] == 0) { half[h] = 1; }
    }
    return rans_make_frequencies(half, reach, odd, escape, result);
}

// sums[k] = sum of weight * m^k over the magnitudes m of one parity, for k from 0 to 4.
static void weigh(double b, double c, int32_t odd, double sums[5]) {
    for (int i = 0; i < 5; i += 1) { sums[i] = 0; }
    // The ratios of neighbouring weights form a geometric series, so two powers of two give all weights.
    double m = odd, weight = odd ? 2 : 1;
    double exponent = 2 * b + 4 * c * (m + 1);
    double ratio = exponent >= 0 ? rans_power_of_half(exponent) : 1 / rans_power_of_half(-exponent);
    double change = c >= 0 ? rans_power_of_half(8 * c) : 1 / rans_power_of_half(-8 * c);
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

struct likelihood {
    double bits, slope[2], curve[3];
};

// Bits that symbols with these moments cost under weights 2^-(b m + c m^2), with derivatives by b and c.
static struct likelihood likelihood(struct rans_moments moments, double b, double c) {
    struct likelihood result = {b * moments.first + c * moments.second, {moments.first, moments.second}, {0, 0, 0}};
    for (int32_t odd = 0; odd < 2; odd += 1) {
        double count = odd ? moments.odd : moments.even, sums[5];
        weigh(b, c, odd, sums);
        double first = sums[1] / sums[0], second = sums[2] / sums[0];
        // For odd magnitudes `weigh` leaves out the factor 2^-(b+c) of the first weight: include it here.
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
    // Half a symbol of magnitude 2 and half a symbol of magnitude 3 keep the optimum finite if only the smallest magnitudes occur.
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
            // Weights may grow with the magnitude, within the range of a double.
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
        // The reach ends before the first symbol whose share is less than half a slot.
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
        // An escape costs 8 bits more. A symbol that keeps a frequency takes a slot from the others, on both sides of the centre.
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
    model->escape = beyond > 0 ? rans_escape_code(beyond * total / count) : 0;
    if (beyond > 0 && model->escape == 0) { model->escape = 1; }
    struct rans_frequencies trial;
    if (rans_model_frequencies(*model, 0, &trial) != 0 || rans_model_frequencies(*model, 1, &trial) != 0) {
        // The tail takes too many slots. Equal frequencies always fit.
        model->scale = model->b = model->c = 0;
    }
}
