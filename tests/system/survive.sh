#!/usr/bin/env bash
# Whichever process is killed or stopped, whenever: the run goes on to the same digest.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
reference

moments=(start 1 middle $((STEPS / 2)) end $((STEPS * 9 / 10)))

# killed ROLE RANK SERVERS: once at each moment, a run each. On a machine with other work a run may
# be over before it was seen to be near its end: it has to have ended as ever, and another is begun,
# twice at most.
killed() {
    local role=$1 rank=$2 servers=$3 i what out is_hit
    for ((i = 0; i < ${#moments[@]}; i += 2)); do
        what="$servers servers, $role killed at the ${moments[i]}"
        out=$SCRATCH/$role-$servers-${moments[i]}
        is_hit=''
        for _ in 1 2 3; do
            begin "$out" --servers "$servers" --workers 2 --set cluster.replicas=1
            comes_to_step "$out" "${moments[i + 1]}" && hit KILL "$role" "$rank" &&
                is_hit=1 && break
            ends_the_same "$what, over before it was hit" "$out"
            rm -rf "$out"
        done
        check "$what: in time" test -n "$is_hit"
        ends_the_same "$what" "$out"
        contains "$what: it says so" "$out.txt" "$role.* was killed by signal 9 .*started again as"
        contains "$what: it was started again" "$out.txt" '^restarts +1$'
    done
}

killed server 0 2
killed server 1 3
killed worker 1 2
killed coordinator "" 2

for role in server worker coordinator; do
    out=$SCRATCH/$role-stopped
    begin "$out" --servers 2 --workers 2 --set cluster.replicas=1
    at_step "$out" $((STEPS / 3)) && check "$role stopped for 4 s: in time" hit STOP "$role" 0
    end=$((EPOCHSECONDS + 4))
    before=$(step_of "$out")
    [ "$role" = coordinator ] ||
        check "$role stopped for 4 s: the others go on" \
            wait_until 4 is_at_step "$out" $((${before:-$STEPS} + 100))
    while [ "$EPOCHSECONDS" -le "$end" ]; do sleep 0.2; done
    hit CONT "$role" 0
    ends_the_same "$role stopped for 4 s" "$out"
    check "$role stopped for 4 s: nothing was started again" \
        sh -c "! grep -q '^restarts' '$out.txt'"
done

# Without copies the weights go back to a checkpoint, and the steps since are done again.
out=$SCRATCH/rollback
begin "$out" --servers 2 --workers 2 --set checkpoint.every=1000
at_step "$out" $((STEPS / 2)) && check "server without a backup killed: in time" hit KILL server 1
wait_until 20 status_is "$out" 'd["era"] == 2' || fail "no new era: $(cat "$out.status")"
contains "server without a backup killed: from a checkpoint, not from the beginning" \
    "$out/log/coordinator.log" 'ev=back era=2 step=[1-9][0-9]*000 '
ends_the_same "server without a backup killed" "$out"

finish
