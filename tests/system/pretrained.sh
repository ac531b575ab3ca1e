#!/usr/bin/env bash
# A network that others have trained, ResNet-20 of pytorch_resnet_cifar10: read by its own names and
# in PyTorch's layout, it says what it said there; trained on with all but its last layer frozen,
# only that layer changes and only its bytes are exchanged.
#
# TALWEG_DATA  folder with pretrained/resnet-cifar10/ (default: a folder data/ that has it, beside
#              this checkout or in a folder beside it)
. "$(dirname "$0")/lib.sh"

neighbours=("$ROOT"/../data/pretrained "$ROOT"/../*/data/pretrained)
given=${TALWEG_DATA:-$(ls -d "${neighbours[@]}" 2> /dev/null | head -n 1 | xargs -r dirname)}
given=$given/pretrained/resnet-cifar10
[ -r "$given/resnet20_cifar10.safetensors" ] || skip "there is no $given"

# The vectors as arrays, and as labels what the network answers; the job, once as it is for numbers
# that are normalised already, once with all but the last layer frozen.
python3 - "$given" "$SCRATCH" "$ROOT/deploy/jobs/cifar-resnet20.cfg" << 'END'
import array, re, sys
given, out, job = sys.argv[1:]

def save(name, descr, shape, data):
    head = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" % (descr, shape)
    head += " " * (-(len(head) + 11) % 64) + "\n"
    with open(out + "/" + name, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + data)

logits = array.array("f", open(given + "/resnet20_cifar10_logits_10x10.f32", "rb").read())
answers = [max(range(10), key=lambda k: logits[10 * row + k]) for row in range(10)]
images = open(given + "/resnet20_cifar10_input_10x3x32x32.f32", "rb").read()
save("images.npy", "<f4", (40, 3, 32, 32), 4 * images)
save("labels.npy", "|u1", (40,), 4 * bytes(answers))
save("vectors.npy", "<f4", (10, 3, 32, 32), images)
text = open(job).read()
text = re.sub(r"scale = [^;]*;", "scale = 1.0;", text)
text = re.sub(r"mean = [^;]*;", "mean = [0.0];", text)
text = re.sub(r"std = [^;]*;", "std = [1.0];", text)
text = text.replace("model = {", 'model = { init_from = "%s/resnet20_cifar10.safetensors"; '
                    'init_layout = "pytorch";' % given, 1)
for part in "train", "test":
    text = text.replace("cifar10/%s-images.npy" % part, out + "/images.npy")
    text = text.replace("cifar10/%s-labels.npy" % part, out + "/labels.npy")
open(out + "/as-it-is.cfg", "w").write(text)
frozen = re.sub(r'(op = "(?:conv2d|batch_norm)";)', r"\1 frozen = true;", text)
open(out + "/last-layer.cfg", "w").write(frozen)
END

job=$SCRATCH/as-it-is.cfg
"$TALWEG" eval "$job" --json > "$SCRATCH/eval.json"
equal "eval ends with" $? 0
equal "accuracy on what it answered" "$(json "$SCRATCH/eval.json" 'd["accuracy"]')" 1.0
"$TALWEG" predict "$job" --input "$SCRATCH/vectors.npy" --out "$SCRATCH/p.csv"
equal "predict ends with" $? 0
check "its answers are the recorded ones, to 1e-5" python3 -c '
import array, csv, math, sys
logits = array.array("f", open(sys.argv[1], "rb").read())
rows = list(csv.DictReader(open(sys.argv[2])))
assert len(rows) == 10
for row, found in enumerate(rows):
    z = logits[10 * row:10 * row + 10]
    powers = [math.exp(v - max(z)) for v in z]
    for k in range(10):
        assert abs(powers[k] / sum(powers) - float(found["p%d" % k])) < 1e-5, (row, k)
' "$given/resnet20_cifar10_logits_10x10.f32" "$SCRATCH/p.csv"

train "$SCRATCH/tuned" "$SCRATCH/last-layer.cfg" --set job.steps=4 --set job.batch=20 \
    --set optimizer.warmup_steps=0 --workers 2 --servers 2
equal "fine-tuning ends with" $? 0 || cat "$SCRATCH/tuned.txt"
equal "bytes pushed: 650 weights, 4 steps, 2 workers" \
    "$(json "$SCRATCH/tuned/summary.json" 'd["pushed_bytes"]')" $((650 * 4 * 4 * 2))
check "only the last layer has changed" python3 -c '
import json, struct, sys
def read(path):
    file = open(path, "rb")
    head = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    data = file.read()
    return {name: (t["shape"], data[slice(*t["data_offsets"])])
            for name, t in head.items() if name != "__metadata__"}
theirs, ours = read(sys.argv[1]), read(sys.argv[2])
assert set(theirs) == set(ours), set(theirs) ^ set(ours)
for name, (shape, data) in ours.items():
    same = sorted(struct.iter_unpack("<f", data)) == sorted(struct.iter_unpack("<f", theirs[name][1]))
    assert same != name.startswith("linear."), name
' "$given/resnet20_cifar10.safetensors" \
    "$SCRATCH/tuned/checkpoint-4/model-00001-of-00001.safetensors"

"$TALWEG" eval "$job" --set model.init_layout=talweg > "$SCRATCH/out" 2> "$SCRATCH/err"
equal "in the other layout: eval ends with" $? 1
contains "it names tensor and shapes" "$SCRATCH/err" \
    'conv1.weight", has shape \[16, 3, 3, 3\]; expected \[3, 3, 3, 16\]'
finish
