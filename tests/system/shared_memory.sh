#!/usr/bin/env bash
# Payloads in shared memory: the same bits as through sockets; nothing is left behind by who is
# killed; a host that cannot share memory goes through sockets and says so.
. "$(dirname "$0")/lib.sh"

# trained NAME ARGUMENT...: trains, and prints the digest of the final weights.
trained() {
    local name=$1
    shift
    "$TALWEG" train "$DIGITS" --out "$SCRATCH/$name" "$@" > "$SCRATCH/$name.txt" 2>&1 &&
        json "$SCRATCH/$name/summary.json" 'd["digest"]'
}

mkdir "$SCRATCH/doors"
sharing=(--set "exchange.shared_folder=\"$SCRATCH/doors\"")
undisturbed=$(trained sockets --set exchange.shared_memory=false)
check "through sockets it trains" test -n "$undisturbed"
equal "through sockets no door is opened" "$(ls -A "$SCRATCH/doors")" ''
for shape in 1x1 2x3 3x2; do
    equal "servers x workers $shape in shared memory: the same bits" \
        "$(trained "shared-$shape" --servers "${shape%x*}" --workers "${shape#*x}" \
            "${sharing[@]}")" "$undisturbed"
done
for bytes in 4096 16384; do
    equal "blocks of $bytes bytes in shared memory: the same bits" \
        "$(trained "blocks-$bytes" --servers 2 --workers 2 --set "exchange.block_bytes=$bytes" \
            "${sharing[@]}")" "$undisturbed"
    equal "the same through sockets" \
        "$(trained "blocks-$bytes-sockets" --servers 2 --workers 2 \
            --set "exchange.block_bytes=$bytes" --set exchange.shared_memory=false)" "$undisturbed"
done
equal "doors that are left" "$(ls -A "$SCRATCH/doors"/talweg-*)" ''
equal "who may enter" "$(stat -c %a "$SCRATCH/doors"/talweg-*)" 700

equal "no folder to meet in: the same bits" \
    "$(trained nowhere --set 'exchange.shared_folder="/proc/nowhere"')" "$undisturbed"
check "and a line of log says so" grep -qr 'ev=no_shared_memory' "$SCRATCH/nowhere"

# A server that is killed leaves its door; the next to come sweeps it away.
start "$SCRATCH/killed.txt" "$TALWEG" train "$DIGITS" --servers 2 --workers 2 \
    --set cluster.replicas=1 "${sharing[@]}" --set job.epochs=0 --set job.steps=1000000 \
    --out "$SCRATCH/killed"
train_pid=$LAST_PID
is_sharing() {
    "$TALWEG" status "$SCRATCH/killed" --json > "$SCRATCH/status.json" 2> "$SCRATCH/out" &&
        [ "$(json "$SCRATCH/status.json" 'd["phase"] == "training" and d["step"] > 100 and
            {l["transport"] for w in d["workers"] for l in w["links"]} == {"shm"}')" = true ]
}
check "memory is shared" wait_until 30 is_sharing
equal "a door for each of two servers and two workers" \
    "$(ls "$SCRATCH/doors"/talweg-* | wc -l)" 4
kill -KILL "$(json "$SCRATCH/status.json" 'd["servers"][0]["pid"]')"
is_whole_again() {
    is_sharing && [ "$(ls "$SCRATCH/doors"/talweg-* | wc -l)" = 4 ] &&
        [ "$(json "$SCRATCH/status.json" 'len([s for s in d["servers"]
            if s["state"] == "serving"])')" = 2 ]
}
check "a server is killed: its successor shares memory, its door is gone" wait_until 60 \
    is_whole_again
kill -INT "$train_pid"
finished_within 30 "$train_pid"
equal "doors that are left at the end" "$(ls -A "$SCRATCH/doors"/talweg-*)" ''
finish
