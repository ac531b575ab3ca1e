#!/usr/bin/env bash
# codecs.sh [--smoke] [--json] [--epochs N] [CODEC...]: what fewer bytes cost in accuracy.
#
# Trains deploy/jobs/mnist-lenet.cfg and fashion-mnist-cnn.cfg with momentum for as many epochs with
# each codec (f32 bf16 int8 topk), two workers and two servers, and tells held-out accuracy, and the
# bytes of payload that a worker sends and gets in a step. Fails when bf16 or int8 is more than 0.3 points below f32, or topk (1 %
# of each block) more than 0.5. MNIST's four files are looked for in
# $TALWEG_MNIST; Fashion-MNIST is Debian's.
#
# --smoke: a few steps of Fashion-MNIST, and bytes alone are looked at.
. "$(dirname "$0")/../system/lib.sh"
has_json='' is_smoke='' epochs=5 codecs=()
while [ $# -gt 0 ]; do
    case $1 in
    --json) has_json=1 ;;
    --smoke) is_smoke=1 ;;
    --epochs) epochs=$2 && shift ;;
    *) codecs+=("$1") ;;
    esac
    shift
done
[ ${#codecs[@]} -gt 0 ] || codecs=(f32 bf16 int8 topk)

declare -A folder=([fashion-mnist]=/usr/share/datasets/fashion-mnist
    [mnist]=${TALWEG_MNIST:-$ROOT/deploy/data/mnist})
declare -A job=([fashion-mnist]=fashion-mnist-cnn [mnist]=mnist-lenet)
sets=(mnist fashion-mnist) few_steps=60
[ -z "$is_smoke" ] || sets=(fashion-mnist)

# run SET CODEC OUT ARGUMENT...
run() {
    local data=${folder[$1]} set=$1 codec=$2 out=$3
    shift 3
    train "$out" "$ROOT/deploy/jobs/${job[$set]}.cfg" --servers 2 \
        --set data.train_inputs="$data/train-images-idx3-ubyte.gz" \
        --set data.train_labels="$data/train-labels-idx1-ubyte.gz" \
        --set data.test_inputs="$data/t10k-images-idx3-ubyte.gz" \
        --set data.test_labels="$data/t10k-labels-idx1-ubyte.gz" \
        --set optimizer.kind=momentum --set optimizer.rate=0.02 --set exchange.codec="$codec" \
        "$@" || fail "$set with $codec: $(tail -n 2 "$out.txt")"
}

# measure SET CODEC: a line of JSON to $SCRATCH/results. Bytes are those of one worker, of which the
# number of lanes, and so of pushes, is always the same.
measure() {
    local few=$SCRATCH/$1-$2-few many=$SCRATCH/$1-$2
    run "$1" "$2" "$few" --workers 1 --set job.epochs=0 --set "job.steps=$few_steps"
    [ -n "$is_smoke" ] && many=$few || run "$1" "$2" "$many" --workers 2 --set "job.epochs=$epochs"
    python3 - "$1" "$2" "$few/summary.json" "$many/summary.json" >> "$SCRATCH/results" << 'END'
import json, sys
data, codec, *paths = sys.argv[1:]
few, many = (json.load(open(path)) for path in paths)
print(json.dumps({
    "data": data, "codec": codec, "epochs": many["epochs"],
    "accuracy": round(100 * many["test_accuracy"], 2), "loss": round(many["test_loss"], 4),
    "pushed_per_step": round(few["pushed_bytes"] / few["steps"]),
    "pulled_per_step": round(few["pulled_bytes"] / few["steps"])}))
END
    [ -n "$has_json" ] || tail -n 1 "$SCRATCH/results"
}

for set in "${sets[@]}"; do
    [ -r "${folder[$set]}/train-images-idx3-ubyte.gz" ] || skip "no data set in ${folder[$set]}"
    for codec in "${codecs[@]}"; do
        measure "$set" "$codec"
    done
done

python3 - "$SCRATCH/results" "$has_json" "$is_smoke" "$FAILURES" << 'END'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
failures = int(sys.argv[4])
base = {r["data"]: r for r in rows if r["codec"] == "f32"}
if sys.argv[2]:
    print(json.dumps(rows))
elif not sys.argv[3]:
    print("\n| data | codec | accuracy, % | loss | bytes a step up | down |\n|---|---|---|---|---|---|")
    for r in rows:
        print("| {data} | {codec} | {accuracy} | {loss} | {pushed_per_step} | "
              "{pulled_per_step} |".format(**r))
for r in rows:
    f32 = base.get(r["data"])
    if f32 is None or r["codec"] == "f32":
        continue
    points = 0.5 if r["codec"] == "topk" else 0.3
    if not sys.argv[3] and r["accuracy"] < f32["accuracy"] - points:
        print(f"FAIL  {r['data']} with {r['codec']}: {r['accuracy']} %, {f32['accuracy']} with f32")
        failures += 1
    # The first weights and the last are whole.
    share = {"bf16": 0.54, "int8": 0.3, "topk": 0.08}[r["codec"]]
    both = [x["pushed_per_step"] + x["pulled_per_step"] for x in (r, f32)]
    if both[0] > share * both[1]:
        print(f"FAIL  {r['data']} with {r['codec']}: {both[0]} bytes a step, {both[1]} with f32")
        failures += 1
sys.exit(failures > 0)
END
