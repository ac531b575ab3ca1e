#!/usr/bin/env bash
# Too few are left and nobody comes: after cluster.give_up_s the job keeps what there is in a
# checkpoint and ends, with a sentence that says who is missing; it can be resumed from there.
. "$(dirname "$0")/lib.sh"
STEPS=20000
. "$(dirname "$0")/faults.sh"
reference
out=$SCRATCH/run
address=ipc://$out/run/coordinator
mkdir -p "$out/run"
sets=(--servers=1 --workers=2 "${SIZED[@]}" --set cluster.give_up_s=2 --set cluster.silence_s=2)
start "$SCRATCH/c.out" "$BIN/talweg-coordinator" "$DIGITS" --bind="$address" --out="$out" "${sets[@]}"
TRAIN=$LAST_PID
start "$SCRATCH/p.out" "$BIN/talweg-ps" "$DIGITS" --coordinator="$address" \
    --bind="ipc://$out/run/server" "${sets[@]}"
server=$LAST_PID
for rank in 0 1; do
    start "$SCRATCH/w$rank.out" "$BIN/talweg-worker" "$DIGITS" --coordinator="$address" \
        --rank=$rank "${sets[@]}"
    worker[rank]=$LAST_PID
done
at_step "$out" 500
kill -KILL "${worker[0]}"
step=$(step_of "$out")
check "one worker of two is killed: the run goes on" at_step "$out" $((${step:-$STEPS} + 200))
kill -KILL "${worker[1]}"
check "both are: status names them" wait_until 5 status_is "$out" \
    '"0 of 2 workers (missing ranks 0 1)" in (d["trouble"] or "")'
finished_within 20 "$TRAIN"
equal "nobody comes: the coordinator ends with" $? 1
contains "it says who is missing" "$SCRATCH/c.out" '0 of 2 workers \(missing ranks 0 1\)'
contains "and for how long" "$SCRATCH/c.out" 'for 2 s \(cluster.give_up_s\), at step [0-9]+'
finished_within 10 "$server"
equal "the server ends with" $? 1
checkpoint=$(find "$out" -maxdepth 1 -name 'checkpoint-*' | sort -V | tail -n 1)
check "there is a checkpoint, of step ${checkpoint##*-}" test -f "$checkpoint/checkpoint.json"
TRAIN=0
train "$SCRATCH/resumed" "$DIGITS" "${SIZED[@]}" --workers 2 --resume "$out"
equal "resumed: ends with" $? 0
equal "resumed: digest" "$(digest "$SCRATCH/resumed")" "$REFERENCE"

# A server without a copy of its blocks is lost for good: the newest checkpoint is what there is.
out=$SCRATCH/lost
address=ipc://$out/run/coordinator
mkdir -p "$out/run"
sets+=(--workers=1 --set checkpoint.every=1000)
start "$SCRATCH/c.out" "$BIN/talweg-coordinator" "$DIGITS" --bind="$address" --out="$out" "${sets[@]}"
TRAIN=$LAST_PID
start "$SCRATCH/p.out" "$BIN/talweg-ps" "$DIGITS" --coordinator="$address" \
    --bind="ipc://$out/run/server" "${sets[@]}"
server=$LAST_PID
start "$SCRATCH/w.out" "$BIN/talweg-worker" "$DIGITS" --coordinator="$address" "${sets[@]}"
at_step "$out" 2000
kill -KILL "$server"
finished_within 20 "$TRAIN"
equal "the only server is lost: the coordinator ends with" $? 1
contains "it says so" "$SCRATCH/c.out" '0 of 1 servers \(missing rank 0\)'
check "the checkpoint before is there" compgen -G "$out/checkpoint-*000/checkpoint.json"
finish
