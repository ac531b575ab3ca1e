#!/usr/bin/env bash
# `talweg status` of a run that trains, of one that is over, of one that is not there.
. "$(dirname "$0")/lib.sh"

# keys FILE: exits 0 when the status has the promised members.
keys() {
    json "$1" '[key for objects, keys in (
        ([d], "phase step steps epoch loss samples_per_s coordinator servers workers "
            "exchange_hidden waited_for_data waited_for_exchange"),
        ([d] if d["phase"] == "training" else [],
            "view era replicas protected skipped_steps failed_checkpoints"),
        ([d["coordinator"]], "pid host"),
        (d["servers"], "rank pid host state shards blocks primary_blocks backup_blocks "
            "filling_blocks bytes pushes_per_s bytes_in_per_s bytes_out_per_s"),
        (d["workers"], "rank pid host state lagging lanes lane_ms samples_per_s last_heard_ms "
            "links exchange_hidden waited_for_data waited_for_exchange"))
        for object in objects for key in keys.split() if key not in object]'
}

"$TALWEG" status "$SCRATCH/none" > "$SCRATCH/out" 2>&1
equal "no folder, no address: ends with" $? 2
contains "and says so" "$SCRATCH/out" 'neither a folder nor an address'
mkdir "$SCRATCH/empty"
"$TALWEG" status "$SCRATCH/empty" > "$SCRATCH/out" 2>&1
equal "an empty folder: ends with" $? 2
contains "and says so" "$SCRATCH/out" 'no run'
"$TALWEG" status "127.0.0.1:$(free_port)" > "$SCRATCH/out" 2>&1
equal "nobody there: ends with" $? 2
contains "and says so" "$SCRATCH/out" 'answered'

start "$SCRATCH/train.txt" "$TALWEG" train "$DIGITS" --servers 2 --workers 3 --set job.epochs=0 \
    --set job.steps=1000000 --out "$SCRATCH/run"
train_pid=$LAST_PID
is_training() {
    "$TALWEG" status "$SCRATCH/run" --json > "$SCRATCH/status.json" 2> "$SCRATCH/out" &&
        [ "$(json "$SCRATCH/status.json" 'd["phase"] == "training" and d["step"] > 100')" = true ]
}
check "it trains" wait_until 30 is_training
equal "keys that are missing" "$(keys "$SCRATCH/status.json")" '[]'
equal "servers" "$(json "$SCRATCH/status.json" 'sorted(s["rank"] for s in d["servers"])')" '[0, 1]'
equal "workers" "$(json "$SCRATCH/status.json" 'sorted(w["rank"] for w in d["workers"])')" \
    '[0, 1, 2]'
is_hidden() {
    "$TALWEG" status "$SCRATCH/run" --json > "$SCRATCH/status.json" &&
        [ "$(json "$SCRATCH/status.json" \
            'all(x["exchange_hidden"] is not None and 0 <= x["exchange_hidden"] <= 1
                 for x in [d] + d["workers"])')" = true ]
}
check "a share of the exchange is hidden" wait_until 10 is_hidden
equal "lanes, all dealt" "$(json "$SCRATCH/status.json" 'sum(w["lanes"] for w in d["workers"])')" 8
check "the pids are of living processes" kill -0 $(json "$SCRATCH/status.json" \
    '" ".join(str(p["pid"]) for p in d["servers"] + d["workers"] + [d["coordinator"]])')
"$TALWEG" status "$SCRATCH/run" > "$SCRATCH/out"
equal "the table ends with" $? 0
contains "the table has a head" "$SCRATCH/out" 'step [0-9]+/1000000'
contains "the table has workers" "$SCRATCH/out" 'worker +host +pid +state +lanes'
equal "payloads lie in shared memory" "$(json "$SCRATCH/status.json" \
    'sorted({l["transport"] for w in d["workers"] for l in w["links"]})')" '["shm"]'
contains "the table says so" "$SCRATCH/out" 'ms +shm '
contains "what is hidden" "$SCRATCH/out" 'exchange hidden behind compute: [0-9]+ %'
contains "what was waited for" "$SCRATCH/out" \
    'compute waited: [0-9.]+ % of its time for data, [0-9.]+ % for the exchange'
contains "the table has servers" "$SCRATCH/out" 'server +host +pid +state +shards +blocks +copies'
(cd "$SCRATCH/run" && "$TALWEG" status > "$SCRATCH/out")
equal "this folder is the default: ends with" $? 0
address=$(json "$SCRATCH/run/run.json" 'd["coordinator"]')
"$TALWEG" status "$address" > "$SCRATCH/out"
equal "by address: ends with" $? 0
timeout 3 "$TALWEG" status "$SCRATCH/run" --watch --json > "$SCRATCH/watch.jsonl"
check "--watch goes on" test "$(wc -l < "$SCRATCH/watch.jsonl")" -ge 2

kill -INT "$train_pid"
finished_within 30 "$train_pid"
equal "Ctrl-C: train ends with" $? 130
"$TALWEG" status "$SCRATCH/run" --json > "$SCRATCH/status.json"
equal "stopped: status ends with" $? 0
equal "stopped: phase" "$(json "$SCRATCH/status.json" 'd["phase"]')" stopped
equal "stopped: it does not say that all steps are done" \
    "$(json "$SCRATCH/status.json" 'd["steps"]')" null

train "$SCRATCH/done" "$DIGITS"
"$TALWEG" status "$SCRATCH/done" --json > "$SCRATCH/status.json"
equal "finished: ends with" $? 0
equal "finished: phase" "$(json "$SCRATCH/status.json" 'd["phase"]')" finished
equal "finished: keys that are missing" "$(keys "$SCRATCH/status.json")" '[]'

# A run that diverges fails, and tells whose gradient it was.
train "$SCRATCH/run" "$DIGITS" --workers 2 --set optimizer.kind=sgd --set optimizer.rate=1000 \
    --set data.scale=1e20
equal "a run that diverges: train ends with" $? 1
"$TALWEG" status "$SCRATCH/run" > "$SCRATCH/out" 2>&1
equal "failed: ends with" $? 1
contains "failed: says who" "$SCRATCH/out" 'worker [01]'

finish
