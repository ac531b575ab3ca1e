#!/usr/bin/env bash
# mutants.sh [NAME...] - breaks one rule of the protocol at a time, in a copy of the sources, and runs
# the sim until it fails: how many runs that took, or "NOT NOTICED".  Without names: all of them.
# Exit 1 when one went unnoticed, 2 when a mutation's text is no longer in its file exactly once.
# TALWEG_MUTANT_SEEDS: seeds of each test to try at most (200); of a test that is named 15 times as many.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
seeds=${TALWEG_MUTANT_SEEDS:-200}
names=("$@")
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
unnoticed=0

for part in CMakeLists.txt common deploy docker proto ps tests worker; do
    cp -r "$root/$part" "$work/"
done
cmake -S "$work" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release >/dev/null

is_wanted() {
    local name
    [ ${#names[@]} -eq 0 ] && return 0
    for name in "${names[@]}"; do
        [ "$name" = "$1" ] && return 0
    done
    return 1
}

# judge NAME TEST - builds and runs; TEST: the only test to run, or "".
judge() {
    local log="$work/log" run
    if ! ninja -C "$work/build" sim_chaos >"$log" 2>&1; then
        grep -m 3 error "$log" || true
        printf '%-44s does not build\n' "$1"
        exit 2
    fi
    local test=("TALWEG_SIM_SEEDS=$seeds") code=0
    [ -n "$2" ] && test=("TALWEG_SIM_TEST=test_chaos_$2" "TALWEG_SIM_SEEDS=$((15 * seeds))")
    env "${test[@]}" TALWEG_SIM_STOP=1 timeout 900 \
        "$work/build/bin/sim_chaos" >"$log" 2>&1 || code=$?
    if [ $code -eq 0 ] || [ $code -eq 124 ]; then # 124: out of time
        printf '%-44s NOT NOTICED\n' "$1"
        unnoticed=1
        return
    fi
    run=$(sed -n 's/^ *run \([0-9]*\): TALWEG_SIM_TEST=\([a-z_]*\).*/\1 runs, \2/p' "$log" | head -1)
    printf '%-44s %s\n' "$1" "${run:-an assertion}"
}

# replace FILE OLD NEW - the text must be there once.
replace() {
    local path="$work/$1" text rest
    text=$(<"$path")
    rest=${text#*"$2"}
    if [ "$rest" = "$text" ] || [ "${rest#*"$2"}" != "$rest" ]; then
        echo "the text of a mutation is not in $1 exactly once: $2" >&2
        exit 2
    fi
    printf '%s\n' "${text/"$2"/"$3"}" >"$path"
}

# mutant NAME TEST FILE OLD NEW [FILE OLD NEW] - two places where a rule is kept twice.
mutant() {
    local name=$1 test=$2 file
    is_wanted "$name" || return 0
    shift 2
    local all=("$@")
    while [ $# -gt 0 ]; do
        replace "$1" "$2" "$3"
        shift 3
    done
    judge "$name" "$test"
    for ((file = 0; file < ${#all[@]}; file += 3)); do
        cp "$root/${all[file]}" "$work/${all[file]}"
    done
}

judge none "" # what it takes for notice must not be there without a mutation
if [ $unnoticed -eq 0 ]; then
    echo "the sim fails without any mutation" >&2
    exit 2
fi
unnoticed=0

mutant worker_takes_any_era "" worker/exchange.c \
    '!run_equal(msg->run, x->run) || msg->era != x->era ||' \
    '!run_equal(msg->run, x->run) ||'
mutant answers_before_the_backup_has_it "" ps/shard_answer.c \
    'return replicas_have(&block->replicas, block->version);' \
    'return block->version <= UINT64_MAX;'
mutant replica_without_clocks "ssp_applies_each_gradient_once" ps/shard_block.c \
    'memcpy(block->clocks, from + bytes, clock_bytes(block));' \
    'memset(block->clocks, 0, clock_bytes(block));'
mutant answers_asked_for_again_are_measured "partitions_of_a_longer_job" worker/exchange_gather.c \
    'if (block->is_asked && block->asked_ms == block->begun_ms)' \
    'if (block->is_asked)'
mutant no_lease "partitions_of_a_longer_job" ps/shard_count.c \
    'return (double)(shard->now_ms - shard->lease_ms) <= limit_ms;' \
    'return limit_ms >= 0.0 || shard->lease_ms > 0;'
mutant primary_confirms_like_a_backup "partitions" ps/shard_follow.c \
    'if (block == NULL || block->primary != from.id ||
        (block->role != ROLE_BACKUP && block->role != ROLE_LEARNER)) {' \
    'if (block == NULL || from.id == 0) {'
mutant learner_counts_before_it_confirms "" ps/shard_feed.c \
    'if (replica->is_learner && replica->is_counted && replica_has(replica, replica->goal))' \
    'if (replica->is_learner && replica->is_sent)'
mutant lanes_dealt_later_are_not_computed "workers_die_and_stand_still" worker/exchange_lanes.c \
    'if (!lane->is_mine || is_dealt(lane))' \
    'if (!lane->is_mine || is_dealt(lane) || x->has_weights)'
mutant held_nodes_are_not_sent_to_the_new_primary "" worker/exchange_link.c \
    '        held_unsend(&block->held);
' \
    ''
mutant lack_is_not_answered "nothing_but_a_bad_network" worker/exchange_link.c \
    'if (!held->is_sent || held->node.begin >= lacking.end' \
    'if (held->is_sent || held->node.begin >= lacking.end'
mutant catching_up_takes_mixed_versions "" worker/exchange_gather.c \
    'return block->is_next_here && block->next_version == x->target;' \
    'return block->is_next_here;'
mutant update_is_applied_twice "" ps/shard_follow.c \
    'int err = msg->key.step == block->version ?' \
    'int err = msg->key.step <= block->version ?'
mutant sums_are_rounded_alike_in_every_step "rounded_to_int8_it_ends_with_the_same_bits" \
    ps/shard_count.c \
    'block->sums.grid.step = block->version;' \
    'block->sums.grid.step = 0;'
mutant weights_are_rounded_by_when_they_are_sent "rounded_to_int8_it_ends_with_the_same_bits" \
    ps/shard_codec.c \
    'grid.step = version;' \
    'grid.step = version + shard->now_ms;'
mutant all_go_back_for_who_cannot_get_its_weights "one_worker_dies_and_nothing_is_taken_back" \
    ps/coordinator_views.c \
    'if (count_able(c) > 0) {' \
    'if (count_able(c) > c->members.count) {'
mutant void_is_told_of_one_block "steps_are_left_out_everywhere_or_nowhere" \
    worker/exchange_lanes.c \
    'x->lanes[msg->key.lane_begin].is_void = true;
    for (uint32_t i = 0; i < x->layout->block_count; i++)' \
    'for (uint32_t i = 0; i < 1; i++)'
mutant void_is_one_lane_less "steps_are_left_out_everywhere_or_nowhere" ps/shard_count.c \
    'if (!block->is_void && !reduction_has(&block->sums, root))
        return;' \
    'if (!reduction_has(&block->sums, root))
        return;'
mutant view_is_sent_before_it_is_on_disk "coordinator_dies" ps/coordinator_views.c \
    '    outbox_put(out, (struct address){PARTY_JOURNAL, 0}, &msg);
    outbox_put(out, (struct address){PARTY_STORE, c->spec.store_incarnation}, &msg);
    for (size_t i = 0; i < c->members.count; i++) {
        struct member *m = &c->members.items[i];
        if (m->owed_ms == 0)
            m->owed_ms = c->now_ms;
        if (m->state != MEMBER_GONE)
            coordinator_send_view(c, m, out);
    }' \
    '    outbox_put(out, (struct address){PARTY_STORE, c->spec.store_incarnation}, &msg);
    for (size_t i = 0; i < c->members.count; i++)
        if (c->members.items[i].state != MEMBER_GONE)
            coordinator_send_view(c, &c->members.items[i], out);
    outbox_put(out, (struct address){PARTY_JOURNAL, 0}, &msg);'
mutant shard_takes_a_stale_view "" ps/shard_view.c \
    'view->number <= shard->view || view->era < shard->era ||' \
    'view->number == shard->view ||'
mutant new_era_before_the_lease_is_over "partitions" ps/coordinator_views.c \
    'if (places.count == 0 || !is_lease_over(c))' \
    'if (places.count == 0 || (places.count == SIZE_MAX && !is_lease_over(c)))'
mutant gradient_is_applied_again "async_applies_each_gradient_once" ps/shard_count.c \
    'uint64_t expected = expected_step(block, msg);' \
    'uint64_t expected = block->clocks != NULL ? msg->key.step : expected_step(block, msg);'
mutant lanes_run_past_a_cut "async_lanes_meet_at_every_checkpoint" ps/shard_count.c \
    'bool is_past_cut = shard_block_step(block) < shard_last_cut(shard, msg->key.step);' \
    'bool is_past_cut = shard_last_cut(shard, msg->key.step) == UINT64_MAX;' \
    ps/shard_answer.c \
    'uint64_t floor = shard_last_cut(shard, clock);' \
    'uint64_t floor = clock == UINT64_MAX;'
mutant a_silent_copy_is_waited_for "one_link_is_cut_for_long" ps/shard_feed.c \
    'tell_silent(shard, block, replica, out);' \
    '(void)tell_silent;'
mutant who_hears_nothing_is_there "one_link_is_cut_for_long" ps/coordinator_watch.c \
    'bool is_deaf = m->owed_ms != 0 && since(c->now_ms, m->owed_ms) >= limit_ms;' \
    'bool is_deaf = m->owed_ms == UINT64_MAX;'
mutant a_move_takes_the_copies_away "ssp_servers_die_one_at_a_time_and_nothing_is_taken_back" \
    ps/placement.c \
    'placement->backup[block_idx] = placement->has_replicas ? placement->primary[block_idx] : 0;' \
    'placement->backup[block_idx] = 0;'
mutant learner_of_an_earlier_view_is_filled \
    "servers_die_one_at_a_time_and_nothing_is_taken_back" ps/placement.c \
    'if (placement->learner[block_idx] == 0 || placement->primary[block_idx] != primary ||
        view < placement->since[block_idx])' \
    'if (placement->learner[block_idx] == 0 || primary == 0 || view == 0)'
mutant checkpoints_are_not_in_the_journal "everything_together_without_replicas" \
    ps/coordinator_end.c \
    'outbox_put(out, (struct address){PARTY_JOURNAL, 0}, msg);' \
    '(void)out;'
exit $unnoticed
