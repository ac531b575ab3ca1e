#!/usr/bin/env bash
# A job with patience ends at the same step with the same weights on any cluster, whoever is killed
# meanwhile; its best checkpoint stays, eval finds it, and a run that goes on from it ends alike.
. "$(dirname "$0")/lib.sh"

patient=(--set job.patience=12 --set job.eval_every=5 --set checkpoint.keep=1
    --set optimizer.rate=0.02)

train "$SCRATCH/one" "$DIGITS" --servers 1 --workers 1 "${patient[@]}" || fail "the reference run"
one=$SCRATCH/one/summary.json
steps=$(json "$one" 'd["steps"]')
best=$(json "$one" 'd["best_step"]')
equal "phase" "$(json "$one" 'd["phase"]')" finished
equal "evaluations since the best" $(((steps - best) / 5)) 12
contains "summary.json says why it ended" "$one" "stopped early at step $steps of 1350"
contains "train says why it ended" "$SCRATCH/one.txt" "ended +stopped early at step $steps"
equal "checkpoints that stay" "$(cd "$SCRATCH/one" && echo checkpoint-*)" \
    "$(printf 'checkpoint-%s\n' "$best" "$steps" | sort | xargs)"

"$TALWEG" eval "$DIGITS" --checkpoint "$SCRATCH/one" --best --json > "$SCRATCH/best.json"
equal "eval --best is of step" "$(json "$SCRATCH/best.json" 'd["step"]')" "$best"
check "and has the loss that summary.json says" test "$(json "$SCRATCH/best.json" \
    "abs(d['loss'] - $(json "$one" 'd["best_loss"]')) < 1e-9")" = true
"$TALWEG" eval "$DIGITS" --checkpoint "$SCRATCH/one" --json > "$SCRATCH/last.json"
equal "the last checkpoint has the digest" "$(json "$SCRATCH/last.json" 'd["digest"]')" \
    "$(digest "$SCRATCH/one")"

# same WHAT OUT: the run in OUT ended as the reference.
same() {
    equal "$1: steps, best and digest" \
        "$(json "$2/summary.json" '[d["steps"], d["best_step"], d["best_loss"], d["digest"]]')" \
        "$(json "$one" '[d["steps"], d["best_step"], d["best_loss"], d["digest"]]')"
}

train "$SCRATCH/many" "$DIGITS" --servers 2 --workers 4 "${patient[@]}"
same "2 servers, 4 workers" "$SCRATCH/many"

for role in worker ps coordinator; do
    rm -rf "$SCRATCH/killed"
    start "$SCRATCH/killed.txt" "$TALWEG" train "$DIGITS" --servers 2 --workers 4 \
        --out "$SCRATCH/killed" "${patient[@]}"
    run=$LAST_PID
    wait_until 60 grep -qs '"test_loss": 0' "$SCRATCH/killed/metrics.jsonl"
    kill -KILL "$(pgrep -P "$run" -f "talweg-$role" | head -n 1)"
    finished_within 120 "$run"
    equal "with a $role killed it ends with" $? 0
    same "a $role killed" "$SCRATCH/killed"
done

# From before the end, and with more patience, into other folders.
train "$SCRATCH/all" "$DIGITS" --servers 1 --workers 2 "${patient[@]}" --set checkpoint.keep=0
train "$SCRATCH/resumed" "$DIGITS" --servers 1 --workers 2 "${patient[@]}" \
    --resume "$SCRATCH/all/checkpoint-$((steps - 10))"
same "resumed before its end" "$SCRATCH/resumed"
contains "the best checkpoint is the other run's" "$SCRATCH/resumed/summary.json" \
    "\"best_checkpoint\": \"$SCRATCH/all/checkpoint-$best\""

train "$SCRATCH/plain" "$DIGITS"
"$TALWEG" eval "$DIGITS" --checkpoint "$SCRATCH/plain" --best > "$SCRATCH/no_best.txt" 2>&1
equal "eval --best of a run without patience ends with" $? 1
contains "and says why" "$SCRATCH/no_best.txt" 'names no best checkpoint'
"$TALWEG" eval "$DIGITS" --best > "$SCRATCH/which.txt" 2>&1
equal "eval --best of no run ends with" $? 2
contains "and asks which" "$SCRATCH/which.txt" 'the best of which run'

finish
