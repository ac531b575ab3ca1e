#!/usr/bin/env bash
# consistency "local": rounds of steps that lanes make by themselves end in the same bits on any
# number of processes, whoever is killed, and when stopped and resumed; they learn; the settings that
# are given in steps hold.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
STEPS=6000 ROUNDS=600
SIZED=(--set job.epochs=0 --set "job.steps=$STEPS" --set exchange.consistency=local
    --set exchange.local_steps=10 --set optimizer.kind=momentum --set optimizer.rate=0.02)

reference
check "there is a digest" test ${#REFERENCE} -eq 64
summary=$SCRATCH/reference/summary.json
equal "rounds" "$(json "$summary" '[d["steps"], d["round_steps"]]')" "[$ROUNDS, 10]"
check "at least 95 % on the held-out fifth" \
    test "$(json "$summary" 'd["test_accuracy"] >= 0.95')" = true
contains "says that they are rounds" "$SCRATCH/reference.txt" 'rounds +600 of 10 steps'

for cluster in '1 3' '2 3' '3 8'; do
    read -r servers workers <<< "$cluster"
    train "$SCRATCH/run" "$DIGITS" "${SIZED[@]}" --servers "$servers" --workers "$workers" \
        --set worker.threads=2 || cat "$SCRATCH/run.txt"
    equal "$servers servers, $workers workers" "$(digest "$SCRATCH/run")" "$REFERENCE"
    rm -rf "$SCRATCH/run"
done

for role in worker server; do
    out=$SCRATCH/killed-$role
    begin "$out" --servers 2 --workers 3 --set cluster.replicas=1
    at_step "$out" 100 && check "a $role is killed" hit KILL "$role" 1
    ends_the_same "a $role was killed" "$out"
done

# Whole rounds: of 997 steps 100 are made; 333 steps are full at the end of round 34.
short=(--set job.steps=997 --set checkpoint.every=333 --set checkpoint.keep=0)
train "$SCRATCH/half" "$DIGITS" "${SIZED[@]}" "${short[@]}" --servers 2 --workers 2
equal "checkpoints" "$(cd "$SCRATCH/half" && echo checkpoint-*)" \
    "checkpoint-100 checkpoint-34 checkpoint-67"
for from in 34 100; do # cosine would know how long the run is
    train "$SCRATCH/run" "$DIGITS" "${SIZED[@]}" --set optimizer.schedule=constant --servers 1 \
        --workers 3 --set checkpoint.keep=0 --set checkpoint.every=333
    train "$SCRATCH/again" "$DIGITS" "${SIZED[@]}" --set optimizer.schedule=constant --servers 2 \
        --workers 2 --resume "$SCRATCH/run/checkpoint-$from"
    equal "resumed at round $from" "$(digest "$SCRATCH/again")" "$(digest "$SCRATCH/run")"
    rm -rf "$SCRATCH/run" "$SCRATCH/again"
done

out=$SCRATCH/stopped
begin "$out" --servers 1 --workers 2 --set exchange.local_steps=2000 --set job.batch=512
sleep 1
kill -INT "$TRAIN"
finished_within 30 "$TRAIN"
check "stopped in a long round, in time" test $? -ne 124

train "$SCRATCH/run" "$DIGITS" "${SIZED[@]}" --set job.seed=12345
check "another seed gives other bits" test "$(digest "$SCRATCH/run")" != "$REFERENCE"
finish
