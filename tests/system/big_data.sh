#!/usr/bin/env bash
# A data set ten times larger than the memory that each process may have trains.
. "$(dirname "$0")/lib.sh"

limit_mib=${TALWEG_BIG_LIMIT_MIB:-512}
data_mib=$((limit_mib * 10))
free_mib=$(df --output=avail -m "$SCRATCH" | tail -n 1)
[ "$free_mib" -gt $((data_mib / 8 + 500)) ] || skip "the data do not fit $SCRATCH"

# A file with holes is as large to whoever reads it: one page in sixteen is on the disk.
rows=$((data_mib * 16))
mkdir "$SCRATCH/data"
python3 - "$SCRATCH/data" "$rows" << 'EOF'
import struct, sys
folder, rows = sys.argv[1], int(sys.argv[2])
with open(folder + "/inputs", "wb") as out:
    out.write(struct.pack(">IIII", 0x803, rows, 256, 256))
    for row in range(rows):
        out.seek(16 + row * 65536 + (row % 2) * 32768)
        out.write(b"\xff" * 512)
    out.truncate(16 + rows * 65536)
with open(folder + "/labels", "wb") as out:
    out.write(struct.pack(">II", 0x801, rows))
    out.write(bytes(row % 2 for row in range(rows)))
EOF
cat > "$SCRATCH/big.cfg" << 'EOF'
job = { name = "big"; batch = 64; steps = 60; };
data = { train_inputs = "data/inputs"; train_labels = "data/labels"; test_fraction = 0.01;
         scale = 0.00392; };
model = { loss = "softmax_cross_entropy";
          operators = ( { op = "flatten"; }, { op = "dense"; units = 2; } ); };
optimizer = { kind = "sgd"; rate = 0.01; };
EOF
size=$(stat --format %s "$SCRATCH/data/inputs")
check "$((size >> 20)) MiB of data, $limit_mib MiB of memory" \
    test "$size" -ge $((limit_mib * 10485760))
(
    ulimit -v $((limit_mib * 1024))
    "$TALWEG" train "$SCRATCH/big.cfg" --servers 1 --workers 2 --out "$SCRATCH/run" --quiet
) > "$SCRATCH/run.txt" 2>&1
equal "train under ulimit -v ends with" $? 0 || cat "$SCRATCH/run.txt"
check "it has learnt" test "$(json "$SCRATCH/run/summary.json" 'd["test_accuracy"] > 0.95')" = true
peak=$(json "$SCRATCH/run/summary.json" 'd["peak_rss_bytes"]["worker"]')
check "a worker's peak of $((peak >> 20)) MiB is under the limit" \
    test "$peak" -lt $((limit_mib << 20))

# The limit is a limit: with no room at all the same command fails, with a sentence.
(
    ulimit -v 30000
    "$TALWEG" train "$SCRATCH/big.cfg" --servers 1 --workers 1 --out "$SCRATCH/tiny" --quiet
) > "$SCRATCH/tiny.txt" 2>&1
check "30 MB are too few: train fails" test $? -ne 0
check "30 MB are too few: it says something" test -s "$SCRATCH/tiny.txt"

finish
