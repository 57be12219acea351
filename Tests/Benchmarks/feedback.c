// The kernels of error feedback alone, on one core, each instruction set in turn: search, products, factor, solution. Prints Markdown.
// Times are processor time, the best of several runs; ratios are within one run.

#include "CKernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 512, COLUMNS = 1024, PANEL = 64, COUNT = ROWS * COLUMNS, RUNS = 9, SIDE = 1024, FORMAT_F16 = 1 };

static float weights[COUNT], targets[COUNT], errors[COUNT];
static float coupling[COLUMNS * COLUMNS];
static float row_steps[ROWS], inverse_row_steps[ROWS], column_scales[COLUMNS], inverse_scales[COLUMNS];
static int16_t symbols[ROWS * PANEL];
static uint64_t odd_masks[ROWS];
static uint8_t *scratch;
static struct ingot_feedback_patch patches[ROWS * PANEL];
static double moments[SIDE * SIDE], matrix[SIDE * SIDE];
static float lower[SIDE * SIDE], upper[SIDE * SIDE], inverse[SIDE];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double best(double a, double b) { return a < b ? a : b; }

// Standard normal by Box and Muller, from a fixed seed.
static double gaussian(void) {
    static uint64_t state = 88172645463325252u;
    double uniform[2];
    for (int k = 0; k < 2; k += 1) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uniform[k] = ((double)(state >> 11) + 0.5) * 0x1p-53;
    }
    return sqrt(-2 * log(uniform[0])) * cos(6.283185307179586 * uniform[1]);
}

// Weights of N(0, 1) at 3 bits, scales of columns within an octave, small couplings, and a matrix whose diagonal dominates.
static void make_inputs(void) {
    for (int i = 0; i < COUNT; i += 1) { weights[i] = (float)gaussian(); }
    for (int i = 0; i < COLUMNS; i += 1) {
        column_scales[i] = (float)exp2((i * 5 % 9 - 4) / 8.0);
        inverse_scales[i] = 1 / column_scales[i];
        for (int j = i + 1; j < COLUMNS; j += 1) { coupling[i * COLUMNS + j] = (float)(0.02 * gaussian()); }
    }
    for (int i = 0; i < ROWS; i += 1) {
        row_steps[i] = 0.2624f;
        inverse_row_steps[i] = 1 / row_steps[i];
    }
    for (int j = 0; j < SIDE; j += 1) {
        for (int i = 0; i < j; i += 1) { moments[j * SIDE + i] = gaussian(); }
        moments[j * SIDE + j] = SIDE;
    }
}

// Quantizes columns first ... first + count - 1 of the band.
static void search(int32_t states, float shrinkage, int first, int count) {
    const struct ingot_feedback_panel panel = {
        .rows = ROWS, .padded_rows = ROWS, .stride = ROWS,
        .columns = (size_t)count, .first_column = (size_t)(first % PANEL),
        .states = states, .format = FORMAT_F16, .farthest = 253,
        .weights = weights + (size_t)first * ROWS, .targets = targets + (size_t)first * ROWS,
        .errors = errors + (size_t)first * ROWS,
        .coupling = coupling + (size_t)first * COLUMNS + first, .coupling_stride = COLUMNS,
        .row_steps = row_steps, .inverse_row_steps = inverse_row_steps,
        .column_scales = column_scales + first, .inverse_scales = inverse_scales + first,
        .shrinkage = shrinkage, .symbols = symbols, .odd_masks = odd_masks};
    ingot_feedback_panel(&panel, scratch, patches);
}

// What the errors of all columns before a panel bring to it.
static void carry(int first) {
    ingot_feedback_product(
        targets + (size_t)first * ROWS, errors, ROWS, ROWS, coupling + first, COLUMNS, (size_t)first, PANEL);
}

// Seconds of a band: the panels with `count` columns a call, and what is carried into them.
struct band_time { double search, carry; };

static struct band_time time_band(int32_t states, float shrinkage, int count, int carries) {
    struct band_time least = {1e9, 1e9};
    for (int run = 0; run < RUNS; run += 1) {
        struct band_time time = {0, 0};
        memcpy(targets, weights, sizeof targets);
        for (int first = 0; first < COLUMNS; first += PANEL) {
            memset(odd_masks, 0, sizeof odd_masks);
            double begin = now();
            if (carries) { carry(first); }
            double middle = now();
            for (int column = first; column < first + PANEL; column += count) {
                search(states, shrinkage, column, count);
            }
            time.carry += middle - begin;
            time.search += now() - middle;
        }
        least.search = best(least.search, time.search);
        least.carry = best(least.carry, time.carry);
    }
    return least;
}

// GFLOP/s of the product whose operands stay in the caches.
static double product_rate(void) {
    const int depth = 128, repeats = 32;
    double least = 1e9;
    memset(targets, 0, sizeof targets);
    for (int run = 0; run < RUNS; run += 1) {
        double begin = now();
        for (int k = 0; k < repeats; k += 1) {
            ingot_feedback_product(targets, weights, ROWS, ROWS, coupling, COLUMNS, depth, PANEL);
        }
        least = best(least, now() - begin);
    }
    return 2e-9 * ROWS * PANEL * depth * repeats / least;
}

// GFLOP/s of the factor in binary64, n^3 / 3 operations.
static double factor_rate(void) {
    double least = 1e9;
    for (int run = 0; run < 3; run += 1) {
        memcpy(matrix, moments, sizeof matrix);
        double begin = now();
        if (ingot_feedback_factor(matrix, SIDE, SIDE) != 0) { exit(1); }
        least = best(least, now() - begin);
    }
    return 1e-9 * SIDE * SIDE * SIDE / 3 / least;
}

// GFLOP/s of the solution for 512 rows, 2 n^2 operations a row. Needs the factor.
static double solve_rate(void) {
    for (int k = 0; k < SIDE; k += 1) {
        inverse[k] = (float)(1 / matrix[k * SIDE + k]);
        for (int j = 0; j < k; j += 1) {
            lower[k * SIDE + j] = upper[j * SIDE + k] = -(float)matrix[k * SIDE + j];
        }
    }
    double least = 1e9;
    for (int run = 0; run < 3; run += 1) {
        memcpy(targets, weights, sizeof targets);
        double begin = now();
        ingot_feedback_solve(targets, ROWS, ROWS, lower, upper, inverse, SIDE);
        least = best(least, now() - begin);
    }
    return 2e-9 * ROWS * SIDE * SIDE / least;
}

int main(void) {
    const double shrinkage = 0.26;
    scratch = aligned_alloc(64, (ingot_feedback_scratch(ROWS, INGOT_TRELLIS_MAX_STATES) + 63) & ~(size_t)63);
    make_inputs();
    printf("Search of a band of %d rows and %d columns, in M weights/s: columns apart; with the couplings inside a panel; with what "
           "earlier panels carry into it.\n\n", ROWS, COLUMNS);
    printf("| kernels | states | search alone | with couplings of the panel | with all feedback | product | carried into panels | of the product |\n"
           "|---|---|---|---|---|---|---|---|\n");
    const double total = COUNT / 1e6;
    // Panel p takes the errors of p panels.
    const double panels = COLUMNS / PANEL, carried = 2e-9 * ROWS * PANEL * PANEL * panels * (panels - 1) / 2;
    for (int level = 3; level >= 0; level -= 1) {
        if (ingot_level_force(level) != 0) { continue; }
        double product = product_rate();
        for (int32_t states = 8; states <= INGOT_TRELLIS_MAX_STATES; states *= 2) {
            double alone = time_band(states, (float)shrinkage, 1, 0).search;
            double coupled = time_band(states, (float)shrinkage, PANEL, 0).search;
            struct band_time all = time_band(states, (float)shrinkage, PANEL, 1);
            printf("| %s | %d | %.1f | %.1f | %.1f | %.0f GFLOP/s | %.0f GFLOP/s | %.0f %% |\n", ingot_level_name(level), states,
                total / alone, total / coupled, total / (all.search + all.carry), product, carried / all.carry,
                100 * carried / all.carry / product);
        }
    }
    printf("\n| kernels | product, GFLOP/s | factor of %d columns, binary64 GFLOP/s | ms | solution for %d rows, GFLOP/s |\n|---|---|---|---|---|\n",
        SIDE, ROWS);
    for (int level = 3; level >= 0; level -= 1) {
        if (ingot_level_force(level) != 0) { continue; }
        double factor = factor_rate();
        printf("| %s | %.1f | %.2f | %.0f | %.1f |\n", ingot_level_name(level), product_rate(), factor,
            1e-6 * SIDE * SIDE * SIDE / 3 / factor, solve_rate());
    }
    return 0;
}
