#!/usr/bin/env bash
# Whatever is wrong with what a person gave: a sentence, an exit code that is not 0, no process left
# behind, and the checkpoint of an earlier run still whole.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_data.sh"

make_idx "$SCRATCH/good" 200 8
make_csv "$SCRATCH/good.csv" 200
cat > "$SCRATCH/idx.cfg" << EOF
job = { name = "idx"; batch = 32; steps = 20; };
data = { train_inputs = "good/inputs"; train_labels = "good/labels"; test_fraction = 0.2; };
model = { loss = "softmax_cross_entropy";
          operators = ( { op = "flatten"; }, { op = "dense"; units = 10; } ); };
optimizer = { kind = "sgd"; rate = 0.0001; };
EOF
cat > "$SCRATCH/csv.cfg" << EOF
job = { name = "csv"; batch = 32; steps = 20; };
data = { train_inputs = "good.csv"; label_column = "class"; test_fraction = 0.2; };
model = { loss = "softmax_cross_entropy"; operators = ( { op = "dense"; units = 2; } ); };
optimizer = { kind = "sgd"; rate = 0.01; };
EOF

# The earlier run, whose folder all the failing ones are given.
out=$SCRATCH/out
train "$out" "$SCRATCH/idx.cfg"
equal "a good job ends with" $? 0 || cat "$out.txt"
whole=$(json "$out/checkpoint-20/checkpoint.json" 'd["digest"]')

# is_whole JOB CHECKPOINT: it can be read and used.
is_whole() { "$TALWEG" eval "$1" --checkpoint "$2" > /dev/null; }

# refused WHAT PATTERN JOB [ARGUMENT...]: the job fails in reasonable time, saying PATTERN.
refused() {
    local what=$1 pattern=$2 code
    shift 2
    timeout 60 "$TALWEG" train "$@" --out "$out" > "$SCRATCH/said" 2>&1
    code=$?
    check "$what: fails" test "$code" -ne 0 -a "$code" -ne 124
    contains "$what: it says so" "$SCRATCH/said" "$pattern"
    check "$what: the earlier checkpoint is whole" is_whole "$SCRATCH/idx.cfg" "$out/checkpoint-20"
}

head -c 5000 "$SCRATCH/good/inputs" > "$SCRATCH/cut"
refused "truncated IDX" 'cut.*(5,?000|bytes|shorter)' "$SCRATCH/idx.cfg" \
    --set "data.train_inputs=$SCRATCH/cut"
gzip -c "$SCRATCH/good/inputs" | head -c 3000 > "$SCRATCH/cut.gz"
refused "truncated .gz" 'cut\.gz' "$SCRATCH/idx.cfg" --set "data.train_inputs=$SCRATCH/cut.gz"
printf 'PK\003\004' | cat - "$SCRATCH/good/inputs" > "$SCRATCH/magic"
refused "wrong magic" 'magic' "$SCRATCH/idx.cfg" --set data.format=idx \
    --set "data.train_inputs=$SCRATCH/magic"
refused "no such file" 'none.*No such file' "$SCRATCH/idx.cfg" \
    --set "data.train_inputs=$SCRATCH/none"
make_idx "$SCRATCH/fewer" 150 8
refused "labels of another length" '200.*150' "$SCRATCH/idx.cfg" \
    --set "data.train_labels=$SCRATCH/fewer/labels"

sed '50s/^[^,]*/nan/' "$SCRATCH/good.csv" > "$SCRATCH/nan.csv"
refused "a NaN cell" 'nan\.csv:50:.*x0' "$SCRATCH/csv.cfg" \
    --set "data.train_inputs=$SCRATCH/nan.csv"
sed '70s/^[^,]*//' "$SCRATCH/good.csv" > "$SCRATCH/gap.csv"
refused "an empty cell" 'gap\.csv:70:.*x0' "$SCRATCH/csv.cfg" \
    --set "data.train_inputs=$SCRATCH/gap.csv"
refused "no such label column" 'label.*klass|klass' "$SCRATCH/csv.cfg" --set data.label_column=klass

sed 's/rate =/rat =/' "$SCRATCH/csv.cfg" > "$SCRATCH/unknown.cfg"
sed -i 's#good.csv#../good.csv#' "$SCRATCH/unknown.cfg"
refused "unknown setting" 'unknown\.cfg:4: .*rat.*rate' "$SCRATCH/unknown.cfg"
sed 's/batch = 32/batch = "many"/' "$SCRATCH/csv.cfg" > "$SCRATCH/type.cfg"
refused "ill-typed setting" 'type\.cfg:1: .*batch.*many' "$SCRATCH/type.cfg"
sed 's/};/}/' "$SCRATCH/csv.cfg" | head -n 3 > "$SCRATCH/syntax.cfg"
sed -i 's/= {/{/' "$SCRATCH/syntax.cfg"
refused "no job file by its syntax" 'syntax\.cfg:1' "$SCRATCH/syntax.cfg"
refused "batch smaller than lanes" 'batch.*lane' "$SCRATCH/csv.cfg" --set job.batch=4
sed 's/units = 10/units = 4/' "$SCRATCH/idx.cfg" > "$SCRATCH/few.cfg"
refused "too few outputs for the classes" '10 classes.*4 output' "$SCRATCH/few.cfg"
sed 's/{ op = "dense"; units = 2; }/{ op = "conv2d"; filters = 2; kernel = 3; }/' \
    "$SCRATCH/csv.cfg" > "$SCRATCH/shape.cfg"
refused "an operator that does not fit" 'conv2d' "$SCRATCH/shape.cfg"

# The roles by hand: a port in use, an address that is not ours, a place that is not safe.
port=$(free_port)
start "$SCRATCH/first" "$BIN/talweg-coordinator" "$SCRATCH/idx.cfg" --out "$SCRATCH/first-out" \
    --bind "tcp://127.0.0.1:$port"
first=$LAST_PID
wait_until 10 test -f "$SCRATCH/first-out/run.json"
timeout 20 "$BIN/talweg-coordinator" "$SCRATCH/idx.cfg" --out "$SCRATCH/second" \
    --bind "tcp://127.0.0.1:$port" > "$SCRATCH/said" 2>&1
check "port in use: fails" test $? -ne 0
contains "port in use: it says which" "$SCRATCH/said" "$port.*use"
kill -TERM "$first"
timeout 20 "$BIN/talweg-coordinator" "$SCRATCH/idx.cfg" --out "$SCRATCH/second" \
    --bind 'tcp://*:0' > "$SCRATCH/said" 2>&1
check "open to all without keys: fails" test $? -ne 0
contains "open to all without keys: it says how" "$SCRATCH/said" 'insecure'
timeout 30 "$BIN/talweg-worker" "$SCRATCH/idx.cfg" --set cluster.wait_s=2 \
    --coordinator "tcp://127.0.0.1:$(free_port)" > "$SCRATCH/said" 2>&1
check "no coordinator: the worker gives up" test $? -ne 0 -a $? -ne 124
contains "no coordinator: it says who is missing" "$SCRATCH/said" 'coordinator'

# Command lines.
for arguments in 'train' 'train a b' 'train a --servers none' 'train a --workers 1025' \
    'fly' 'eval' 'predict a b'; do
    # shellcheck disable=SC2086
    "$TALWEG" $arguments > "$SCRATCH/said" 2>&1
    equal "talweg $arguments: ends with" $? 2
    check "talweg $arguments: says something" test -s "$SCRATCH/said"
done

"$TALWEG" eval "$SCRATCH/idx.cfg" > "$SCRATCH/said" 2>&1
equal "eval of no checkpoint: ends with" $? 1
contains "eval of no checkpoint: it asks for one" "$SCRATCH/said" 'which checkpoint'

"$TALWEG" train "$SCRATCH/idx.cfg" --out '' > "$SCRATCH/said" 2>&1
equal "no name for a folder: ends with" $? 1
contains "no name for a folder: it says so" "$SCRATCH/said" 'out: found nothing'
"$TALWEG" settings 2> "$SCRATCH/said" > /dev/full
equal "output that cannot be written: ends with" $? 1
contains "output that cannot be written: it says so" "$SCRATCH/said" 'could not be written'

# No permission.
if [ "$(id -u)" -eq 0 ] && command -v setpriv > /dev/null; then
    chmod 755 "$SCRATCH"
    mkdir -m 755 "$SCRATCH/locked"
    setpriv --reuid=65534 --regid=65534 --clear-groups "$TALWEG" train "$SCRATCH/idx.cfg" \
        --out "$SCRATCH/locked/run" > "$SCRATCH/said" 2>&1
    check "no permission: fails" test $? -ne 0
    contains "no permission: it says where" "$SCRATCH/said" 'locked.*permission denied'
fi

# A disk that fills up while a checkpoint is written.
if [ "$(id -u)" -eq 0 ] && mkdir "$SCRATCH/small" &&
    mount -t tmpfs -o size=3m tmpfs "$SCRATCH/small" 2> /dev/null; then
    test_cleanup() { umount "$SCRATCH/small"; }
    train "$SCRATCH/small/run" "$DIGITS" --set job.epochs=0 --set job.steps=400 \
        --set checkpoint.every=100 --set checkpoint.keep=1
    equal "small disk, small checkpoints: ends with" $? 0 || cat "$SCRATCH/small/run.txt"
    before=$(json "$SCRATCH/small/run/checkpoint-400/checkpoint.json" 'd["digest"]')
    # Leaves room for logs, not for another checkpoint of 60 kB.
    room=$(($(df --output=avail -k "$SCRATCH/small" | tail -n 1) - 48))
    head -c "${room}k" /dev/zero > "$SCRATCH/small/filler"
    timeout 120 "$TALWEG" train "$DIGITS" --set job.epochs=0 --set job.steps=450 \
        --out "$SCRATCH/small/run" > "$SCRATCH/said" 2>&1
    check "disk full: fails" test $? -ne 0
    contains "disk full: it says so" "$SCRATCH/said" 'No space left'
    equal "disk full: the earlier checkpoint" \
        "$(json "$SCRATCH/small/run/checkpoint-400/checkpoint.json" 'd["digest"]')" "$before"
    check "disk full: it is whole" is_whole "$DIGITS" "$SCRATCH/small/run/checkpoint-400"
    check "disk full: nothing half-written is left" \
        test -z "$(compgen -G "$SCRATCH/small/run/checkpoint-*.tmp-*")"
else
    say "skipped: a small disk needs root and mount"
fi

equal "and all the while, the earlier checkpoint" \
    "$(json "$out/checkpoint-20/checkpoint.json" 'd["digest"]')" "$whole"
check "no process is left" test -z "$(pgrep -f "$SCRATCH")"

finish
