# links.sh - sourced after tests/system/lib.sh: a server and two workers, each in a network namespace of
# its own. The caller makes the links between them, from "link0" and "link1" of space s to "far" of w0
# and w1, with addresses of $net. Needs root.
[ "$(id -u)" -eq 0 ] || skip "only root can make network namespaces"
command -v tc > /dev/null || skip "no tc (Debian: iproute2)"

name=tw$((BASHPID % 100000))
net=10.214.$((BASHPID % 200 + 20))
server=$net.254
test_cleanup() {
    local space
    for space in s w0 w1; do
        ip netns del "$name-$space" 2> /dev/null
    done
}

# on SPACE LOG COMMAND...: in its namespace, in the background.
on() {
    local space=$1 log=$2
    shift 2
    start "$log" ip netns exec "$name-$space" "$@"
}

# start_roles JOB OUT ARGUMENT...: all of them, of the workers those in $RANKS (0 1); $RUN is the
# coordinator's pid, $MEMBERS are the others'.
start_roles() {
    local job=$1 out=$2 rank coordinator=tcp://$server:7077
    shift 2
    mkdir -p "$out/log"
    on s "$out/log/c" "$BIN/talweg-coordinator" "$job" --bind="$coordinator" --out="$out" "$@"
    RUN=$LAST_PID
    on s "$out/log/p" "$BIN/talweg-ps" "$job" --coordinator="$coordinator" --rank=0 \
        --bind="tcp://$server:0" "$@"
    MEMBERS=("$LAST_PID")
    for rank in ${RANKS:-0 1}; do
        on "w$rank" "$out/log/w$rank" "$BIN/talweg-worker" "$job" --coordinator="$coordinator" \
            --rank=$rank "$@"
        MEMBERS+=("$LAST_PID")
    done
}

# wait_members: they end soon after the coordinator.
wait_members() {
    local pid
    for pid in "${MEMBERS[@]}"; do
        finished_within 15 "$pid"
    done
}

for space in s w0 w1; do
    ip netns add "$name-$space" 2> /dev/null || skip "no network namespace can be made here"
    ip -n "$name-$space" link set lo up
done
ip -n "$name-s" addr add "$server/32" dev lo
