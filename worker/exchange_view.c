#include "worker/exchange_view.h"

#include <inttypes.h>
#include "common/batching.h"
#include "common/log.h"
#include "worker/exchange_gather.h"
#include "worker/exchange_lanes.h"
#include "worker/exchange_link.h"

static bool is_of_this_job(const struct exchange *x, const struct view *view)
{
    return view->block_count == x->layout->block_count && view->lane_count == x->lane_count &&
           view->train_count == x->spec.hello.train_count &&
           view->test_count == x->spec.hello.test_count && view->shard_count > 0;
}

/* Weights were taken back to start_step: nothing of later steps counts any more. */
static void begin_era(struct exchange *x, const struct view *view, struct outbox *out)
{
    x->era = view->era;
    x->start_step = view->start_step;
    x->version = view->start_step;
    x->is_forgetting = x->train_left > 0 || x->eval_left > 0;
    x->digest_hex[0] = 0;
    lanes_cancel(x, out);
    gather_restart(x);
    if (x->residual != NULL)
        residual_clear(x->residual);
    results_forget(&x->results, view->start_step);
}

static void take_job(struct exchange *x, const struct message *msg)
{
    const struct view *view = &msg->view_body;
    x->run = msg->run;
    x->step_count = view->step_count;
    x->test_count = view->test_count;
    x->hold_step = view->early_stop.hold_step;
    x->batching = (struct batching){.seed = x->spec.settings->job.seed,
                                    .sample_count = view->train_count,
                                    .batch = x->spec.settings->job.batch,
                                    .lane_count = x->lane_count};
}

void exchange_take_view(struct exchange *x, const struct message *msg, struct outbox *out)
{
    const struct view *view = &msg->view_body;
    bool is_first = x->view == 0;
    if (!is_first && view->number <= x->view)
        return; /* sent twice, or overtaken */
    if (!is_of_this_job(x, view)) {
        exchange_give_up(x, ERR_PROTO, "the coordinator's view does not fit this job", out);
        return;
    }
    take_job(x, msg);
    x->view = view->number;
    if (is_first || view->era > x->era)
        begin_era(x, view, out);
    if (links_take_view(x, view, out) != 0) {
        exchange_give_up(x, ERR_NOMEM, "no memory for the links to the shards", out);
        return;
    }
    lanes_take_view(x, view, out);
    log_event(LOG_INFO, "view",
              "view=%" PRIu32 " era=%" PRIu32 " lanes=%" PRIu32 " shards=%zu step=%" PRIu64,
              x->view, x->era, x->mine_count, x->shard_count, x->version);
    gather_swap(x, out);
}
