#!/usr/bin/env bash
# What was trained can be used: eval gives the accuracy that the run ended with, predict a line a
# sample, for the test part, for a file without labels, for classes that are words, for numbers.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_data.sh"

train "$SCRATCH/digits" "$DIGITS"
equal "train ends with" $? 0
"$TALWEG" eval "$DIGITS" --checkpoint "$SCRATCH/digits" > "$SCRATCH/eval.txt"
equal "eval ends with" $? 0
contains "eval prints the loss" "$SCRATCH/eval.txt" '^loss +0\.'
contains "eval prints the accuracy" "$SCRATCH/eval.txt" '^accuracy +9[0-9]\.'
"$TALWEG" eval "$DIGITS" --checkpoint "$SCRATCH/digits" --json > "$SCRATCH/eval.json"
equal "accuracy of eval" "$(json "$SCRATCH/eval.json" 'd["accuracy"]')" \
    "$(json "$SCRATCH/digits/summary.json" 'd["test_accuracy"]')"
equal "loss of eval, to six digits" "$(json "$SCRATCH/eval.json" '"%.6g" % d["loss"]')" \
    "$(json "$SCRATCH/digits/summary.json" '"%.6g" % d["test_loss"]')"

"$TALWEG" predict "$DIGITS" --checkpoint "$SCRATCH/digits" --out "$SCRATCH/p.csv"
equal "predict ends with" $? 0
equal "its head" "$(head -n 1 "$SCRATCH/p.csv")" index,class,p0,p1,p2,p3,p4,p5,p6,p7,p8,p9
equal "lines, a head and a line a sample" "$(wc -l < "$SCRATCH/p.csv")" \
    "$(json "$SCRATCH/eval.json" 'd["samples"] + 1')"
check "probabilities add up to 1, the class is the likeliest" python3 -c '
import csv, sys
for row in csv.DictReader(open(sys.argv[1])):
    p = [float(row["p%d" % i]) for i in range(10)]
    assert abs(sum(p) - 1) < 1e-5 and p.index(max(p)) == int(row["class"]), row
' "$SCRATCH/p.csv"
"$TALWEG" predict "$DIGITS" --checkpoint "$SCRATCH/digits" > "$SCRATCH/stdout.csv"
check "the same on stdout" cmp "$SCRATCH/p.csv" "$SCRATCH/stdout.csv"
"$TALWEG" predict "$DIGITS" --checkpoint "$SCRATCH/digits" > /dev/full 2> "$SCRATCH/full.txt"
equal "a full disk: predict ends with" $? 1
contains "a full disk: it says so" "$SCRATCH/full.txt" 'No space left'

# A file without labels: the digits' own rows, with and without the label's column.
data=$ROOT/deploy/data/digits.csv.gz
python3 - "$data" "$SCRATCH/bare.csv" << 'EOF'
import csv, gzip, sys
rows = list(csv.reader(gzip.open(sys.argv[1], "rt")))
label = rows[0].index("label")
with open(sys.argv[2], "w") as out:
    for row in rows:
        out.write(",".join(cell for i, cell in enumerate(row) if i != label) + "\n")
EOF
for input in "$data" "$SCRATCH/bare.csv"; do
    "$TALWEG" predict "$DIGITS" --checkpoint "$SCRATCH/digits" --input "$input" \
        > "$SCRATCH/$(basename "$input").out" 2> "$SCRATCH/err"
    equal "$(basename "$input"): predict ends with" $? 0 || cat "$SCRATCH/err"
done
equal "every row is predicted" "$(wc -l < "$SCRATCH/bare.csv.out")" \
    "$(wc -l < "$SCRATCH/bare.csv")"
check "the label's column plays no part" cmp "$SCRATCH/digits.csv.gz.out" "$SCRATCH/bare.csv.out"

# Classes that are words, and a regression.
python3 - "$SCRATCH" << 'EOF'
import random, sys
random.seed(3)
with open(sys.argv[1] + "/words.csv", "w") as words, open(sys.argv[1] + "/reals.csv", "w") as reals:
    words.write("a,b,kind\n")
    reals.write("a,b,y\n")
    for _ in range(400):
        a, b = random.gauss(0, 1), random.gauss(0, 1)
        words.write("%.4f,%.4f,%s\n" % (a, b, "left" if a < b else "right"))
        reals.write("%.4f,%.4f,%.4f\n" % (a, b, 2 * a - b + 0.5))
EOF
job() {
    cat << EOF
job = { name = "$1"; batch = 32; steps = 200; };
data = { train_inputs = "$1.csv"; test_fraction = 0.2; };
model = { loss = "$2"; operators = ( { op = "dense"; units = $3; } ); };
optimizer = { kind = "adam"; rate = 0.05; };
EOF
}
job words softmax_cross_entropy 2 > "$SCRATCH/words.cfg"
job reals mean_squared_error 1 > "$SCRATCH/reals.cfg"
for name in words reals; do
    train "$SCRATCH/$name" "$SCRATCH/$name.cfg"
    equal "$name: train ends with" $? 0 || cat "$SCRATCH/$name.txt"
    "$TALWEG" predict "$SCRATCH/$name.cfg" --checkpoint "$SCRATCH/$name" \
        > "$SCRATCH/$name.out" 2>&1
    equal "$name: predict ends with" $? 0 || cat "$SCRATCH/$name.out"
done
contains "words come out as words" "$SCRATCH/words.out" '^[0-9]+,(left|right),'
equal "head of a regression" "$(head -n 1 "$SCRATCH/reals.out")" index,y0
"$TALWEG" eval "$SCRATCH/reals.cfg" --checkpoint "$SCRATCH/reals" --json > "$SCRATCH/eval.json"
equal "a regression has no accuracy" "$(json "$SCRATCH/eval.json" 'd["accuracy"]')" null

"$TALWEG" predict "$DIGITS" --checkpoint "$SCRATCH/digits" --set data.test_fraction=0 \
    > "$SCRATCH/out" 2>&1
equal "no test part: predict ends with" $? 1
contains "no test part: it says so" "$SCRATCH/out" 'no test part'

# A checkpoint of another network, and none at all.
"$TALWEG" eval "$SCRATCH/words.cfg" --checkpoint "$SCRATCH/digits" > "$SCRATCH/other.txt" 2>&1
equal "another network: eval ends with" $? 1
contains "another network: it says which shapes" "$SCRATCH/other.txt" '64'
"$TALWEG" eval "$DIGITS" --checkpoint "$SCRATCH" > "$SCRATCH/none.txt" 2>&1
equal "no checkpoint: eval ends with" $? 1
contains "no checkpoint: it names the folder" "$SCRATCH/none.txt" "$SCRATCH"

finish
