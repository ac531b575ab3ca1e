#!/usr/bin/env bash
# The digest of the weights depends on the job alone: not on the number of servers, shards, workers
# and threads, not on the sockets, not on who starts first, not on a stop and a resume on others.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/by_hand.sh"

train "$SCRATCH/reference" "$DIGITS" --servers 1 --workers 1 || fail "the reference run"
reference=$(digest "$SCRATCH/reference")
check "the reference has a digest" test ${#reference} -eq 64
steps=$(json "$SCRATCH/reference/summary.json" 'd["steps"]')

# compare WHAT OUT: the run in OUT ended with the reference's digest.
compare() {
    equal "$1" "$(digest "$2" 2> /dev/null)" "$reference"
    rm -rf "$2"
}

for cluster in '1 1' '1 3' '2 4' '3 8' '5 10'; do
    read -r servers workers <<< "$cluster"
    for threads in 1 2; do
        train "$SCRATCH/run" "$DIGITS" --servers "$servers" --workers "$workers" \
            --set "worker.threads=$threads" || cat "$SCRATCH/run.txt"
        compare "$servers servers, $workers workers, $threads threads" "$SCRATCH/run"
    done
done
train "$SCRATCH/run" "$DIGITS" --servers 2 --workers 3 --set cluster.shards=3
compare "2 servers of 3 shards" "$SCRATCH/run"
train "$SCRATCH/run" "$DIGITS" --servers 2 --workers 3 --set exchange.block_bytes=4096
compare "blocks of 4 KiB" "$SCRATCH/run"

# By hand, over TCP and unix sockets, whoever comes first.
for order in 'c p0 p1 w0 w1 w2' 'w2 w0 p1 w1 p0 c' 'p0 w1 c w0 w2 p1'; do
    for transport in tcp unix; do
        by_hand "$SCRATCH/run" "$transport" "$order"
        equal "by hand over $transport, $order: ended with" $? 0
        compare "by hand over $transport, $order" "$SCRATCH/run"
    done
done

# With so little credit that nearly all blocks wait, and the first layers' overtake.
little=(--set=exchange.block_bytes=4096 --set=exchange.credit_bytes=12288)
for transport in tcp unix; do
    for overlap in true false; do
        for memory in true false; do
            by_hand "$SCRATCH/run" "$transport" 'c p0 w0 w1' "${little[@]}" \
                --set=exchange.overlap=$overlap --set=exchange.shared_memory=$memory
            compare "little credit, $transport, overlap $overlap, shared memory $memory" \
                "$SCRATCH/run"
        done
    done
done

# Stopped half-way and resumed on other numbers.
half=$((steps / 2))
train "$SCRATCH/half" "$DIGITS" --servers 2 --workers 3 --set "checkpoint.every=$half" \
    --set checkpoint.keep=0
for cluster in '1 1' '3 8'; do
    read -r servers workers <<< "$cluster"
    train "$SCRATCH/run" "$DIGITS" --servers "$servers" --workers "$workers" \
        --resume "$SCRATCH/half/checkpoint-$half" || cat "$SCRATCH/run.txt"
    compare "resumed at step $half on $servers servers, $workers workers" "$SCRATCH/run"
done

# Rounded for the wire, the bits are others, and again those of the job alone.
for codec in bf16 int8; do
    train "$SCRATCH/rounded" "$DIGITS" --servers 1 --workers 1 --set "exchange.codec=$codec" \
        --set checkpoint.every=$half --set checkpoint.keep=0 || cat "$SCRATCH/rounded.txt"
    rounded=$(digest "$SCRATCH/rounded")
    check "$codec gives other bits" test "$rounded" != "$reference"
    for cluster in '1 3' '2 4' '3 8'; do
        read -r servers workers <<< "$cluster"
        train "$SCRATCH/run" "$DIGITS" --servers "$servers" --workers "$workers" \
            --set "exchange.codec=$codec" --set worker.threads=2 || cat "$SCRATCH/run.txt"
        equal "$codec on $servers servers, $workers workers" "$(digest "$SCRATCH/run")" "$rounded"
        rm -rf "$SCRATCH/run"
    done
    train "$SCRATCH/run" "$DIGITS" --servers 2 --workers 3 --set "exchange.codec=$codec" \
        --set exchange.block_bytes=4096 --set exchange.shared_memory=false \
        --set cluster.replicas=1 --set exchange.overlap=false
    equal "$codec in blocks of 4 KiB, with copies" "$(digest "$SCRATCH/run")" "$rounded"
    rm -rf "$SCRATCH/run"
    train "$SCRATCH/run" "$DIGITS" --servers 3 --workers 2 --set "exchange.codec=$codec" \
        --resume "$SCRATCH/rounded/checkpoint-$half"
    equal "$codec resumed at step $half" "$(digest "$SCRATCH/run")" "$rounded"
    rm -rf "$SCRATCH/run" "$SCRATCH/rounded"
done

# Products in parts have bits of their own, too.
train "$SCRATCH/parts" "$DIGITS" --servers 1 --workers 1 --set model.products=bf16x3 ||
    cat "$SCRATCH/parts.txt"
parts=$(digest "$SCRATCH/parts")
check "bf16x3 gives other bits" test "$parts" != "$reference"
for cluster in '1 3' '3 8'; do
    read -r servers workers <<< "$cluster"
    train "$SCRATCH/run" "$DIGITS" --servers "$servers" --workers "$workers" \
        --set model.products=bf16x3 --set worker.threads=2 || cat "$SCRATCH/run.txt"
    equal "bf16x3 on $servers servers, $workers workers" "$(digest "$SCRATCH/run")" "$parts"
    rm -rf "$SCRATCH/run"
done

# Another seed must give other bits, or all of the above says nothing.
train "$SCRATCH/run" "$DIGITS" --set job.seed=12345
check "another seed gives other bits" test "$(digest "$SCRATCH/run")" != "$reference"

finish
