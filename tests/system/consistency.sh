#!/usr/bin/env bash
# ssp and async learn the digits as well, and say how stale the weights were; gradients that are no
# numbers stop the job or are left out, the same everywhere.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
STEPS=6000
SIZED=(--set job.epochs=0 --set "job.steps=$STEPS")

for kind in ssp async; do
    out=$SCRATCH/$kind
    begin "$out" --set "exchange.consistency=$kind" --set cluster.replicas=1
    check "$kind: status counts how stale weights were" wait_until 20 status_is "$out" \
        'sum(d["staleness"]) > 100'
    finished_within 90 "$TRAIN"
    equal "$kind: ends with" $? 0 || tail -n 4 "$out.txt"
    check "$kind: at least 95 % on the held-out fifth" \
        test "$(json "$out/summary.json" 'd["test_accuracy"] >= 0.95')" = true
done
out=$SCRATCH/ssp-killed
begin "$out" --set exchange.consistency=ssp --set cluster.replicas=1
at_step "$out" 1000 && check "ssp: a server is killed" hit KILL server 1
finished_within 90 "$TRAIN"
equal "ssp, a server killed: ends with" $? 0 || tail -n 4 "$out.txt"
check "ssp, a server killed: at least 95 %" \
    test "$(json "$out/summary.json" 'd["test_accuracy"] >= 0.95')" = true

# One sample, of those to train on, has pixels that overflow.
zcat "$ROOT/deploy/data/digits.csv.gz" |
    awk -F, -v OFS=, 'NR == 8 { for (i = 1; i <= 64; i++) $i = "3e38" } 1' > "$SCRATCH/wild.csv"
sed "s|\.\./data/digits.csv.gz|$SCRATCH/wild.csv|; s|scale = 0.0625|scale = 1.0|" "$DIGITS" \
    > "$SCRATCH/wild.cfg"
"$TALWEG" train "$SCRATCH/wild.cfg" --out "$SCRATCH/stop" > "$SCRATCH/stop.txt" 2>&1
equal "a gradient that is no number, stop: ends with" $? 1
contains "stop: says which worker" "$SCRATCH/stop.txt" 'worker [0-9]+'
contains "stop: says which step" "$SCRATCH/stop.txt" 'step [0-9]+'
contains "stop: says which lane" "$SCRATCH/stop.txt" 'lane [0-9]+'
contains "stop: says which tensor" "$SCRATCH/stop.txt" 'tensor|dense'
for workers in 1 3; do
    train "$SCRATCH/skip-$workers" "$SCRATCH/wild.cfg" --set job.on_nonfinite=skip \
        --workers "$workers"
    equal "skip, $workers workers: ends with" $? 0 || tail -n 3 "$SCRATCH/skip-$workers.txt"
done
equal "skip: the same digest" "$(digest "$SCRATCH/skip-1")" "$(digest "$SCRATCH/skip-3")"
check "skip: the rest is learnt" \
    test "$(json "$SCRATCH/skip-1/summary.json" 'd["test_accuracy"] >= 0.95')" = true
begin "$SCRATCH/counted" --set job.on_nonfinite=skip --set data.train_inputs="$SCRATCH/wild.csv" \
    --set data.scale=1
check "skip: status counts the steps left out" wait_until 20 status_is "$SCRATCH/counted" \
    'd["skipped_steps"] > 3'
kill -INT "$TRAIN"
finished_within 20 "$TRAIN"
finish
