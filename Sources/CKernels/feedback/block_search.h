// Quantizes super-blocks and groups of runtime formats with error feedback, sixteen rows at a time (Specs/exports.md, "Error feedback inside
// blocks"). A lane is a row; lanes never meet.

#ifndef INGOT_FEEDBACK_BLOCK_SEARCH_H
#define INGOT_FEEDBACK_BLOCK_SEARCH_H

#include "block_fit.h"
#include "block_loop.h"
#include "product.h"

// Refits of the steps after the first pass. Those of a super-block repeat the search, those of a group do not.
enum { FEEDBACK_SUPER_ROUNDS = 1, FEEDBACK_GROUP_ROUNDS = 2 };

// What a pass over a super-block or group decides.
struct feedback_choice {
    f32x16 step, offset;  // of sub-scales and mins; of a group: scale, and minus the bias
    f32x16 loss;
    f32x16 scales[FEEDBACK_PARTS], mins[FEEDBACK_PARTS];
    f32x16 levels[FEEDBACK_SUPER], residuals[FEEDBACK_SUPER];  // residual: (target - restored) * pivot
};

// The longest sub-block, and numbers from row to row of `far`: not a power of two, so that rows do not share a set of the cache.
enum { FEEDBACK_LONGEST = 32, FEEDBACK_ROW = FEEDBACK_SUPER + 16 };

struct feedback_room {
    f32x16 weights[FEEDBACK_SUPER], start[FEEDBACK_SUPER];  // start: the targets as the caller gave them
    f32x16 targets[FEEDBACK_SUPER], errors[FEEDBACK_SUPER];
    f32x16 whole[FEEDBACK_SUPER];  // the residuals if everything were restored as 0
    f32x16 trial_errors[FEEDBACK_SUPER * FEEDBACK_TRIALS];
    struct feedback_choice best, next;
    struct feedback_lines lines;
    float coupling[FEEDBACK_SUPER * (FEEDBACK_LONGEST + FEEDBACK_ROW)];  // `near` and `far` of a task
    float sums[FEEDBACK_PARTS * FEEDBACK_SUPER];      // the residuals of ones in a sub-block
    float importance[FEEDBACK_SUPER];
    float totals[FEEDBACK_PARTS];                     // importance of each sub-block
};
_Static_assert(sizeof(struct feedback_room) <= INGOT_FEEDBACK_BLOCKS_SCRATCH, "INGOT_FEEDBACK_BLOCKS_SCRATCH is too small");

struct feedback_task {
    const struct ingot_feedback_blocks *blocks;
    struct feedback_rule rule;
    size_t side, parts;  // columns of a sub-block or group; their number, the last may be shorter
    struct feedback_room *room;
    float *near;  // coupling inside of sub-blocks, column by column: factors of column j from near + side * j
    float *far;   // of super-blocks: coupling, row by row, FEEDBACK_ROW numbers apart
};

INLINE size_t feedback_length(const struct feedback_task *task, size_t p) {
    size_t left = task->blocks->columns - p * task->side;
    return left < task->side ? left : task->side;
}

INLINE struct feedback_part feedback_part_of(const struct feedback_task *task, size_t p) {
    const struct feedback_room *room = task->room;
    const struct feedback_rule *rule = &task->rule;
    size_t first = p * task->side;
    return (struct feedback_part){
        .count = feedback_length(task, p), .codebook = rule->codebook, .lowest = rule->lowest,
        .highest = rule->highest, .weights = room->weights + first, .targets = room->targets + first,
        .coupling = task->near + first * task->side, .side = task->side, .pivots = task->blocks->pivots + first,
        .importance = room->importance + first};
}

// What all rows share.
static void feedback_prepare(const struct feedback_task *task) {
    const struct ingot_feedback_blocks *blocks = task->blocks;
    struct feedback_room *room = task->room;
    size_t side = task->side, stride = blocks->coupling_stride;
    for (size_t j = 0; j < blocks->columns; j += 1) {
        float pivot = blocks->pivots[j];
        room->importance[j] = blocks->importance ? blocks->importance[j] : pivot * pivot;
        size_t first = j / side * side;
        for (size_t i = first; i < j; i += 1) { task->near[j * side + i - first] = blocks->coupling[i * stride + j]; }
    }
    for (size_t i = 0; task->parts > 1 && i < blocks->columns; i += 1) {
        memcpy(task->far + i * FEEDBACK_ROW, blocks->coupling + i * stride, blocks->columns * sizeof(float));
    }
    for (size_t p = 0; p < task->parts; p += 1) {
        size_t first = p * side, end = first + feedback_length(task, p);
        room->totals[p] = 0;
        for (size_t j = first; j < end; j += 1) { room->totals[p] += room->importance[j]; }
        float *sums = room->sums + p * FEEDBACK_SUPER;
        for (size_t j = first; j < blocks->columns; j += 1) {
            float sum = 0;
            for (size_t i = first; i < end && i < j; i += 1) { sum += blocks->coupling[i * stride + j]; }
            if (j < end) { sum += 1; }
            sums[j] = sum * blocks->pivots[j];
        }
    }
}

// Adds to the targets behind a sub-block what its errors bring.
static __attribute__((noinline)) void feedback_carry(
    const struct feedback_task *task, size_t p, f32x16 *targets, const f32x16 *errors) {
    const struct ingot_feedback_blocks *blocks = task->blocks;
    size_t first = p * task->side, end = first + feedback_length(task, p);
    if (end == blocks->columns) { return; }
    product_rows(
        (float *)(targets + end), (const float *)(errors + first), LANES,
        task->far + first * FEEDBACK_ROW + end, FEEDBACK_ROW, end - first, blocks->columns - end, 1, 1);
}

// The residuals if everything were restored as 0, in `whole`.
static void feedback_whole(const struct feedback_task *task) {
    struct feedback_room *room = task->room;
    memcpy(room->whole, room->start, task->blocks->columns * sizeof(f32x16));
    for (size_t p = 0; p < task->parts; p += 1) {
        size_t first = p * task->side, count = feedback_length(task, p);
        for (size_t j = 0; j < count; j += 1) {
            const float *factors = task->near + (first + j) * task->side;
            f32x16 target = room->whole[first + j];
            for (size_t i = 0; i < j; i += 1) { target = fused(room->weights[first + i], (f32x16)factors[i], target); }
            room->whole[first + j] = target;
        }
        feedback_carry(task, p, room->whole, room->weights);
    }
    for (size_t j = 0; j < task->blocks->columns; j += 1) { room->whole[j] = room->whole[j] * task->blocks->pivots[j]; }
}

INLINE f32x16 feedback_nearest(f32x16 value, float least, float greatest) {
    return rounded(lesser(greater(value, (f32x16)least), (f32x16)greatest));
}

// The steps of a super-block, from the best scales of its sub-blocks without feedback.
static void feedback_first_steps(const struct feedback_task *task) {
    const struct feedback_rule *rule = &task->rule;
    struct feedback_room *room = task->room;
    f32x16 scales[FEEDBACK_PARTS], offsets[FEEDBACK_PARTS], step, offset = 0.0f;
    for (size_t p = 0; p < task->parts; p += 1) {
        const f32x16 *values = room->start + p * task->side;
        const float *importance = room->importance + p * task->side;
        size_t count = feedback_length(task, p);
        if (rule->affine) {
            feedback_best_line(
                &room->lines, values, importance, count, rule->highest, &scales[p], &offsets[p]);
        } else {
            feedback_best_ray(
                values, importance, count, rule->codebook, rule->lowest, rule->highest, rule->lowest,
                0.1f * rule->unit, FEEDBACK_RAY_HALF, &scales[p]);
        }
    }
    float least = rule->least, greatest = rule->greatest;
    if (rule->affine) {
        float unit = greatest > 20 ? 0.25f : 0.1f;
        feedback_best_ray(
            scales, room->totals, task->parts, 0, 0, greatest, greatest, unit, FEEDBACK_STEP_HALF, &step);
        feedback_best_ray(
            offsets, room->totals, task->parts, 0, 0, greatest, greatest, unit, FEEDBACK_STEP_HALF, &offset);
        step = greater(step, (f32x16)0.0f);
        offset = greater(offset, (f32x16)0.0f);
    } else {
        feedback_best_ray(
            scales, room->totals, task->parts, 0, least, greatest, least, 0.1f, FEEDBACK_RAY_HALF, &step);
    }
    room->best.step = feedback_stored(rule->format, step);
    room->best.offset = feedback_stored(rule->format, offset);
}

// Sub-scale and min of a sub-block whose targets are known: those near the best ones without feedback are tried with it.
static void feedback_search_part(
    const struct feedback_task *task, size_t p, const struct feedback_part *part, struct feedback_choice *choice) {
    const struct feedback_rule *rule = &task->rule;
    struct feedback_room *room = task->room;
    f32x16 scale, offset, best = FLT_MAX, losses[FEEDBACK_TRIALS], scales[FEEDBACK_TRIALS], offsets[FEEDBACK_TRIALS];
    f32x16 middle, middle_min = 0.0f, tried[FEEDBACK_TRIALS];
    float least = rule->least, greatest = rule->greatest;
    if (rule->affine) {
        feedback_best_line(
            &room->lines, part->targets, part->importance, part->count, rule->highest, &scale, &offset);
        middle_min = feedback_nearest(offset * feedback_inverse(choice->offset), 0, greatest);
    } else {
        feedback_best_ray(
            part->targets, part->importance, part->count, rule->codebook, rule->lowest, rule->highest, rule->lowest,
            0.1f * rule->unit, FEEDBACK_RAY_HALF, &scale);
    }
    middle = feedback_nearest(scale * feedback_inverse(choice->step), least, greatest);
    choice->scales[p] = middle;
    choice->mins[p] = middle_min;
    // Affine: 5 sub-scales, each with 5 mins. Else: 5 sub-scales of either sign.
    for (int batch = 0; batch < (rule->affine ? FEEDBACK_TRIALS : 2); batch += 1) {
        f32x16 tried_scale = feedback_nearest(middle + (float)(batch - 2), least, greatest);
        for (int t = 0; t < FEEDBACK_TRIALS; t += 1) {
            float move = (float)(t - 2);
            if (rule->affine) {
                tried[t] = feedback_nearest(middle_min + move, 0, greatest);
                scales[t] = choice->step * tried_scale;
                offsets[t] = choice->offset * tried[t];
            } else {
                tried[t] = feedback_nearest((batch ? -middle : middle) + move, least, greatest);
                scales[t] = choice->step * tried[t];
                offsets[t] = 0.0f;
            }
        }
        feedback_try(part, scales, offsets, room->trial_errors, losses);
        for (int t = 0; t < FEEDBACK_TRIALS; t += 1) {
            i32x16 better = losses[t] < best;
            best = better ? losses[t] : best;
            choice->scales[p] = better ? (rule->affine ? tried_scale : tried[t]) : choice->scales[p];
            if (rule->affine) { choice->mins[p] = better ? tried[t] : choice->mins[p]; }
        }
    }
}

// The t-th trial of a group: scale and offset by least squares on levels of some inverse scale.
static void feedback_group_trial(
    const struct feedback_task *task, const struct feedback_part *part, int t, f32x16 extreme, f32x16 *scale,
    f32x16 *offset) {
    const struct feedback_rule *rule = &task->rule;
    const struct feedback_lines *lines = &task->room->lines;
    int last = rule->batches * FEEDBACK_TRIALS - 1;
    if (rule->affine) {
        float reach = rule->highest + ((float)t * (2.2f / (float)last) - 1.2f);
        struct feedback_fit fit = feedback_line(lines, rule->highest, feedback_inverse(lines->range) * reach, 0);
        i32x16 solved = fit.gain > -FLT_MAX;
        *scale = feedback_stored(rule->format, solved ? fit.scale : lines->range * (1.0f / rule->highest));
        *offset = feedback_stored(rule->format, solved ? fit.offset : -lines->lowest);
        return;
    }
    // The extreme value takes the lowest level, or with the other sign the highest. Where scales are positive, its own sign decides.
    int place = rule->negative ? t / 2 : t, places = rule->negative ? last / 2 : last;
    float reach = ((float)place * (2.2f / (float)places) - 1.2f) * rule->unit - rule->lowest;
    f32x16 size = rule->negative ? (t % 2 ? extreme : -extreme) : magnitude(extreme);
    f32x16 inverse = feedback_inverse(size) * reach;
    struct feedback_fit fit = feedback_ray(
        part->targets, part->importance, part->count, rule->codebook, rule->lowest, rule->highest, inverse);
    *scale = feedback_stored(rule->format, fit.gain > -FLT_MAX ? fit.scale : feedback_inverse(inverse));
    *offset = 0.0f;
}

// Scale and offset of a group: the best of some, tried with feedback.
static void feedback_search_group(const struct feedback_task *task) {
    const struct feedback_rule *rule = &task->rule;
    struct feedback_room *room = task->room;
    struct feedback_part part = feedback_part_of(task, 0);
    part.targets = room->start;
    f32x16 extreme = 0.0f, best = FLT_MAX;
    if (rule->affine) {
        feedback_lines_of(&room->lines, part.targets, part.importance, part.count, 0);
    } else {
        extreme = feedback_extreme(part.targets, part.count);
    }
    for (int batch = 0; batch < rule->batches; batch += 1) {
        f32x16 scales[FEEDBACK_TRIALS], offsets[FEEDBACK_TRIALS], losses[FEEDBACK_TRIALS];
        for (int t = 0; t < FEEDBACK_TRIALS; t += 1) {
            feedback_group_trial(task, &part, batch * FEEDBACK_TRIALS + t, extreme, &scales[t], &offsets[t]);
        }
        if (batch == 0) {
            room->best.step = scales[0];
            room->best.offset = offsets[0];
        }
        feedback_try(&part, scales, offsets, room->trial_errors, losses);
        for (int t = 0; t < FEEDBACK_TRIALS; t += 1) {
            i32x16 better = losses[t] < best;
            best = better ? losses[t] : best;
            room->best.step = better ? scales[t] : room->best.step;
            room->best.offset = better ? offsets[t] : room->best.offset;
        }
    }
}

// Quantizes all columns with the steps of a choice.
static void feedback_pass(const struct feedback_task *task, struct feedback_choice *choice) {
    struct feedback_room *room = task->room;
    memcpy(room->targets, room->start, task->blocks->columns * sizeof(f32x16));
    choice->loss = 0.0f;
    for (size_t p = 0; p < task->parts; p += 1) {
        struct feedback_part part = feedback_part_of(task, p);
        size_t first = p * task->side;
        if (task->rule.part) {
            feedback_search_part(task, p, &part, choice);
        } else {
            choice->scales[p] = 1.0f;
            choice->mins[p] = task->rule.affine ? 1.0f : 0.0f;
        }
        f32x16 scale = choice->step * choice->scales[p], offset = choice->offset * choice->mins[p], loss;
        feedback_take(
            &part, &scale, &offset, room->errors + first, choice->levels + first, choice->residuals + first, &loss);
        choice->loss = choice->loss + loss;
        feedback_carry(task, p, room->targets, room->errors);
    }
}

// Steps of `next` by least squares: levels, sub-scales and mins of `best` stay.
static void feedback_refit(const struct feedback_task *task) {
    const struct feedback_rule *rule = &task->rule;
    struct feedback_room *room = task->room;
    const struct feedback_choice *best = &room->best;
    // scaled: what levels times sub-scales take of `whole`; ones: what mins add.
    f32x16 scaled_2 = 0.0f, scaled_ones = 0.0f, ones_2 = 0.0f, whole_scaled = 0.0f, whole_ones = 0.0f;
    for (size_t j = 0; j < task->blocks->columns; j += 1) {
        f32x16 whole = room->whole[j], scaled = whole - best->residuals[j];
        if (rule->affine) {
            f32x16 ones = 0.0f;
            for (size_t p = 0; p <= j / task->side; p += 1) {
                ones = ones + best->mins[p] * room->sums[p * FEEDBACK_SUPER + j];
            }
            scaled = scaled + best->offset * ones;
            scaled_ones = scaled_ones + scaled * ones;
            ones_2 = ones_2 + ones * ones;
            whole_ones = whole_ones + whole * ones;
        }
        scaled_2 = scaled_2 + scaled * scaled;
        whole_scaled = whole_scaled + whole * scaled;
    }
    f32x16 step, offset = 0.0f;
    if (rule->affine) {
        f32x16 determinant = scaled_2 * ones_2 - scaled_ones * scaled_ones, divisor = 1.0f / determinant;
        i32x16 solved = determinant > scaled_2 * ones_2 * 1e-6f;
        step = best->step * ((whole_scaled * ones_2 - whole_ones * scaled_ones) * divisor);
        offset = (whole_scaled * scaled_ones - whole_ones * scaled_2) * divisor;
        step = solved ? step : best->step;
        offset = solved ? offset : best->offset;
        if (rule->part) {
            step = greater(step, (f32x16)0.0f);
            offset = greater(offset, (f32x16)0.0f);
        }
    } else {
        step = scaled_2 > 0.0f ? best->step * (whole_scaled / scaled_2) : best->step;
    }
    room->next.step = feedback_stored(rule->format, step);
    room->next.offset = feedback_stored(rule->format, offset);
}

// Keeps `next` in the rows where its loss is smaller.
static void feedback_keep(const struct feedback_task *task) {
    struct feedback_choice *best = &task->room->best;
    const struct feedback_choice *next = &task->room->next;
    i32x16 better = next->loss < best->loss;
    if (__builtin_reduce_or(better) == 0) { return; }
    best->step = better ? next->step : best->step;
    best->offset = better ? next->offset : best->offset;
    best->loss = better ? next->loss : best->loss;
    for (size_t p = 0; p < task->parts; p += 1) {
        best->scales[p] = better ? next->scales[p] : best->scales[p];
        best->mins[p] = better ? next->mins[p] : best->mins[p];
    }
    for (size_t j = 0; j < task->blocks->columns; j += 1) {
        best->levels[j] = better ? next->levels[j] : best->levels[j];
        best->residuals[j] = better ? next->residuals[j] : best->residuals[j];
    }
}

// Writes what `best` says of sixteen rows.
static void feedback_write(const struct feedback_task *task, size_t row) {
    const struct ingot_feedback_blocks *blocks = task->blocks;
    const struct feedback_room *room = task->room;
    const struct feedback_choice *best = &room->best;
    int super = task->rule.part != 0;
    for (size_t j = 0; j < blocks->columns; j += 1) {
        size_t p = j / task->side;
        f32x16 restored = best->step * best->scales[p] * best->levels[j] - best->offset * best->mins[p];
        STORE(blocks->targets + j * blocks->stride + row, restored);
        STORE(blocks->errors + j * blocks->stride + row, room->weights[j] - restored);
        STORE(blocks->codes + j * blocks->rows + row, feedback_code(&task->rule, blocks->type, best->levels[j]));
    }
    for (size_t p = 0; super && p < FEEDBACK_SUPER / task->side; p += 1) {
        f32x16 none = 0.0f;
        STORE(
            blocks->scales + p * blocks->rows + row,
            CONVERT(u8x16, CONVERT(i32x16, p < task->parts ? best->scales[p] : none)));
        if (task->rule.affine) {
            STORE(
                blocks->mins + p * blocks->rows + row,
                CONVERT(u8x16, CONVERT(i32x16, p < task->parts ? best->mins[p] : none)));
        }
    }
    STORE(blocks->steps + row, best->step);
    if (task->rule.affine) { STORE(blocks->offsets + row, super ? best->offset : 0.0f - best->offset); }
}

static int32_t feedback_blocks(const struct ingot_feedback_blocks *blocks, void *scratch) {
    struct feedback_task task = {.blocks = blocks, .room = scratch};
    if (!feedback_rule_of(blocks, &task.rule)) { return INGOT_BLOCKS_UNKNOWN; }
    task.side = task.rule.part ? task.rule.part : blocks->columns;
    task.parts = (blocks->columns + task.side - 1) / task.side;
    task.near = task.room->coupling;
    task.far = task.near + task.side * FEEDBACK_SUPER;
    feedback_prepare(&task);
    struct feedback_room *room = task.room;
    int is_given = blocks->type == INGOT_FEEDBACK_GIVEN;
    int rounds = is_given ? 0 : task.rule.part ? FEEDBACK_SUPER_ROUNDS : FEEDBACK_GROUP_ROUNDS;
    for (size_t row = 0; row < blocks->rows; row += LANES) {
        for (size_t j = 0; j < blocks->columns; j += 1) {
            room->weights[j] = LOAD(f32x16, blocks->weights + j * blocks->stride + row);
            room->start[j] = LOAD(f32x16, blocks->targets + j * blocks->stride + row);
        }
        if (is_given) {
            room->best.step = LOAD(f32x16, blocks->steps + row);
            room->best.offset = 0.0f;
        } else if (task.rule.part) {
            feedback_first_steps(&task);
        } else {
            feedback_search_group(&task);
        }
        feedback_pass(&task, &room->best);
        if (rounds > 0) { feedback_whole(&task); }
        for (int round = 0; round < rounds; round += 1) {
            feedback_refit(&task);
            feedback_pass(&task, &room->next);
            feedback_keep(&task);
        }
        feedback_write(&task, row);
    }
    return INGOT_BLOCKS_OK;
}

#endif
