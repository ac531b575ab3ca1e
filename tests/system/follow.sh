#!/usr/bin/env bash
# Servers and workers are told the folder of the run's results instead of an address: they are there
# before it is, and go with the coordinator when it is started again elsewhere; the digest stays.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
reference
out=$SCRATCH/out/run
sets=(--servers=2 --workers=2 "${SIZED[@]}" --set=cluster.give_up_s=30)
members=()
for rank in 0 1; do
    start "$SCRATCH/p$rank.out" "$BIN/talweg-ps" "$DIGITS" --coordinator="$out" --rank=$rank \
        "${sets[@]}"
    members+=("$LAST_PID")
    start "$SCRATCH/w$rank.out" "$BIN/talweg-worker" "$DIGITS" --coordinator="$out/run.json" \
        --rank=$rank "${sets[@]}"
    members+=("$LAST_PID")
done

# coordinate PORT: its process id is in $TRAIN.
coordinate() {
    start "$SCRATCH/c$1.out" "$BIN/talweg-coordinator" "$DIGITS" --bind="tcp://127.0.0.1:$1" \
        --out="$out" "${sets[@]}"
    TRAIN=$LAST_PID
}
sleep 1
mkdir -p "$out"
coordinate "$(free_port)"
at_step "$out" 500
kill -KILL "$TRAIN"
coordinate "$(free_port)"
ends_the_same "a coordinator that moved" "$out"
for pid in "${members[@]}"; do
    finished_within 10 "$pid"
    equal "process $pid ends with" $? 0
done
for name in p0 p1 w0 w1; do
    contains "$name has followed it" "$SCRATCH/$name.out" 'ev=coordinator_moved to=tcp://127'
done
"$BIN/talweg-worker" "$DIGITS" --coordinator="$out" "${sets[@]}" > "$SCRATCH/late.out" 2>&1
equal "a worker that comes when all is done ends with" $? 0
contains "it says why" "$SCRATCH/late.out" 'the run in .* has finished: nothing is left to do'

start "$SCRATCH/idle.out" "$BIN/talweg-worker" "$DIGITS" --coordinator="$SCRATCH/none" "${sets[@]}"
sleep 0.5
kill -TERM "$LAST_PID"
finished_within 5 "$LAST_PID"
equal "one that waits is asked to stop: it ends with" $? 1
contains "it says what it waited for" "$SCRATCH/idle.out" 'asked to stop by a signal; .*/none: No such'
"$BIN/talweg-worker" "$DIGITS" --coordinator="$SCRATCH/none" --set=cluster.wait_s=0.5 \
    > "$SCRATCH/never.out" 2>&1
equal "nobody comes: it ends with" $? 1
contains "it says where it looked" "$SCRATCH/never.out" 'waited 0.5 s .cluster.wait_s.* a coordinator'
finish
