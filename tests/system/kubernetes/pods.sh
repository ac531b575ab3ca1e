# Pods on this machine: each a process in mount, process, host name and network namespaces of its
# own, with what pods.py makes of a manifest.  Sourced after lib.sh, with $python set.
# shellcheck shell=bash
declare -A POD_ADDRESS POD_PID
pods_name=tk$((BASHPID % 100000))

test_cleanup() {
    local pod
    for pod in "${!POD_ADDRESS[@]}"; do ip netns del "$pods_name-${POD_ADDRESS[$pod]##*.}"; done
    ip netns del "$pods_name-hub"
} 2> /dev/null

pod_space() { echo "$pods_name-${POD_ADDRESS[$1]##*.}"; }

# pods_begin FOLDER POD...: a network namespace for each, all on one bridge.  Fails when the machine
# does not allow it.
pods_begin() {
    local pod space number=1 net=10.214.$((BASHPID % 200 + 20))
    PODS=$1
    shift
    command -v nft > /dev/null && command -v setpriv > /dev/null || return 1
    ip netns add "$pods_name-hub" 2> /dev/null || return 1
    ip -n "$pods_name-hub" link add bridge type bridge 2> /dev/null &&
        ip -n "$pods_name-hub" link set bridge up || return 1
    for pod in "$@"; do
        POD_ADDRESS[$pod]=$net.$number
        space=$(pod_space "$pod")
        ip netns add "$space" &&
            ip -n "$pods_name-hub" link add "p$number" type veth peer name eth0 netns "$space" &&
            ip -n "$pods_name-hub" link set "p$number" master bridge up || return 1
        ip -n "$space" link set lo up
        ip -n "$space" addr add "$net.$number/24" dev eth0
        ip -n "$space" link set eth0 up
        number=$((number + 1))
    done
    ip netns exec "$space" unshare --mount --uts --pid --fork nft list ruleset > /dev/null 2>&1
}

# pods_apply MANIFEST: what the pods are to be; of those that are there, what they mount changes.
pods_apply() {
    local pod words=()
    for pod in "${!POD_ADDRESS[@]}"; do
        [ "$pod" = stranger ] || words+=("$pod=${POD_ADDRESS[$pod]}")
    done
    "$python" "$ROOT/tests/system/kubernetes/pods.py" "$1" "$PODS" "${words[@]}"
}

# pods_renew MANIFEST: all are made anew; claims stay.
pods_renew() {
    local pod
    for pod in "${!POD_ADDRESS[@]}"; do rm -rf "${PODS:?}/$pod"; done
    pods_apply "$1"
}

pods_claim() { echo "$PODS/claims/$1"; }
pod_log() { echo "$PODS/$1.log"; }
pod_says() { grep -q -- "$2" "$(pod_log "$1")"; }

# pod_start POD: its container, as on its first day or after it ended.
pod_start() {
    start "$(pod_log "$1")" ip netns exec "$(pod_space "$1")" unshare --mount --uts --pid --fork \
        --kill-child bash "$ROOT/tests/system/kubernetes/inside.sh" "$PODS/$1" "$BIN" "$ROOT"
    POD_PID[$1]=$LAST_PID
}

# The first process of the container.
pod_first() { pgrep -P "${POD_PID[$1]}"; }

pod_signal() { kill "-$2" "$(pod_first "$1")"; }

# pod_ended POD SECONDS: the container's exit code; 124 when it is still there.
pod_ended() { finished_within "$2" "${POD_PID[$1]}"; }

pods_end() {
    local pod
    for pod in "${!POD_PID[@]}"; do
        pod_signal "$pod" KILL
        wait "${POD_PID[$pod]}"
    done 2> /dev/null
}

# pod_exec POD COMMAND...: in the container, as its user, as kubectl exec does.
pod_exec() {
    local first environment
    first=$(pod_first "$1") || return 1
    mapfile -d '' -t environment < "$PODS/$1/environment"
    shift
    env -i "${environment[@]}" nsenter --target "$first" --mount --uts --pid --net --root --wd \
        --setuid 10001 --setgid 10001 -- "$@"
}

# pod_probe POD PROBE: what the kubelet would ask, once.
pod_probe() {
    local command
    mapfile -d '' -t command < "$PODS/$1/$2"
    pod_exec "$1" "${command[@]}" > "$PODS/$1.$2" 2>&1
}

# pod_reaches POD POD PORT: whether a connection can be made, by the network policies of both.
pod_reaches() {
    ip netns exec "$(pod_space "$1")" timeout 1 bash -c "exec 3<> /dev/tcp/${POD_ADDRESS[$2]}/$3" \
        2> /dev/null
}
