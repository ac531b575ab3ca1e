#!/usr/bin/env bash
# The job files of deploy/jobs keep what they promise.  The digits have train_digits.sh; the data of
# the others do not come with Talweg:
#
# TALWEG_DATA  folder with mnist/, adult/, california-housing/, tinyshakespeare/ (default: a folder data/ that has them,
#              beside this checkout or in a folder beside it)
. "$(dirname "$0")/lib.sh"

neighbours=("$ROOT"/../data/mnist "$ROOT"/../*/data/mnist)
DATA=${TALWEG_DATA:-$(ls -d "${neighbours[@]}" 2> /dev/null | head -n 1 | xargs -r dirname)}

# job NAME FILE CONDITION [ARGUMENT...]: trained, where FILE is there, its summary meets CONDITION.
job() {
    local name=$1 file=$2 condition=$3
    shift 3
    if [ ! -r "$file" ]; then
        say "skipped: $name, there is no $file"
        return
    fi
    train "$SCRATCH/$name" "$ROOT/deploy/jobs/$name.cfg" "$@"
    equal "$name: train ends with" $? 0 || cat "$SCRATCH/$name.txt"
    equal "$name: $condition" "$(json "$SCRATCH/$name/summary.json" "$condition")" true
}

job adult-mlp "$DATA/adult/adult.data.gz" 'd["test_accuracy"] >= 0.84' \
    --set "data.train_inputs=$DATA/adult/adult.data.gz"
file=$DATA/california-housing/cal_housing.data.gz
job california-mlp "$file" 'd["test_loss"] <= 0.35' --set "data.train_inputs=$file"
mnist=(--set "data.train_inputs=$DATA/mnist/train-images-idx3-ubyte.gz"
    --set "data.train_labels=$DATA/mnist/train-labels-idx1-ubyte.gz"
    --set "data.test_inputs=$DATA/mnist/t10k-images-idx3-ubyte.gz"
    --set "data.test_labels=$DATA/mnist/t10k-labels-idx1-ubyte.gz")
file=$DATA/mnist/train-images-idx3-ubyte.gz
job mnist-mlp "$file" 'd["test_accuracy"] >= 0.978' "${mnist[@]}"
job mnist-lenet "$file" 'd["test_accuracy"] >= 0.99' "${mnist[@]}"
job fashion-mnist-cnn /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz \
    'd["test_accuracy"] >= 0.88 and d["steps"] == 2345'
# A shorter training than the job's own, which takes minutes, or an hour.
file=$DATA/tinyshakespeare/input.txt.gz
job shakespeare-lstm "$file" 'd["test_loss"] <= 1.95' --set "data.train_inputs=$file" \
    --set job.epochs=1
job shakespeare-gpt "$file" 'd["test_loss"] <= 2.7' --set "data.train_inputs=$file" \
    --set job.steps=100 --set optimizer.warmup_steps=10

[ "$CHECKS" -gt 0 ] || skip "no data set is there"
finish
