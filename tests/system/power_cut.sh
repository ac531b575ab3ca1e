#!/usr/bin/env bash
# Everything is killed at once: --resume goes on from the newest checkpoint that is whole.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
reference
out=$SCRATCH/run
begin "$out" --set checkpoint.every=1000
at_step "$out" $((STEPS / 2))
# shellcheck disable=SC2046
kill -KILL "$TRAIN" $(children_of "$TRAIN")
wait_until 5 is_gone "$TRAIN"
check "a checkpoint is there" compgen -G "$out/checkpoint-*000/checkpoint.json"
cp -a "$out" "$SCRATCH/torn" # with the times, by which the newest is known

TRAIN=0
train "$out" "$DIGITS" "${SIZED[@]}" --set checkpoint.every=1000 --resume "$out"
equal "resumed in its own folder: ends with" $? 0
check "it began where it had been" \
    test "$(head -n 1 "$out/metrics.jsonl" | sed 's/.*"step": *\([0-9]*\).*/\1/')" -gt 0
equal "resumed in its own folder: digest" "$(digest "$out")" "$REFERENCE"

# checkpoint.json is written last: what it names was whole, and is cut now.
torn=$SCRATCH/torn
newest=$(dirname "$(find "$torn" -name checkpoint.json | sort -V | tail -n 1)")
file=$(find "$newest" -name '*.safetensors' | sort | tail -n 1)
truncate -s -64 "$file"
"$TALWEG" train "$DIGITS" "${SIZED[@]}" --resume "$torn" --out "$SCRATCH/again" \
    > "$SCRATCH/again.txt" 2>&1
equal "resumed with the newest torn: ends with" $? 0
equal "resumed with the newest torn: digest" "$(digest "$SCRATCH/again")" "$REFERENCE"
contains "it says which one it left out" "$SCRATCH/again.txt" \
    "^talweg train: .*$(basename "$newest")/.*; going on from .*/checkpoint-[0-9]+000, which was"
equal "and says it once" "$(grep -c 'going on from' "$SCRATCH/again.txt")" 1
contains "from the one before" "$SCRATCH/again/log/coordinator.log" \
    "ev=view view=1 .* step=$((${newest##*-} - 1000)) "
check "none of the torn one's steps is taken for done" \
    test "$(head -n 1 "$SCRATCH/again/metrics.jsonl" | sed 's/.*"step": *\([0-9]*\).*/\1/')" -le \
    "${newest##*-}"
finish
