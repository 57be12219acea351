// Compares the rANS coder with a plain one written from Specs/rans.md, on every instruction set, over odd shapes and damaged
// chunks; with an argument, measures its speed instead.
//
// clang -std=gnu11 -O2 -Wall -Wextra -ISources/CKernels/include $(find Sources/CKernels -name '*.c') \
//     Tests/rans-check.c -o /tmp/rans-check -pthread -lm && /tmp/rans-check
//
// Once with -fsanitize=address,undefined in front.

#include "CKernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// The same chunks on every processor.
#pragma clang fp contract(off)

enum { TOTAL = 4096, LANES = 32, LOW = 1 << 15 };

static uint64_t seed = 88172645463325252u;

static uint32_t next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32);
}

static double gaussian(void) {
    double sum = -6;
    for (int i = 0; i < 12; i += 1) { sum += next() * 0x1p-32; }
    return sum;
}

// 2^x, nearly, without a library's last bits.
static double power_of_spread(double x) {
    double result = 1 + x * 0.010830424696249145;
    for (int i = 0; i < 6; i += 1) { result *= result; }
    return result;
}

static uint64_t hash = 14695981039346656037u;

static void add_to_hash(const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i += 1) { hash = (hash ^ bytes[i]) * 1099511628211u; }
}

static void fail(const char *what, size_t rows, size_t columns) {
    printf("FAILED: %s at %zu x %zu\n", what, rows, columns);
    exit(1);
}

// The plain coder

struct context {
    int frequency[128], start[128];  // by symbol + 64; [0] is the escape
    uint8_t symbol_at[TOTAL];
};

static int64_t floor_shift(int64_t x, int bits) {
    int64_t divisor = (int64_t)1 << bits;
    return x >= 0 ? x / divisor : -((-x + divisor - 1) / divisor);
}

static uint32_t power_of_two(int64_t exponent) {
    int64_t whole = exponent / 256, coarse = exponent / 16 % 16, fine = exponent % 16;
    if (whole > 24) { return 0; }
    uint64_t a = (uint64_t)llround(exp2(24 - (double)coarse / 16)), b = (uint64_t)llround(exp2(24 - (double)fine / 256));
    return (uint32_t)((a * b + (1 << 23)) >> 24) >> whole;
}

static const int escapes_of[16] = {0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 1024};

static int complete(const int *half, int reach, int odd, int escape, struct context *result) {
    memset(result, 0, sizeof *result);
    int left = TOTAL - escape;
    for (int h = odd ? 0 : 1; h <= reach; h += 1) {
        result->frequency[64 + h] = result->frequency[64 - odd - h] = half[h];
        left -= 2 * half[h];
    }
    result->frequency[64] += left;
    if (result->frequency[64] < 1) { return -1; }
    result->frequency[0] = escape;
    int at = 0;
    for (int i = 1; i <= 128; i += 1) {
        int symbol = i % 128;
        result->start[symbol] = at;
        for (int j = 0; j < result->frequency[symbol]; j += 1) { result->symbol_at[at++] = (uint8_t)symbol; }
    }
    return at == TOTAL ? 0 : -1;
}

static int make_context(const uint8_t *model, int odd, struct context *result) {
    uint32_t word;
    memcpy(&word, model, 4);
    int scale = word & 7, b = (int)(word >> 3 & 511) - 256, c = (int)(word >> 12 & 1023) - 512;
    int escape = escapes_of[word >> 22 & 15], reach = (int)(word >> 26);
    if (odd && reach == 63) { reach = 62; }
    int64_t exponents[64], least = INT64_MAX;
    for (int h = 0; h <= reach; h += 1) {
        int64_t m = 2 * h + odd;
        exponents[h] = floor_shift(b * m * 8 * (1 << scale) + c * m * m, 2 * scale);
        if (exponents[h] < least) { least = exponents[h]; }
    }
    uint64_t sum = 0, running = 0, before = 0;
    for (int h = 0; h <= reach; h += 1) { sum += power_of_two(exponents[h] - least) * (h == 0 && !odd ? 1u : 2u); }
    int half[64];
    for (int h = odd ? 0 : 1; h <= reach; h += 1) {
        running += power_of_two(exponents[h] - least);
        uint64_t behind = running * (uint64_t)(TOTAL - escape) / sum;
        half[h] = behind == before ? 1 : (int)(behind - before);
        before = behind;
    }
    return complete(half, reach, odd, escape, result);
}

// Returns the number of bytes the list takes, or -1.
static int make_listed(const uint8_t *bytes, const uint8_t *end, int odd, struct context *result) {
    const uint8_t *start = bytes;
    if (end - bytes < 2 || bytes[0] > 63 - odd || bytes[1] > 15) { return -1; }
    int reach = bytes[0], escape = escapes_of[bytes[1]], half[64];
    bytes += 2;
    for (int h = odd ? 0 : 1; h <= reach; h += 1) {
        if (end - bytes < 2) { return -1; }
        half[h] = bytes[0] < 128 ? bytes[0] : bytes[0] % 128 + 128 * bytes[1];
        bytes += bytes[0] < 128 ? 1 : 2;
    }
    return complete(half, reach, odd, escape, result) == 0 ? (int)(bytes - start) : -1;
}

struct plain {
    int classes, bias, count;
    struct context contexts[34];
    uint32_t states[LANES];
    const uint8_t *words, *words_end, *escapes, *escapes_end;
};

static int open_plain(const uint8_t *bytes, size_t count, int low_bits, struct plain *plain) {
    const uint8_t *end = bytes + count;
    if (count < 5 || bytes[3] > 127 || (bytes[3] % 16 == 0 && (bytes[3] % 64 != 0 || bytes[4] != 0))) { return -1; }
    size_t escapes = bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16;
    int listed = bytes[3] >> 6;
    plain->classes = bytes[3] % 16 + 1;
    plain->bias = (int8_t)bytes[4];
    plain->count = 0;
    bytes += 5;
    int models = plain->classes > 1 ? plain->classes + 2 : 1;
    for (int i = 0; i < models; i += 1) {
        int of_class = i < plain->classes;
        for (int odd = 0; odd <= of_class; odd += 1) {
            struct context *context = &plain->contexts[plain->count++];
            if (of_class && listed) {
                int used = make_listed(bytes, end, odd || low_bits > 0, context);
                if (used < 0) { return -1; }
                bytes += used;
            } else if (end - bytes < 4 || make_context(bytes, of_class && (odd || low_bits > 0), context) != 0) {
                return -1;
            }
        }
        if (!(of_class && listed)) { bytes += 4; }
    }
    size_t left = (size_t)(end - bytes);
    if (left < 128 + escapes || (left - escapes) % 2 != 0) { return -1; }
    memcpy(plain->states, bytes, 128);
    for (int i = 0; i < LANES; i += 1) {
        if (plain->states[i] < LOW || plain->states[i] >> 31 != 0) { return -1; }
    }
    plain->escapes = bytes + 128;
    plain->words = plain->escapes_end = plain->escapes + escapes;
    plain->words_end = end;
    return 0;
}

// In place of a lane's symbol that cannot be read: -1000.
static int read_plain(struct plain *plain, int context, int lane) {
    const struct context *of = &plain->contexts[context];
    uint32_t state = plain->states[lane], slot = state % TOTAL;
    int symbol = of->symbol_at[slot];
    state = (uint32_t)of->frequency[symbol] * (state / TOTAL) + slot - (uint32_t)of->start[symbol];
    if (state < LOW) {
        if (plain->words_end - plain->words < 2) { return -1000; }
        state = state << 16 | plain->words[0] | (uint32_t)plain->words[1] << 8;
        plain->words += 2;
    }
    plain->states[lane] = state;
    return symbol;
}

static int plain_symbol(struct plain *plain, int symbol) {
    if (symbol != 0) { return symbol - 64; }
    if (plain->escapes == plain->escapes_end) { return -1000; }
    return (int8_t)*plain->escapes++;
}

static int class_of(const struct plain *plain, int row_index, int column_index) {
    int sum = row_index + column_index + plain->bias;
    return sum < 0 ? 0 : sum >= plain->classes ? plain->classes - 1 : sum;
}

static const int from_state[3] = {5, 9, 18}, from_symbol[3] = {2, 2, 4};

// The fast decoder refills a vector before it reads its escapes; they are different streams, so the order is no matter.
static int decode_plain(
    const uint8_t *bytes, size_t count, size_t rows, size_t columns, struct ingot_rans_rule rule, const uint8_t *low,
    float step, float *weights, int8_t *indices) {
    static struct plain plain;
    if (open_plain(bytes, count, rule.low_bits, &plain) != 0) { return -1; }
    memset(indices, 0, rows + columns);
    if (plain.classes > 1) {
        for (size_t i = 0; i < rows + columns; i += 1) {
            int lane = (int)((i < rows ? i : i - rows) % LANES);
            int symbol = read_plain(&plain, 2 * plain.classes + (i >= rows), lane);
            if (symbol == -1000) { return -1; }
            symbol = plain_symbol(&plain, symbol);
            if (symbol == -1000) { return -1; }
            int steps = bytes[3] >> (i < rows ? 4 : 5) & 1;
            if (steps && i != 0 && i != rows) { symbol += indices[i - 1]; }
            if (symbol < -8 || symbol > 8) { return -1; }
            indices[i] = (int8_t)symbol;
        }
    }
    int rule_at = rule.states == 32 ? 2 : rule.states == 16;
    for (size_t first = 0; first < columns; first += LANES) {
        int trellis[LANES] = {0};
        for (size_t row = 0; row < rows; row += 1) {
            for (size_t i = 0; i < LANES && first + i < columns; i += 1) {
                int odd = trellis[i] & 1;
                int class = class_of(&plain, indices[row], indices[rows + first + i]);
                int symbol = read_plain(&plain, 2 * class + odd, (int)i);
                if (symbol == -1000 || (symbol = plain_symbol(&plain, symbol)) == -1000) { return -1; }
                int k = symbol;
                if (rule.low_bits > 0) {
                    size_t strip = first / 64 * 64, wide = columns - strip < 64 ? columns - strip : 64;
                    k = k * (1 << rule.low_bits) + low[strip * rows + row * wide + first % 64 + i];
                }
                trellis[i] = trellis[i] >> 1 ^ (odd ? from_state[rule_at] : 0) ^ (k & 1 ? from_symbol[rule_at] : 0);
                weights[row * columns + first + i] = (float)(2 * k + odd) * step;
            }
        }
    }
    if (plain.words != plain.words_end || plain.escapes != plain.escapes_end) { return -1; }
    for (int i = 0; i < LANES; i += 1) {
        if (plain.states[i] != LOW) { return -1; }
    }
    return 0;
}

struct output {
    uint8_t *words, *escapes;
};

static void write_plain(struct plain *plain, int context, int lane, int symbol, struct output *output) {
    const struct context *of = &plain->contexts[context];
    int place = symbol < -63 || symbol > 63 || of->frequency[symbol + 64] == 0 ? 0 : symbol + 64;
    if (place == 0) { *--output->escapes = (uint8_t)symbol; }
    uint64_t state = plain->states[lane], frequency = (uint64_t)of->frequency[place];
    if (state >= frequency << 19) {
        *--output->words = (uint8_t)(state >> 8);
        *--output->words = (uint8_t)state;
        state >>= 16;
    }
    plain->states[lane] = (uint32_t)(state / frequency * TOTAL + state % frequency + (uint64_t)of->start[place]);
}

// Codes again what the fast encoder coded, with its models and indices. Returns the number of bytes.
static size_t encode_plain(
    const int16_t *symbols, const uint64_t *odd_masks, size_t rows, size_t columns, int low_bits,
    const uint8_t *coded, size_t count, const int8_t *indices, uint8_t *result) {
    static struct plain plain;
    size_t room = 2 * (rows * columns + rows + columns) + 64;
    uint8_t *words_end = (uint8_t *)malloc(room) + room, *escapes_end = (uint8_t *)malloc(room) + room;
    struct output output = {words_end, escapes_end};
    if (open_plain(coded, count, low_bits, &plain) != 0) { fail("models", rows, columns); }
    size_t fixed = (size_t)(plain.escapes - coded) - 128;
    memcpy(result, coded, fixed);
    for (int i = 0; i < LANES; i += 1) { plain.states[i] = LOW; }
    for (size_t band = (columns + LANES - 1) / LANES; band-- > 0;) {
        for (size_t row = rows; row-- > 0;) {
            for (size_t i = LANES; i-- > 0;) {
                size_t column = band * LANES + i, line = column / 64 * rows + row;
                if (column >= columns) { continue; }
                int odd = (int)(odd_masks[line] >> column % 64 & 1);
                int context = 2 * class_of(&plain, indices[row], indices[rows + column]) + odd;
                write_plain(&plain, context, (int)i, symbols[line * 64 + column % 64] >> low_bits, &output);
            }
        }
    }
    if (plain.classes > 1) {
        for (size_t i = rows + columns; i-- > 0;) {
            int lane = (int)((i < rows ? i : i - rows) % LANES);
            int steps = coded[3] >> (i < rows ? 4 : 5) & 1;
            int value = indices[i] - (steps && i != 0 && i != rows ? indices[i - 1] : 0);
            write_plain(&plain, 2 * plain.classes + (i >= rows), lane, value, &output);
        }
    }
    size_t escapes = (size_t)(escapes_end - output.escapes), words = (size_t)(words_end - output.words);
    for (int i = 0; i < 3; i += 1) { result[i] = (uint8_t)(escapes >> 8 * i); }
    memcpy(result + fixed, plain.states, 128);
    memcpy(result + fixed + 128, output.escapes, escapes);
    memcpy(result + fixed + 128 + escapes, output.words, words);
    free(words_end - room);
    free(escapes_end - room);
    return fixed + 128 + escapes + words;
}

// Chunks

struct chunk {
    size_t rows, columns;
    struct ingot_rans_rule rule;
    int16_t *symbols;
    uint64_t *odd_masks;
    uint8_t *low;
    float *weights;
};

// Symbols of a random walk through the trellis, `width` wide at the median; rows and columns differ by 2^(spread * gaussian).
static struct chunk make_chunk(
    size_t rows, size_t columns, struct ingot_rans_rule rule, double width, double spread, int kind) {
    size_t strips = (columns + 63) / 64;
    struct chunk chunk = {
        rows, columns, rule, malloc(strips * rows * 128), malloc(strips * rows * 8), calloc(rows * columns + INGOT_TRELLIS_SLACK, 1),
        malloc(rows * columns * sizeof(float))};
    double *row_scales = malloc(rows * sizeof(double));
    double drift = 0;
    for (size_t i = 0; i < rows; i += 1) {
        // Every other chunk has rows that are like their neighbours.
        drift = rows % 2 == 0 ? gaussian() : 0.9 * drift + 0.4 * gaussian();
        row_scales[i] = width * power_of_spread(spread * drift);
    }
    int rule_at = rule.states == 32 ? 2 : rule.states == 16;
    for (size_t strip = 0; strip < strips; strip += 1) {
        for (size_t row = 0; row < rows; row += 1) { chunk.odd_masks[strip * rows + row] = 0; }
        for (size_t i = 0; i < 64; i += 1) {
            double scale = power_of_spread(spread * gaussian());
            int state = 0;
            for (size_t row = 0; row < rows; row += 1) {
                size_t line = strip * rows + row, column = strip * 64 + i;
                int odd = state & 1, most = (128 << rule.low_bits) - 1;
                double value = gaussian() * scale * row_scales[row];
                if (next() % 5000 == 0) { value *= 20; }
                // Models do not fit these, and lists are chosen.
                if (kind == 1 && next() % 4 != 0) { value = 0; }
                if (kind == 2) { value = value * 0.03 + (next() % 2 != 0 ? width : -width); }
                int k = (int)floor((value - odd + 1) / 2);
                k = k > most ? most : k < -most - 1 ? -most - 1 : k;
                if (column >= columns) { k = (int16_t)next(); }
                chunk.symbols[line * 64 + i] = (int16_t)k;
                chunk.odd_masks[line] |= (uint64_t)odd << i;
                size_t wide = columns - strip * 64 < 64 ? columns - strip * 64 : 64;
                if (i < wide) { chunk.low[strip * 64 * rows + row * wide + i] = (uint8_t)(k & ((1 << rule.low_bits) - 1)); }
                if (column < columns) { chunk.weights[row * columns + column] = (float)(2 * k + odd) * 0.37f; }
                state = state >> 1 ^ (odd ? from_state[rule_at] : 0) ^ (k & 1 ? from_symbol[rule_at] : 0);
            }
        }
    }
    free(row_scales);
    return chunk;
}

static void free_chunk(struct chunk chunk) {
    free(chunk.symbols);
    free(chunk.odd_masks);
    free(chunk.low);
    free(chunk.weights);
}

static size_t check(struct chunk chunk, int damages) {
    size_t rows = chunk.rows, columns = chunk.columns, n = rows * columns;
    struct ingot_chunk_shape shape = {rows, columns};
    size_t bound = ingot_rans_bound(shape), scratch_size = (ingot_rans_scratch(shape) + 63) / 64 * 64;
    uint8_t *first = malloc(bound), *bytes = malloc(bound), *scratch = aligned_alloc(64, scratch_size);
    float *weights = malloc(n * sizeof(float));
    int8_t *indices = malloc(rows + columns);
    size_t count = 0;
    for (int32_t level = 0; level <= INGOT_LEVEL_AVX512_VBMI2; level += 1) {
        if (ingot_level_force(level) != 0) { continue; }
        size_t used = ingot_rans_encode(
            chunk.symbols, chunk.odd_masks, shape, chunk.rule, level == 0 ? first : bytes, scratch);
        if (used == 0) { fail("refused symbols", rows, columns); }
        if (level == 0) { count = used; }
        if (level > 0 && (used != count || memcmp(first, bytes, used) != 0)) { fail("levels differ", rows, columns); }
    }
    uint8_t *exact = malloc(count);  // so that the address sanitizer sees reads beyond the end
    memcpy(exact, first, count);
    add_to_hash(exact, count);
    memset(weights, 0xff, n * sizeof(float));
    if (decode_plain(exact, count, rows, columns, chunk.rule, chunk.low, 0.37f, weights, indices) != 0
        || memcmp(weights, chunk.weights, n * sizeof(float)) != 0) {
        fail("plain decoder", rows, columns);
    }
    size_t again =
        encode_plain(chunk.symbols, chunk.odd_masks, rows, columns, chunk.rule.low_bits, exact, count, indices, bytes);
    if (again != count || memcmp(bytes, exact, count) != 0) { fail("plain encoder", rows, columns); }
    for (int32_t level = 0; level <= INGOT_LEVEL_AVX512_VBMI2; level += 1) {
        if (ingot_level_force(level) != 0) { continue; }
        memset(weights, 0xff, n * sizeof(float));
        int32_t status = ingot_rans_decode(
            exact, count, shape, chunk.rule, chunk.low, 0.37f, weights, columns, scratch);
        if (status != 0 || memcmp(weights, chunk.weights, n * sizeof(float)) != 0) { fail("decoder", rows, columns); }
    }
    float *others = malloc(n * sizeof(float));
    for (int i = 0; i < damages; i += 1) {
        size_t length = count;
        memcpy(bytes, exact, count);
        switch (next() % 4) {
        case 0: bytes[next() % count] ^= (uint8_t)(1 << next() % 8); break;
        case 1: bytes[next() % (count < 90 ? count : 90)] = (uint8_t)next(); break;
        case 2: length = next() % count; break;
        default:
            for (size_t k = next() % count; k < count; k += 1) { bytes[k] = (uint8_t)next(); }
            break;
        }
        uint8_t *damaged = malloc(length > 0 ? length : 1);
        memcpy(damaged, bytes, length);
        int plain = decode_plain(damaged, length, rows, columns, chunk.rule, chunk.low, 0.37f, others, indices);
        for (int32_t level = 0; level <= INGOT_LEVEL_AVX512_VBMI2; level += 1) {
            if (ingot_level_force(level) != 0) { continue; }
            int32_t status = ingot_rans_decode(
                damaged, length, shape, chunk.rule, chunk.low, 0.37f, weights, columns, scratch);
            if ((status != 0) != (plain != 0)) { fail("damage judged differently", rows, columns); }
            if (status == 0 && memcmp(weights, others, n * sizeof(float)) != 0) {
                fail("damage decoded differently", rows, columns);
            }
        }
        free(damaged);
    }
    free(others);
    free(exact);
    free(first);
    free(bytes);
    free(scratch);
    free(weights);
    free(indices);
    return count;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void measure(double width, double spread, int max_classes, int kind) {
    enum { ROWS = 512, COLUMNS = 512, CHUNKS = 8 };
    static const struct ingot_chunk_shape shape = {ROWS, COLUMNS};
    struct ingot_rans_rule rule = {8, 0, max_classes, 51};
    struct chunk chunk = make_chunk(ROWS, COLUMNS, rule, width, spread, kind);
    size_t bound = ingot_rans_bound(shape);
    uint8_t *bytes = malloc(bound), *scratch = aligned_alloc(64, (ingot_rans_scratch(shape) + 63) / 64 * 64);
    float *weights = malloc(ROWS * COLUMNS * sizeof(float));
    for (int32_t level = 0; level <= INGOT_LEVEL_AVX512_VBMI2; level += 1) {
        if (ingot_level_force(level) != 0) { continue; }
        double encode = 1e9, decode = 1e9;
        size_t count = 0;
        for (int i = 0; i < 40; i += 1) {
            double start = now();
            count = ingot_rans_encode(chunk.symbols, chunk.odd_masks, shape, rule, bytes, scratch);
            double middle = now();
            if (ingot_rans_decode(bytes, count, shape, rule, 0, 0.37f, weights, COLUMNS, scratch) != 0) {
                fail("decoder", ROWS, COLUMNS);
            }
            double end = now();
            if (middle - start < encode) { encode = middle - start; }
            if (end - middle < decode) { decode = end - middle; }
        }
        printf(
            "%s: %.3f bpw, %d classes: encode %.0f, decode %.0f M/s\n", ingot_level_name(level),
            8.0 * (double)count / (ROWS * COLUMNS), bytes[3] % 16 + 1, ROWS * COLUMNS / encode * 1e-6,
            ROWS * COLUMNS / decode * 1e-6);
    }
    free_chunk(chunk);
    free(bytes);
    free(scratch);
    free(weights);
}

int main(int count, char **arguments) {
    (void)arguments;
    if (count > 1) {
        measure(7.7, 0.25, 16, 0);
        measure(7.7, 0.25, 8, 0);
        measure(7.7, 0, 1, 0);
        measure(3.8, 0.25, 16, 0);
        measure(1.9, 0.25, 16, 0);
        measure(7.7, 0.25, 16, 1);
        return 0;
    }
    static const size_t shapes[][2] = {
        {1, 1}, {3, 70}, {512, 512}, {511, 65}, {1, 4096}, {4096, 3}, {384, 384}, {33, 31}, {64, 32}, {2, 33},
        {100, 100}, {1500, 96}, {7, 1000}, {1, 1}, {2, 1}, {1, 64}, {40000, 1},
    };
    static const double widths[] = {7.7, 1.9, 0.4, 0.02, 30, 120};
    size_t shapes_count = sizeof shapes / sizeof *shapes;
    for (size_t i = 0; i < shapes_count; i += 1) {
        for (int k = 0; k < 6; k += 1) {
            for (int turn = 0; turn < 6; turn += 1) {
                int kind = turn % 3, low_bits = turn / 3 * 3;
                if (low_bits > 0 && k < 4) { continue; }
                struct ingot_rans_rule rule = {8 << next() % 3, low_bits, 1 + (int)(next() % 16), 30 + (int)(next() % 90)};
                size_t rows = shapes[i][0], columns = shapes[i][1];
                struct chunk chunk = make_chunk(rows, columns, rule, widths[k] * (1 << low_bits), k % 2 ? 0.4 : 0.1, kind);
                size_t bytes = check(chunk, (int)(200000 / (rows * columns + 200)) + 4);
                if (k == 0 && kind == 0) {
                    printf("%zu x %zu: %zu bytes, %.3f bpw\n", rows, columns, bytes, 8.0 * (double)bytes / (double)(rows * columns));
                }
                free_chunk(chunk);
            }
        }
    }
    printf("all chunks %016llx\n", (unsigned long long)hash);
    printf("The coder agrees with the plain one on every instruction set.\n");
    return 0;
}
