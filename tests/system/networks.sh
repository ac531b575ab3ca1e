#!/usr/bin/env bash
# The jobs with residual and transformer networks: batch norm, Winograd, attention, tied weights.
# Any cluster trains the same bits, running means included, and gets better at what it sees.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_data.sh"

make_photographs "$SCRATCH/photographs" 160
python3 - "$SCRATCH/count.txt" << 'END'
import sys
words = "one two three four five six seven eight nine ten".split()
open(sys.argv[1], "w").write(" ".join(words[i % 10] for i in range(6000)))
END

# losses_fall FILE: whether the last loss in training is below the first one written (step 10).
losses_fall() {
    python3 -c '
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
losses = [row["train_loss"] for row in rows if row["train_loss"] is not None]
print(losses[-1] < losses[0])' "$1"
}

# job NAME STEPS [ARGUMENT...]: the digest is that of one worker on one server, for two clusters
# more, and the loss has become less.
job() {
    local name=$1 steps=$2 cluster servers workers threads reference
    shift 2
    set -- "$ROOT/deploy/jobs/$name.cfg" --set "job.steps=$steps" --set optimizer.warmup_steps=0 "$@"
    train "$SCRATCH/one" "$@" --servers 1 --workers 1 || cat "$SCRATCH/one.txt"
    reference=$(digest "$SCRATCH/one")
    check "$name: there is a digest" test ${#reference} -eq 64 || return
    equal "$name: it learns" "$(losses_fall "$SCRATCH/one/metrics.jsonl")" True
    for cluster in '2 4 1' '1 2 2'; do
        read -r servers workers threads <<< "$cluster"
        train "$SCRATCH/run" "$@" --servers "$servers" --workers "$workers" \
            --set "worker.threads=$threads" || cat "$SCRATCH/run.txt"
        equal "$name: $servers servers, $workers workers, $threads threads" \
            "$(digest "$SCRATCH/run")" "$reference"
        rm -rf "$SCRATCH/run"
    done
    train "$SCRATCH/run" "$@" --servers 1 --workers 1 --set model.recompute=true
    equal "$name: activations computed again" "$(digest "$SCRATCH/run")" "$reference"
    rm -rf "$SCRATCH/run" "$SCRATCH/one"
}

photographs=(--set "data.train_inputs=$SCRATCH/photographs/images.npy"
    --set "data.train_labels=$SCRATCH/photographs/labels.npy"
    --set data.test_inputs= --set data.test_labels= --set data.test_fraction=0.1)
job cifar-resnet20 20 "${photographs[@]}" --set job.batch=32
job cifar-resnet18 11 "${photographs[@]}" --set job.batch=16
job shakespeare-gpt 16 --set "data.train_inputs=$SCRATCH/count.txt"
job shakespeare-lstm 16 --set "data.train_inputs=$SCRATCH/count.txt"
finish
