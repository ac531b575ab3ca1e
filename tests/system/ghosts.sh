#!/usr/bin/env bash
# A worker that sleeps through the end of its run wakes up in the next one, at the same address: it
# is refused by a line that names both runs, and the new run does not notice.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
reference
out=$SCRATCH/run
address=ipc://$out/run/coordinator
mkdir -p "$out/run"
sets=(--servers=1 --workers=1 "${SIZED[@]}")
start "$SCRATCH/c.out" "$BIN/talweg-coordinator" "$DIGITS" --bind="$address" --out="$out" "${sets[@]}"
coordinator=$LAST_PID
start "$SCRATCH/p.out" "$BIN/talweg-ps" "$DIGITS" --coordinator="$address" \
    --bind="ipc://$out/run/server" "${sets[@]}"
server=$LAST_PID
start "$SCRATCH/w.out" "$BIN/talweg-worker" "$DIGITS" --coordinator="$address" "${sets[@]}"
ghost=$LAST_PID
TRAIN=$coordinator
at_step "$out" 100
before=$(json "$out/run.json" 'd["run_id"]')
kill -STOP "$ghost"
kill -KILL "$coordinator" "$server"
wait_until 5 is_gone "$coordinator"

begin "$out" --servers 1 --workers 1
at_step "$out" 100
after=$(json "$out/run.json" 'd["run_id"]')
check "another run" test "$before" != "$after"
kill -CONT "$ghost"
finished_within 20 "$ghost"
ended=$?
check "the ghost ends, with code $ended" test "$ended" -ne 0 -a "$ended" -ne 124
contains "it names its own run" "$SCRATCH/w.out" "$before"
contains "it names the one that refused it" "$SCRATCH/w.out" "$after"
ends_the_same "the new run" "$out"

# A coordinator that is started again when its run is over has nothing to do.
before=$(sha256sum "$out/summary.json" "$out/metrics.jsonl")
timeout 20 "$BIN/talweg-coordinator" "$DIGITS" --bind="$address" --out="$out" "${sets[@]}" \
    > "$SCRATCH/over.out" 2>&1
equal "a coordinator of a finished run: ends with" $? 0
contains "it says so" "$SCRATCH/over.out" 'has finished; --fresh begins anew'
equal "and changes nothing" "$(sha256sum "$out/summary.json" "$out/metrics.jsonl")" "$before"
finish
