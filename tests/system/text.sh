#!/usr/bin/env bash
# A text is learned and written on: the same bits whoever trains, from the file and from its parts;
# generate says the same for the same seed, and refuses what the training text does not have.
. "$(dirname "$0")/lib.sh"

python3 - "$SCRATCH" << 'EOF'
import gzip, random, sys
random.seed(2)
words = "ein zwei drei vier fünf sechs sieben acht neun zehn".split()
text = "".join(words[i % 10] + ("\n" if i % 10 == 9 else " ") for i in range(4000))
open(sys.argv[1] + "/count.txt", "w", encoding="utf-8").write(text)
with gzip.open(sys.argv[1] + "/count.txt.gz", "wt", encoding="utf-8") as out:
    out.write(text)
EOF
cat > "$SCRATCH/count.cfg" << 'EOF'
job = { name = "count"; batch = 32; lanes = 4; epochs = 6; };
data = { train_inputs = "count.txt"; sequence = 32; test_fraction = 0.1; };
model = { operators = ( { op = "embedding"; units = 16; }, { op = "lstm"; units = 48; },
                        { op = "dense"; init = "xavier"; } ); };
optimizer = { kind = "adam"; rate = 0.01; };
EOF
job=$SCRATCH/count.cfg

digest() { json "$SCRATCH/$1/summary.json" 'd["digest"]'; }

train "$SCRATCH/one" "$job" --workers 1 --servers 1
equal "train ends with" $? 0 || cat "$SCRATCH/one.txt"
equal "what comes next is known nine times in ten" \
    "$(json "$SCRATCH/one/summary.json" 'd["test_accuracy"] >= 0.9')" true
train "$SCRATCH/many" "$job" --workers 3 --servers 2
equal "digest with three workers and two servers" "$(digest many)" "$(digest one)"
train "$SCRATCH/packed" "$job" --set "data.train_inputs=$SCRATCH/count.txt.gz" \
    --set data.memory_bytes=0
equal "digest of the packed text, read from its spool" "$(digest packed)" "$(digest one)"
"$TALWEG" shard "$SCRATCH/count.txt" --out "$SCRATCH/parts" --parts 3 > "$SCRATCH/shard.txt"
equal "shard ends with" $? 0
contains "shard counts characters" "$SCRATCH/shard.txt" '3 parts, .* of \|u1 \(19 kinds of characters\)'
train "$SCRATCH/cut" "$job" --set "data.train_inputs=$SCRATCH/parts"
equal "digest of its parts" "$(digest cut)" "$(digest one)"

generate() { "$TALWEG" generate "$job" --checkpoint "$SCRATCH/one" "$@" 2> "$SCRATCH/err"; }
generate --prompt "ein zwei " --length 200 > "$SCRATCH/a"
equal "generate ends with" $? 0 || cat "$SCRATCH/err"
contains "generate goes on with the text" "$SCRATCH/a" '^ein zwei drei vier fünf'
equal "characters written after the prompt" "$(python3 -c '
import sys; print(len(open(sys.argv[1], encoding="utf-8").read()))' "$SCRATCH/a")" 209
generate --prompt "ein zwei " --length 200 > "$SCRATCH/b"
check "the same seed writes the same" cmp "$SCRATCH/a" "$SCRATCH/b"
generate --prompt "ein zwei " --length 200 --set "data.train_inputs=$SCRATCH/parts" > "$SCRATCH/b"
check "so does the same with the characters of the parts" cmp "$SCRATCH/a" "$SCRATCH/b"
generate --length 200 --temperature 5 > "$SCRATCH/c"
generate --length 200 --temperature 5 --seed 2 > "$SCRATCH/d"
check "another seed writes another" sh -c '! cmp -s "$0" "$1"' "$SCRATCH/c" "$SCRATCH/d"
generate --length 200 --temperature 5 --top-k 1 > "$SCRATCH/c"
generate --length 200 --temperature 0 > "$SCRATCH/d"
check "the likeliest alone, said in two ways" cmp "$SCRATCH/c" "$SCRATCH/d"

generate --prompt "eins, zwei" > "$SCRATCH/out"
equal "a character that the text lacks: generate ends with" $? 1
contains "it names the character" "$SCRATCH/err" "character 5 is ',', U\+002C"
generate --prompt "" > "$SCRATCH/out"
equal "an empty prompt: generate ends with" $? 2
generate --prompt "$(printf 'ein \303')" > "$SCRATCH/out"
equal "no UTF-8: generate ends with" $? 1
contains "it names the byte" "$SCRATCH/err" 'character 5 starts with the byte 0xc3'
generate > /dev/full
equal "a full disk: generate ends with" $? 1
contains "a full disk: it says so" "$SCRATCH/err" 'No space left'

"$TALWEG" eval "$job" --checkpoint "$SCRATCH/one" > "$SCRATCH/eval.txt"
contains "eval prints the perplexity" "$SCRATCH/eval.txt" '^perplexity +1\.[0-9]'
printf 'ein zwei drei, vier\n%s' "$(head -n 3 "$SCRATCH/count.txt")" > "$SCRATCH/test.txt"
train "$SCRATCH/odd" "$job" --set data.test_fraction=0 --set "data.test_inputs=$SCRATCH/test.txt"
equal "a test text with a new character: train ends with" $? 1
contains "it names file, line and character" "$SCRATCH/odd.txt" \
    "test.txt:1: character 14 of the line: found ',', U\+002C"

finish
