# The roles of a cluster started one by one, as on several machines.  Sourced after lib.sh.
# shellcheck shell=bash

# by_hand OUT tcp|unix ORDER [ARGUMENT...]: ORDER lists c (coordinator), p0 p1 ... (servers) and
# w0 w1 ... (workers) in the order of their start; arguments go to all of them.  Returns 0 when all
# of them ended with 0 within two minutes.
by_hand() {
    local out=$1 transport=$2 order=$3 role rank coordinator pids=() pid code=0
    local servers=0 workers=0 sockets
    shift 3
    sockets=$(mktemp -d "$SCRATCH/sockets.XXXX")
    mkdir -p "$out/log"
    coordinator=ipc://$sockets/coordinator
    [ "$transport" = tcp ] && coordinator=tcp://127.0.0.1:$(free_port)
    for role in $order; do
        case $role in
        p*) servers=$((servers + 1)) ;;
        w*) workers=$((workers + 1)) ;;
        esac
    done
    set -- --servers="$servers" --workers="$workers" "$@"
    for role in $order; do
        rank=${role:1}
        case $role in
        c)
            start "$out/log/coordinator.out" "$BIN/talweg-coordinator" "$DIGITS" \
                --bind="$coordinator" --out="$out" --log="$out/log/coordinator.log" "$@"
            ;;
        p*)
            if [ "$transport" = tcp ]; then
                set -- --bind=tcp://127.0.0.1:0 "$@"
            else
                set -- --bind="ipc://$sockets/server-$rank" "$@"
            fi
            start "$out/log/server-$rank.out" "$BIN/talweg-ps" "$DIGITS" --rank="$rank" \
                --coordinator="$coordinator" --log="$out/log/server-$rank.log" "$@"
            shift
            ;;
        w*)
            start "$out/log/worker-$rank.out" "$BIN/talweg-worker" "$DIGITS" --rank="$rank" \
                --coordinator="$coordinator" --log="$out/log/worker-$rank.log" "$@"
            ;;
        esac
        pids+=("$LAST_PID")
        sleep 0.2
    done
    for pid in "${pids[@]}"; do
        finished_within 120 "$pid" || code=$?
    done
    [ "$code" -eq 0 ] || tail -n 3 "$out"/log/*.out
    return "$code"
}
