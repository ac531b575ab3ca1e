#!/usr/bin/env bash
# Workers and servers come late and go early; the digest stays.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
STEPS=40000
SIZED=(--set job.epochs=0 --set "job.steps=$STEPS" --set exchange.block_bytes=4096)
reference
out=$SCRATCH/run
begin "$out" --servers 2 --workers 2 --set cluster.replicas=1
at_step "$out" 1000
coordinator=$(json "$out/run.json" 'd["coordinator"]')
late=(--coordinator="$coordinator" --servers=2 --workers=2 "${SIZED[@]}" --set cluster.replicas=1)

start "$SCRATCH/worker.out" "$BIN/talweg-worker" "$DIGITS" "${late[@]}"
late_worker=$LAST_PID
check "a third worker is given lanes" wait_until 15 status_is "$out" \
    'any(w["pid"] == '"$late_worker"' and w["lanes"] > 0 for w in d["workers"])'
start "$SCRATCH/server.out" "$BIN/talweg-ps" "$DIGITS" "${late[@]}" --bind="ipc://$SCRATCH/late"
late_server=$LAST_PID
check "a third server is given blocks" wait_until 15 status_is "$out" \
    'any(s["pid"] == '"$late_server"' and s["primary_blocks"] + s["backup_blocks"] > 0
        for s in d["servers"])'
# It may have been told off for a moment as slow, where it does not get a core.
lists_late_worker() {
    "$TALWEG" status "$out" > "$SCRATCH/status.txt"
    grep -qE "^ +2 .* $late_worker +training" "$SCRATCH/status.txt"
}
check "status lists the late worker" wait_until 15 lists_late_worker

server=$(process_of server 0)
"$TALWEG" drain "$out" --server 0 > "$SCRATCH/drain.txt" 2>&1
equal "drain a server: ends with" $? 0
contains "drain a server: it says so" "$SCRATCH/drain.txt" '^server 0 has left'
check "drain a server: its process has ended" wait_until 5 is_gone "$server"
check "the run goes on" status_is "$out" "d['phase'] == 'training'"
worker=$(process_of worker 1)
"$TALWEG" drain "$out" --worker 1 > "$SCRATCH/drain.txt" 2>&1
equal "drain a worker: ends with" $? 0
check "drain a worker: its process has ended" wait_until 5 is_gone "$worker"
kill -TERM "$late_worker"
finished_within 15 "$late_worker"
equal "SIGTERM to the late worker: it ends with" $? 0
kill -TERM "$late_server"
finished_within 15 "$late_server"
lonely=$?
"$TALWEG" drain "$out" --worker 77 > "$SCRATCH/drain.txt" 2>&1
equal "drain somebody who is not there: ends with" $? 1
check "that says so in a sentence" test -s "$SCRATCH/drain.txt"
ends_the_same "late ones, early ones" "$out"
equal "SIGTERM to the late server: it ends with" "$lonely" 0
check "nobody who left in order was started again" sh -c "! grep -q '^restarts' '$out.txt'"
"$TALWEG" drain "$out" --worker 0 > "$SCRATCH/drain.txt" 2>&1
equal "drain when the run is over: ends with" $? 2
finish
