#!/usr/bin/env bash
# Machines are cut off for some seconds, in network namespaces: a worker, a server that has a
# backup, the coordinator.  The run goes on or waits, and ends with the same digest.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
[ "$(id -u)" -eq 0 ] || skip "only root can make network namespaces"
STEPS=60000
SIZED=(--set job.epochs=0 --set "job.steps=$STEPS")
name=tw$((BASHPID % 100000))
net=10.213.$((BASHPID % 200 + 20))
hosts=(c p0 p1 w0 w1)

test_cleanup() {
    local host
    for host in "${hosts[@]}" hub; do
        ip netns del "$name-$host" 2> /dev/null
    done
}

# The bridge has a namespace of its own: this machine's may filter what crosses one.
hub() { ip -n "$name-hub" "$@"; }
ip netns add "$name-hub" 2> /dev/null || skip "no network namespace can be made here"
hub link add bridge type bridge 2> /dev/null && hub link set bridge up ||
    skip "no bridge can be made here"
number=1
for host in "${hosts[@]}"; do
    space=$name-$host
    ip netns add "$space"
    hub link add "$host" type veth peer name eth0 netns "$space" ||
        skip "no link between network namespaces can be made here"
    hub link set "$host" master bridge up
    ip -n "$space" link set lo up
    ip -n "$space" addr add "$net.$number/24" dev eth0
    ip -n "$space" link set eth0 up
    number=$((number + 1))
done

# on HOST LOG COMMAND...: in its namespace, in the background.
on() {
    local host=$1 log=$2
    shift 2
    start "$log" ip netns exec "$name-$host" "$@"
}
cut() { hub link set "$1" down; }
heal() { hub link set "$1" up; }

reference
out=$SCRATCH/run
coordinator=tcp://$net.1:7077
sets=(--servers=2 --workers=2 "${SIZED[@]}" --set=cluster.insecure=true --set=cluster.replicas=1
    --set=exchange.shared_memory=false # which no cut of a network would cut
    --set=cluster.beat_ms=100)         # so that enough are known by the first cut to miss the next
mkdir -p "$out/log"
on c "$out/log/c" "$BIN/talweg-coordinator" "$DIGITS" --bind="$coordinator" --out="$out" "${sets[@]}"
TRAIN=$LAST_PID
members=()
for rank in 0 1; do
    on "p$rank" "$out/log/p$rank" "$BIN/talweg-ps" "$DIGITS" --coordinator="$coordinator" \
        --rank=$rank --bind="tcp://$net.$((2 + rank)):0" "${sets[@]}"
    members+=("$LAST_PID")
    on "w$rank" "$out/log/w$rank" "$BIN/talweg-worker" "$DIGITS" --coordinator="$coordinator" \
        --rank=$rank "${sets[@]}"
    members+=("$LAST_PID")
done

# Asked from where the coordinator is, so that an answer needs no link.
space_step() {
    ip netns exec "$name-c" "$TALWEG" status "$out" --json 2> /dev/null > "$out.status" &&
        json "$out.status" 'd["step"]'
}
is_past() {
    local step
    step=$(space_step)
    [ -n "$step" ] && [ "$step" -gt "$1" ]
}
goes_on() {
    local step
    step=$(space_step) && [ -n "$step" ] && wait_until "$1" is_past $((step + 200))
}

wait_until 30 is_past 1000 || fail "it did not start: $(tail -n 2 "$out"/log/*)"
# A worker that is back before it is missed was late, and has no lanes for half a minute.
is_lost() { space_step > /dev/null && json "$out.status" \
    'any(w["rank"] == 1 and w["state"] == "lost" for w in d["workers"])' | grep -q true; }
cut w1
sleep 1
check "a worker is cut off: the run goes on" goes_on 15
check "and it is lost" wait_until 15 is_lost
heal w1
check "and is back" wait_until 15 sh -c "ip netns exec $name-c '$TALWEG' status '$out' --json |
    python3 -c 'import json, sys
d = json.load(sys.stdin)
sys.exit(not any(w[\"rank\"] == 1 and w[\"lanes\"] > 0 for w in d[\"workers\"]))'"

is_protected() { space_step > /dev/null && [ "$(json "$out.status" 'd["protected"]')" = true ]; }
check "every block has a copy" wait_until 20 is_protected
cut p1
sleep 1
check "a server is cut off: the run goes on" goes_on 15
heal p1
check "and holds copies again" wait_until 20 is_protected

cut c
sleep 5
heal c
check "the coordinator was cut off: the run goes on" goes_on 20

finished_within 120 "$TRAIN"
equal "the coordinator ends with" $? 0 || tail -n 3 "$out"/log/*
for pid in "${members[@]}"; do
    finished_within 10 "$pid"
    equal "a member ends with" $? 0
done
equal "digest" "$(digest "$out")" "$REFERENCE"
finish
