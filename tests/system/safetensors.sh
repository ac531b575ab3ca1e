#!/usr/bin/env bash
# The checkpoint is read by another reader: the safetensors package gives the same weights, and the
# digest over them is that of the run.
. "$(dirname "$0")/lib.sh"

python=${TALWEG_PYTHON:-$ROOT/build-tests/venv/bin/python}
"$python" -c 'import safetensors, numpy' 2> /dev/null ||
    skip "no Python with safetensors and numpy ($python; set TALWEG_PYTHON)"

train "$SCRATCH/run" "$DIGITS" --set checkpoint.file_bytes=10000
equal "train ends with" $? 0
"$python" - "$SCRATCH"/run/checkpoint-* > "$SCRATCH/read.txt" << 'EOF'
import hashlib, json, sys
from safetensors.numpy import load_file

folder = sys.argv[1]
index = json.load(open(folder + "/model.safetensors.index.json"))
files = {name: load_file(folder + "/" + name) for name in sorted(set(index["weight_map"].values()))}
tensors = {name: files[file][name] for name, file in index["weight_map"].items()}
print("files", len(files))
print("dense1.weight", "x".join(map(str, tensors["dense1.weight"].shape)))
total = sum(tensor.nbytes for tensor in tensors.values())
print("bytes", total == index["metadata"]["total_size"])
digest = hashlib.sha256()
for name in ("dense1.weight", "dense1.bias", "dense2.weight", "dense2.bias"):
    digest.update(tensors[name].astype("<f4").tobytes())
print("digest", digest.hexdigest())
EOF
equal "reading it ends with" $? 0
contains "more than one file, as asked" "$SCRATCH/read.txt" '^files [2-9]'
contains "the shape" "$SCRATCH/read.txt" '^dense1.weight 64x64$'
contains "the index has the size" "$SCRATCH/read.txt" '^bytes True$'
contains "the digest" "$SCRATCH/read.txt" "^digest $(digest "$SCRATCH/run")$"

finish
