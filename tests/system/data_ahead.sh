#!/usr/bin/env bash
# Data keeps up: compute hardly waits for samples that are quickly read, it waits for those that are
# slow to make, status and summary say so; and augmented samples have the same bits on any cluster.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_data.sh"

# job_file FILE DATA LANES BATCH LAYERS AUGMENT: a job of 60 steps.
job_file() {
    cat > "$1" << END
job = { name = "ahead"; seed = 5; lanes = $3; batch = $4; steps = 60; };
data = { format = "idx"; train_inputs = "$2/inputs"; train_labels = "$2/labels";
         test_fraction = 0.1; scale = 0.00392156862745098; mean = [0.5]; std = [0.3]; };
augment = { $6 };
model = { operators = ( { op = "flatten"; }, $5 { op = "dense"; units = 10; } ); };
optimizer = { rate = 0.01; };
END
}

# share OUT KEY LOW HIGH: true when the summary's share lies between.
share() {
    json "$1/summary.json" "$3 <= d[\"$2\"] <= $4"
}

make_idx "$SCRATCH/small" 4000 28
make_idx "$SCRATCH/large" 1000 128
hidden='{ op = "dense"; units = 512; }, { op = "relu"; }, { op = "dense"; units = 512; }, { op = "relu"; },'
all='flip = 0.5; flip_vertical = 0.5; pad = 4; rotate = 30.0; brightness = 0.4; contrast = 0.4; mixup = 0.4;'
job_file "$SCRATCH/quick.cfg" "$SCRATCH/small" 8 256 "$hidden" ''
job_file "$SCRATCH/slow.cfg" "$SCRATCH/large" 8 64 '' "$all"
job_file "$SCRATCH/mixed.cfg" "$SCRATCH/small" 8 64 "$hidden" "$all"

train "$SCRATCH/quick" "$SCRATCH/quick.cfg" --servers 1 --workers 1
say "quick data: waited $(json "$SCRATCH/quick/summary.json" 'd["waited_for_data"]')"
equal "quick data is hardly waited for" "$(share "$SCRATCH/quick" waited_for_data 0 0.05)" true
train "$SCRATCH/slow" "$SCRATCH/slow.cfg" --servers 1 --workers 1
say "slow data: waited $(json "$SCRATCH/slow/summary.json" 'd["waited_for_data"]')"
equal "slow data is waited for" "$(share "$SCRATCH/slow" waited_for_data 0.3 1)" true
equal "and the exchange as well" "$(share "$SCRATCH/slow" waited_for_exchange 0 0.7)" true
"$TALWEG" status "$SCRATCH/slow" > "$SCRATCH/out"
contains "status says so" "$SCRATCH/out" 'compute waited: [0-9.]+ % of its time for data'

for consistency in bsp local; do
    train "$SCRATCH/one" "$SCRATCH/mixed.cfg" --servers 1 --workers 1 \
        --set "exchange.consistency=$consistency" --set exchange.local_steps=7
    reference=$(digest "$SCRATCH/one")
    check "$consistency: there is a digest" test ${#reference} -eq 64
    for cluster in '1 1 2' '2 4 1' '1 2 2'; do
        read -r servers workers threads <<< "$cluster"
        train "$SCRATCH/run" "$SCRATCH/mixed.cfg" --servers "$servers" --workers "$workers" \
            --set "worker.threads=$threads" --set "exchange.consistency=$consistency" \
            --set exchange.local_steps=7 || cat "$SCRATCH/run.txt"
        equal "$consistency, $servers servers, $workers workers, $threads threads" \
            "$(digest "$SCRATCH/run")" "$reference"
        rm -rf "$SCRATCH/run"
    done
    rm -rf "$SCRATCH/one"
done
train "$SCRATCH/plain" "$SCRATCH/mixed.cfg" --servers 1 --workers 1 --set augment.mixup=0
check "other settings, other bits" test "$(digest "$SCRATCH/plain")" != "$reference"

finish
