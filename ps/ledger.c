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

struct ledger {
    uint32_t lane_count;
    struct row rows[LEDGER_STEPS_MAX];
};

int ledger_create(uint32_t lane_count, struct ledger **ledger_out)
{
    struct ledger *ledger = calloc(1, sizeof(*ledger));
    if (ledger == NULL)
        return ERR_NOMEM;
    ledger->lane_count = lane_count;
    for (size_t i = 0; i < LEDGER_STEPS_MAX; i++) {
        ledger->rows[i].lanes = calloc(lane_count, sizeof(struct lane_result));
        ledger->rows[i].is_noted = calloc(lane_count, sizeof(bool));
        if (ledger->rows[i].lanes == NULL || ledger->rows[i].is_noted == NULL) {
            ledger_destroy(ledger);
            return ERR_NOMEM;
        }
    }
    *ledger_out = ledger;
    return 0;
}

void ledger_destroy(struct ledger *ledger)
{
    if (ledger == NULL)
        return;
    for (size_t i = 0; i < LEDGER_STEPS_MAX; i++) {
        free(ledger->rows[i].lanes);
        free(ledger->rows[i].is_noted);
    }
    free(ledger);
}

static struct row *find(const struct ledger *ledger, uint64_t step)
{
    for (size_t i = 0; i < LEDGER_STEPS_MAX; i++)
        if (ledger->rows[i].is_used && ledger->rows[i].step == step)
            return (struct row *)&ledger->rows[i];
    return NULL;
}

static struct row *open_row(struct ledger *ledger, uint64_t step)
{
    for (size_t i = 0; i < LEDGER_STEPS_MAX; i++) {
        struct row *row = &ledger->rows[i];
        if (row->is_used)
            continue;
        row->is_used = true;
        row->step = step;
        row->noted_count = 0;
        for (uint32_t lane = 0; lane < ledger->lane_count; lane++)
            row->is_noted[lane] = false;
        return row;
    }
    return NULL;
}

int ledger_note(struct ledger *ledger, const struct lane_result *result)
{
    assert(result->lane < ledger->lane_count);
    struct row *row = find(ledger, result->step);
    if (row == NULL)
        row = open_row(ledger, result->step);
    if (row == NULL)
        return ERR_FULL;
    if (row->is_noted[result->lane])
        return 0;
    row->is_noted[result->lane] = true;
    row->lanes[result->lane] = *result;
    row->noted_count++;
    return 0;
}

static bool close_row(const struct ledger *ledger, struct row *row, struct step_total *total_out)
{
    if (row == NULL || row->noted_count < ledger->lane_count)
        return false;
    *total_out = (struct step_total){.step = row->step};
    for (uint32_t lane = 0; lane < ledger->lane_count; lane++) {
        total_out->loss_sum += row->lanes[lane].loss_sum;
        total_out->correct_count += row->lanes[lane].correct_count;
        total_out->sample_count += row->lanes[lane].sample_count;
    }
    row->is_used = false;
    return true;
}

bool ledger_close(struct ledger *ledger, uint64_t step, struct step_total *total_out)
{
    return close_row(ledger, find(ledger, step), total_out);
}

bool ledger_close_any(struct ledger *ledger, struct step_total *total_out)
{
    struct row *lowest = NULL;
    for (size_t i = 0; i < LEDGER_STEPS_MAX; i++) {
        struct row *row = &ledger->rows[i];
        if (row->is_used && row->noted_count == ledger->lane_count &&
            (lowest == NULL || row->step < lowest->step))
            lowest = row;
    }
    return close_row(ledger, lowest, total_out);
}

uint32_t ledger_first_missing(const struct ledger *ledger, uint64_t step)
{
    const struct row *row = find(ledger, step);
    uint32_t lane = 0;
    while (row != NULL && lane < ledger->lane_count && row->is_noted[lane])
        lane++;
    return lane;
}
