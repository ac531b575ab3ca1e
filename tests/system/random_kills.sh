#!/usr/bin/env bash
# random_kills.sh [RUNS [SEED]]: runs in which processes of any role are killed at random moments;
# all of them end with the digest of the undisturbed one.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
runs=${1:-10}
seed=${2:-1}
reference

# disturb SEED: one to four kills, as long as the run lasts; says what it did.
disturb() {
    local count i victim rank
    RANDOM=$1
    count=$((1 + RANDOM % 4))
    for ((i = 0; i < count; i++)); do
        sleep "$((RANDOM % 2)).$((100 + RANDOM % 900))"
        case $((RANDOM % 5)) in
        0) victim=coordinator rank= ;;
        1 | 2) victim=server rank=$((RANDOM % 3)) ;;
        *) victim=worker rank=$((RANDOM % 3)) ;;
        esac
        is_gone "$TRAIN" && return
        hit KILL "$victim" "$rank" 2> /dev/null && printf '%s%s ' "$victim" "${rank:+ $rank}"
    done
}

all=
for ((run = 0; run < runs; run++)); do
    out=$SCRATCH/$run
    begin "$out" --servers 3 --workers 3 --set cluster.replicas=1 --set checkpoint.every=2000
    killed=$(disturb $((seed + run)))
    all+=$killed
    ends_the_same "seed $((seed + run)), killed: ${killed:-nobody}" "$out"
done
check "somebody was killed, all in all" test -n "$all"
finish
