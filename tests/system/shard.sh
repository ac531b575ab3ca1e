#!/usr/bin/env bash
# `talweg shard` cuts a data set into parts; a job trains from them to the same digest as from the
# files themselves.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_data.sh"

make_idx "$SCRATCH/data" 700 8
cat > "$SCRATCH/job.cfg" << EOF
job = { name = "idx"; batch = 64; steps = 30; };
data = { train_inputs = "data/inputs"; train_labels = "data/labels"; test_fraction = 0.2;
         scale = 0.00392; };
model = { loss = "softmax_cross_entropy";
          operators = ( { op = "flatten"; }, { op = "dense"; units = 10; } ); };
optimizer = { kind = "sgd"; rate = 0.1; };
EOF
train "$SCRATCH/whole" "$SCRATCH/job.cfg"
equal "from the files: ends with" $? 0 || cat "$SCRATCH/whole.txt"

"$TALWEG" shard "$SCRATCH/data/inputs" --labels "$SCRATCH/data/labels" --out "$SCRATCH/parts" \
    --parts 3 > "$SCRATCH/out" 2>&1
equal "shard ends with" $? 0 || cat "$SCRATCH/out"
manifest=$(find "$SCRATCH/parts" -name '*.json' | head -n 1)
check "a manifest" test -n "$manifest"
contains "it tells rows" "$manifest" '"rows"'
contains "it tells a digest" "$manifest" '[0-9a-f]{64}'
train "$SCRATCH/cut" "$SCRATCH/job.cfg" --set data.format=shards \
    --set "data.train_inputs=$SCRATCH/parts" --set data.train_labels=
equal "from the parts: ends with" $? 0 || cat "$SCRATCH/cut.txt"
equal "same bits" "$(digest "$SCRATCH/cut")" "$(digest "$SCRATCH/whole")"

part=$(find "$SCRATCH/parts" -type f ! -name '*.json' -size +1k | sort | head -n 1)
printf 'x' | dd of="$part" bs=1 seek=900 conv=notrunc status=none
train "$SCRATCH/torn" "$SCRATCH/job.cfg" --set data.format=shards \
    --set "data.train_inputs=$SCRATCH/parts" --set data.train_labels=
check "a changed part: train fails" test $? -ne 0
contains "a changed part: it is named" "$SCRATCH/torn.txt" "$(basename "$part")"

finish
