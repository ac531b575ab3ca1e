#include <inttypes.h>
#include <stdio.h>
#include "ps/coordinator_state.h"

bool coordinator_may_be_empty(const struct coordinator *c)
{
    return c->spec.settings->cluster.last_worker == LAST_WORKER_WAIT &&
           c->phase != PHASE_STOPPING && c->give_up_ms == 0;
}

/* Before the first view it has nothing that others would need. */
static void let_go(struct coordinator *c, struct member *member, struct outbox *out)
{
    struct message finish = coordinator_message(c, MSG_FINISH);
    outbox_put(out, member->who, &finish);
    members_remove(&c->members, member);
}

/* Stops the job when nobody of that role would be left, unless it may be without workers. */
static void let_leave(struct coordinator *c, struct member *member, struct outbox *out)
{
    bool is_spare = member->who.party == PARTY_WORKER && coordinator_may_be_empty(c);
    bool is_last = members_count(&c->members, member->who.party, true) <=
                   (member->state == MEMBER_LEAVING ? 0u : 1u);
    if (c->phase == PHASE_STOPPING || c->give_up_ms != 0)
        return;
    if (c->view.number == 0 && is_spare) {
        let_go(c, member, out);
        return;
    }
    if (c->view.number == 0 || (is_last && !is_spare)) {
        coordinator_stop(c, out);
        return;
    }
    if (member->state == MEMBER_LEAVING)
        return;
    member->state = MEMBER_LEAVING;
    member->leaving_ms = c->now_ms;
    c->is_view_due = true;
}

void coordinator_take_bye(struct coordinator *c, struct member *member, const struct message *msg,
                          struct outbox *out)
{
    char who[160];
    if (msg->outcome.code == ERR_STOPPED) {
        let_leave(c, member, out);
        return;
    }
    member_text(member, who, sizeof(who));
    if (msg->outcome.code == ERR_LOST) { /* it has ended for lack of data; others go on */
        member->state = MEMBER_GONE;
        member->is_dead = true;
        c->is_view_due = true;
        return;
    }
    coordinator_fail(c, out, "%s gave up: %.300s", who, msg->outcome.text);
}

/* A member of that role stays that is of another process; or none needs to. */
static bool may_drain(const struct coordinator *c, enum party party, uint32_t rank)
{
    const struct members *members = &c->members;
    if (party == PARTY_WORKER && coordinator_may_be_empty(c))
        return true;
    for (size_t i = 0; i < members->count; i++)
        if (members->items[i].who.party == party && members->items[i].rank != rank &&
            members->items[i].state == MEMBER_HERE)
            return true;
    return false;
}

void coordinator_take_drain(struct coordinator *c, struct address from, const struct message *msg,
                            struct outbox *out)
{
    enum party party = msg->drain.is_server ? PARTY_SHARD : PARTY_WORKER;
    const char *role = msg->drain.is_server ? "server" : "worker";
    struct message answer = coordinator_message(c, MSG_DRAINING);
    size_t found = 0;
    for (size_t i = 0; i < c->members.count && c->phase == PHASE_TRAINING; i++) {
        struct member *m = &c->members.items[i];
        if (m->who.party != party || m->rank != msg->drain.rank || m->state == MEMBER_GONE)
            continue;
        found++;
        if (m->state == MEMBER_HERE && may_drain(c, party, m->rank)) {
            m->state = MEMBER_LEAVING;
            m->leaving_ms = c->now_ms;
            c->is_view_due = true;
        }
        answer.outcome.code = m->state == MEMBER_LEAVING ? 0 : ERR_REFUSED;
    }
    if (found == 0)
        answer.outcome.code = c->phase == PHASE_TRAINING ? ERR_NOT_FOUND : ERR_REFUSED;
    snprintf(answer.outcome.text, sizeof(answer.outcome.text),
             answer.outcome.code == 0               ? "%s %" PRIu32 " is being drained"
             : answer.outcome.code == ERR_NOT_FOUND ? "there is no %s %" PRIu32
             : found > 0                            ? "%s %" PRIu32 " is the last one"
                                                    : "%s %" PRIu32 ": the job is not training",
             role, msg->drain.rank);
    outbox_put(out, from, &answer);
}
