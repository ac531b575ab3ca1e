#!/usr/bin/env bash
# `talweg bench step`, a few steps: that it measures, not how fast.
. "$(dirname "$0")/../system/lib.sh"
steps=$(cd "$(dirname "$0")" && pwd)/step

# step NAME OPTIONS...: its JSON is $SCRATCH/NAME.json.
step() {
    local name=$1
    shift
    "$TALWEG" bench step "$@" --steps 3 --json > "$SCRATCH/$name.json" 2> "$SCRATCH/out"
    equal "$name: ends with" $? 0
    equal "$name: what is not as it should be" "$(json "$SCRATCH/$name.json" '[
        what for what, ok in (
            ("steps", d["steps"] == 3), ("times", 0 < d["min_ms"] <= d["ms"] <= d["p90_ms"]),
            ("parts", 0 < d["forward_ms"] and 0 < d["backward_ms"] and 0 < d["optimizer_ms"]),
            ("operators", abs(sum(o["forward_ms"] for o in d["operators"]) - d["forward_ms"])
                          < 1e-6),
            ("speed", 0 < d["gflops"] and 0 < d["peak_gflops"]),
            ("memory", 0 < d["planned_bytes"] and 0 < d["peak_rss_bytes"]),
            ("start", 0 < d["ready_s"] <= d["first_step_s"] < 60),
            ("losses", 0 < d["last_loss"] < 100 and 0 < d["first_loss"] < 100))
        if not ok]')" '[]'
}

step digits "$DIGITS" --threads 2
equal "lanes" "$(json "$SCRATCH/digits.json" 'd["lanes"]')" 2
step lenet "$steps/lenet.cfg" --batch 6 --threads 3 --input 28x28x1 --classes 10
equal "lanes of three threads" "$(json "$SCRATCH/lenet.json" 'd["lanes"]')" 4
equal "operators" "$(json "$SCRATCH/lenet.json" '[o["op"] for o in d["operators"]][:3]')" \
    '["conv2d", "relu", "maxpool2d"]'
# The process itself is a tenth of it at most here.
step resnet "$steps/resnet18.cfg" --batch 32 --input 32x32x3 --classes 10
equal "planned memory is within a tenth of what was resident" \
    "$(json "$SCRATCH/resnet.json" '0.9 <= d["planned_bytes"] / d["peak_rss_bytes"] <= 1')" true
"$TALWEG" bench step "$steps/mlp.cfg" --input 784 --classes 10 --batch 4 --steps 2 --by-operator \
    > "$SCRATCH/table" 2> "$SCRATCH/out"
equal "a table: ends with" $? 0
contains "it has the roofline" "$SCRATCH/table" 'roofline .* GFLOP/s of .* at most'
contains "it has each operator" "$SCRATCH/table" '^dense3 +dense '
"$TALWEG" bench step "$steps/mlp.cfg" > "$SCRATCH/out" 2>&1
equal "data that are not there: ends with" $? 1
contains "and says what else there is" "$SCRATCH/out" 'drawn.*--input'
"$TALWEG" bench step "$steps/mlp.cfg" --input 28x28 --classes 10 > "$SCRATCH/out" 2>&1
equal "no shape: ends with" $? 2
contains "and says what one is" "$SCRATCH/out" '28x28x1'
"$TALWEG" bench step "$steps/mlp.cfg" --input 784 --classes 10 --batch 1 --threads 2 \
    > "$SCRATCH/out" 2>&1
equal "a lane without samples: ends with" $? 1
contains "and says how many there must be" "$SCRATCH/out" 'at least 2'
finish
