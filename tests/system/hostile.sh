#!/usr/bin/env bash
# A peer with a valid key that sends garbage, lies, floods, says everything again and again, or
# connects 1,000 times: the run goes on to the bits of an undisturbed one, and the processes that it
# is done to stay within their memory.  What was recorded from the wire is of no use to anybody.
STEPS=30000
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
SECONDS_EACH=2
MEMORY_MB=150
ulimit -Sn 1024 # fewer descriptors than connections; the processes ask for more
reference
keys=$SCRATCH/keys
"$TALWEG" keygen --out "$keys" --workers 2 > "$SCRATCH/keygen.txt"
port=$(free_port)
server_port=$(free_port)
server_tap=$(free_port)
out=$SCRATCH/run
start "$SCRATCH/tap" python3 "$ROOT/tests/system/tap.py" "$SCRATCH/wire" \
    "$server_tap:$server_port"
wait_until 10 grep -q ready "$SCRATCH/tap"

# begin_run STEPS: one of that length, whose worker and server speak through the tap.
begin_run() {
    sets=("${SIZED[@]}" --set="job.steps=$1" --servers=1 --workers=1 --keys="$keys")
    start "$SCRATCH/c.out" "$BIN/talweg-coordinator" "$DIGITS" --bind="tcp://127.0.0.1:$port" \
        --out="$out" --log="$SCRATCH/c.log" --fresh "${sets[@]}"
    TRAIN=$LAST_PID
    start "$SCRATCH/p.out" "$BIN/talweg-ps" "$DIGITS" --coordinator="tcp://127.0.0.1:$port" \
        --bind="tcp://127.0.0.1:$server_port" --advertise="tcp://127.0.0.1:$server_tap" \
        --log="$SCRATCH/p.log" "${sets[@]}"
    SERVER=$LAST_PID
    start "$SCRATCH/w.out" "$BIN/talweg-worker" "$DIGITS" --coordinator="tcp://127.0.0.1:$port" \
        --rank=0 --log="$SCRATCH/w.log" "${sets[@]}"
    WORKER=$LAST_PID
}
# hostile ARGUMENT...: has descriptors enough for its crowd.
hostile() (
    ulimit -Sn "$(ulimit -Hn)"
    exec timeout 60 "$BIN/hostile" "$keys" 1 "$@"
)
peak_mb() { awk '/VmHWM/ { print int($2 / 1024) }' "/proc/$1/status"; }
# bother WHAT: both listeners at once.
bother() {
    local before after
    before=$(step_of "$out")
    hostile "tcp://127.0.0.1:$server_port" shard "$SECONDS_EACH" "$1" > "$SCRATCH/shard.txt" 2>&1 &
    hostile "tcp://127.0.0.1:$port" coordinator "$SECONDS_EACH" "$1" \
        > "$SCRATCH/coordinator.txt" 2>&1
    equal "$1: the hostile peer ends with" $? 0
    wait $!
    after=$(step_of "$out")
    check "$1: $(cat "$SCRATCH/shard.txt" "$SCRATCH/coordinator.txt" | tr '\n' ' ')" \
        grep -q 'sent [1-9]' "$SCRATCH/shard.txt"
    check "$1: the run went on, from step $before to $after" test "${after:-0}" -gt "$before"
    check "$1: the server takes $(peak_mb "$SERVER") MB" \
        test "$(peak_mb "$SERVER")" -lt "$MEMORY_MB"
    check "$1: the coordinator takes $(peak_mb "$TRAIN") MB" \
        test "$(peak_mb "$TRAIN")" -lt "$MEMORY_MB"
}

begin_run 1000000
at_step "$out" 100
for what in garbage lies replay crowd flood; do
    bother "$what"
done

# What a worker said to the server, said once more by whoever has recorded it.
python3 - "$SCRATCH/wire.said" "$server_port" << 'PY'
import socket, sys
said = open(sys.argv[1], "rb").read(1 << 20)
for _ in range(20):
    with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as s:
        s.settimeout(5)
        try:
            s.sendall(said)
            while s.recv(1 << 16):
                pass
        except OSError:
            pass
PY
wait_until 10 grep -q 'key_refused' "$SCRATCH/p.log"
contains "a recording is refused" "$SCRATCH/p.log" 'ev=key_refused from=[^ ]+ key=none'
before=$(step_of "$out")
sleep 0.5
check "the run goes on" test "$(step_of "$out")" -gt "$before"

# The bits: a run of known length, bothered all along.
kill -TERM "$TRAIN"
for pid in "$TRAIN" "$SERVER" "$WORKER"; do
    finished_within 20 "$pid"
done
begin_run "$STEPS"
at_step "$out" 50
SECONDS_EACH=1
for what in lies replay garbage; do
    is_gone "$TRAIN" || hostile "tcp://127.0.0.1:$server_port" shard 1 \
        "$what" > "$SCRATCH/shard.txt" 2>&1
done
for pid in "$TRAIN" "$SERVER" "$WORKER"; do
    finished_within 120 "$pid"
    equal "a process of the run ends with" $? 0
done
equal "the digest" "$(digest "$out")" "$REFERENCE"
finish
