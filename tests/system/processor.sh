#!/usr/bin/env bash
# A processor with AVX-512 and one with AVX2 alone compute the same bits: small networks of many
# operators are trained here, and again under Valgrind, which shows its programs no AVX-512.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/make_data.sh"
command -v valgrind > /dev/null || skip "no valgrind"
grep -qw avx512f /proc/cpuinfo || skip "this processor has no AVX-512 itself"

make_photographs "$SCRATCH/photographs" 20
python3 -c 'print("one two three four five six seven eight nine ten " * 20)' > "$SCRATCH/count.txt"

# A direct convolution and one of Winograd's.
cat > "$SCRATCH/images.cfg" << 'END'
job = { name = "images"; batch = 8; lanes = 2; steps = 2; };
data = { train_inputs = "photographs/images.npy"; train_labels = "photographs/labels.npy";
         test_fraction = 0.1; };
model = { operators = ( { op = "conv2d"; filters = 16; kernel = 3; padding = "same"; },
                        { op = "batch_norm"; }, { op = "relu"; },
                        { op = "conv2d"; filters = 16; kernel = 3; padding = "same"; },
                        { op = "group_norm"; groups = 4; }, { op = "silu"; },
                        { op = "maxpool2d"; kernel = 2; }, { op = "flatten"; },
                        { op = "dense"; units = 40; }, { op = "tanh"; },
                        { op = "dense"; } ); };
optimizer = { kind = "adamw"; rate = 0.01; };
END
cat > "$SCRATCH/text.cfg" << 'END'
job = { name = "text"; batch = 8; lanes = 2; steps = 2; };
data = { train_inputs = "count.txt"; sequence = 40; test_fraction = 0.1; };
model = { operators = ( { op = "embedding"; units = 24; }, { op = "positional_embedding"; },
                        { op = "dense"; units = 72; },
                        { op = "self_attention"; heads = 2; causal = true; },
                        { op = "layer_norm"; }, { op = "lstm"; units = 20; },
                        { op = "gru"; units = 36; }, { op = "gelu"; }, { op = "dense"; } ); };
optimizer = { kind = "momentum"; rate = 0.1; };
END

# job NAME ARGUMENT...: the digest is the same.
job() {
    local name=$1 digest
    shift
    train "$SCRATCH/here" "$@" --servers 1 --workers 1 || cat "$SCRATCH/here.txt"
    digest=$(digest "$SCRATCH/here")
    check "$name: there is a digest" test ${#digest} -eq 64 || return
    valgrind --tool=none --trace-children=yes --quiet --log-file="$SCRATCH/valgrind" \
        "$TALWEG" train "$@" --servers 1 --workers 1 --out "$SCRATCH/there" \
        > "$SCRATCH/there.txt" 2>&1 || cat "$SCRATCH/there.txt"
    equal "$name: without AVX-512" "$(digest "$SCRATCH/there")" "$digest"
    rm -rf "$SCRATCH/here" "$SCRATCH/there"
}

job "images" "$SCRATCH/images.cfg"
job "text" "$SCRATCH/text.cfg"
# In tiles here, where there are any, and without them there.
job "text, bf16x3" "$SCRATCH/text.cfg" --set model.products=bf16x3
finish
