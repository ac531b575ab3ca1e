#include "ps/ledger.h"

#include <assert.h>
#include <stdlib.h>

struct row {
    bool is_used;
    uint64_t step;
    uint32_t noted_count;
    struct lane_result *lanes; /* [lane_count] */
    bool *is_noted;            /* [lane_count] */
};

enum { CLOSED_MAX = 16 };

struct ledger {
    uint32_t lane_count;
    struct row *rows;
    size_t row_count;
    uint64_t closed[CLOSED_MAX]; /* ring: the steps closed last, so that a late duplicate of one
                                    opens no row that nobody would ever close */
    size_t closed_count;
};

int ledger_create(uint32_t lane_count, struct ledger **ledger_out)
{
    struct ledger *ledger = calloc(1, sizeof(*ledger));
    if (ledger == NULL)
        return ERR_NOMEM;
    ledger->lane_count = lane_count;
    *ledger_out = ledger;
    return 0;
}

void ledger_destroy(struct ledger *ledger)
{
    if (ledger == NULL)
        return;
    for (size_t i = 0; i < ledger->row_count; i++) {
        free(ledger->rows[i].lanes);
        free(ledger->rows[i].is_noted);
    }
    free(ledger->rows);
    free(ledger);
}

static struct row *find(const struct ledger *ledger, uint64_t step)
{
    for (size_t i = 0; i < ledger->row_count; i++)
        if (ledger->rows[i].is_used && ledger->rows[i].step == step)
            return &ledger->rows[i];
    return NULL;
}

static bool is_closed(const struct ledger *ledger, uint64_t step)
{
    size_t kept = ledger->closed_count < CLOSED_MAX ? ledger->closed_count : CLOSED_MAX;
    for (size_t i = 0; i < kept; i++)
        if (ledger->closed[i] == step)
            return true;
    return false;
}

static size_t rows_max(const struct ledger *ledger)
{
    size_t row_bytes = ledger->lane_count * (sizeof(struct lane_result) + sizeof(bool));
    size_t count = LEDGER_BYTES_MAX / row_bytes;
    return count < LEDGER_STEPS_MAX ? count : LEDGER_STEPS_MAX;
}

static int add_row(struct ledger *ledger)
{
    struct row *rows = realloc(ledger->rows, (ledger->row_count + 1) * sizeof(*rows));
    if (rows == NULL)
        return ERR_NOMEM;
    ledger->rows = rows;
    struct row row = {.lanes = calloc(ledger->lane_count, sizeof(*row.lanes)),
                      .is_noted = calloc(ledger->lane_count, sizeof(*row.is_noted))};
    if (row.lanes == NULL || row.is_noted == NULL) {
        free(row.lanes);
        free(row.is_noted);
        return ERR_NOMEM;
    }
    rows[ledger->row_count++] = row;
    return 0;
}

/* The row of the highest step, if that is above this one: it makes room. */
static int take_highest(struct ledger *ledger, uint64_t step, size_t *idx_out)
{
    size_t highest = 0;
    for (size_t i = 1; i < ledger->row_count; i++)
        if (ledger->rows[i].step > ledger->rows[highest].step)
            highest = i;
    *idx_out = highest;
    return ledger->rows[highest].step > step ? 0 : ERR_FULL;
}

static int open_row(struct ledger *ledger, uint64_t step, struct row **row_out)
{
    size_t idx = 0;
    int err = 0;
    while (idx < ledger->row_count && ledger->rows[idx].is_used)
        idx++;
    if (idx == ledger->row_count)
        err = idx < rows_max(ledger) ? add_row(ledger) : take_highest(ledger, step, &idx);
    if (err != 0)
        return err;
    struct row *row = &ledger->rows[idx];
    row->is_used = true;
    row->step = step;
    row->noted_count = 0;
    for (uint32_t lane = 0; lane < ledger->lane_count; lane++)
        row->is_noted[lane] = false;
    *row_out = row;
    return 0;
}

int ledger_note(struct ledger *ledger, const struct lane_result *result, bool *is_new_out)
{
    assert(result->lane < ledger->lane_count);
    *is_new_out = false;
    if (is_closed(ledger, result->step))
        return 0;
    struct row *row = find(ledger, result->step);
    int err = row != NULL ? 0 : open_row(ledger, result->step, &row);
    if (err != 0)
        return err;
    if (row->is_noted[result->lane])
        return 0;
    row->is_noted[result->lane] = true;
    row->lanes[result->lane] = *result;
    row->noted_count++;
    *is_new_out = true;
    return 0;
}

static bool close_row(struct ledger *ledger, struct row *row, struct step_total *total_out)
{
    if (row == NULL || row->noted_count < ledger->lane_count)
        return false;
    *total_out = (struct step_total){.step = row->step};
    for (uint32_t lane = 0; lane < ledger->lane_count; lane++) {
        total_out->loss_sum += row->lanes[lane].loss_sum;
        total_out->correct_count += row->lanes[lane].correct_count;
        total_out->answer_count += row->lanes[lane].answer_count;
        total_out->sample_count += row->lanes[lane].sample_count;
        total_out->is_void |= row->lanes[lane].is_void;
    }
    row->is_used = false;
    ledger->closed[ledger->closed_count++ % CLOSED_MAX] = row->step;
    return true;
}

bool ledger_close(struct ledger *ledger, uint64_t step, struct step_total *total_out)
{
    return close_row(ledger, find(ledger, step), total_out);
}

uint64_t ledger_lowest_complete(const struct ledger *ledger)
{
    uint64_t lowest = UINT64_MAX;
    for (size_t i = 0; i < ledger->row_count; i++) {
        const struct row *row = &ledger->rows[i];
        if (row->is_used && row->noted_count == ledger->lane_count && row->step < lowest)
            lowest = row->step;
    }
    return lowest;
}

bool ledger_close_any(struct ledger *ledger, struct step_total *total_out)
{
    return ledger_close(ledger, ledger_lowest_complete(ledger), total_out);
}

void ledger_drop_before(struct ledger *ledger, uint64_t step)
{
    for (size_t i = 0; i < ledger->row_count; i++)
        if (ledger->rows[i].step < step)
            ledger->rows[i].is_used = false;
}

bool ledger_has(const struct ledger *ledger, uint64_t step, uint32_t lane)
{
    const struct row *row = find(ledger, step);
    assert(lane < ledger->lane_count);
    return row != NULL && row->is_noted[lane];
}

uint32_t ledger_first_missing(const struct ledger *ledger, uint64_t step)
{
    const struct row *row = find(ledger, step);
    uint32_t lane = 0;
    while (row != NULL && lane < ledger->lane_count && row->is_noted[lane])
        lane++;
    return lane;
}
