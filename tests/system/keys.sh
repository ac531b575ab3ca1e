#!/usr/bin/env bash
# Keys: who has none, or one that is not on the list, is refused within a second and told why; who is
# taken off the list is cut off within seconds, and the run goes on to the bits of an undisturbed one;
# what goes over the wire cannot be read.
. "$(dirname "$0")/lib.sh"
STEPS=60000
. "$(dirname "$0")/faults.sh"
reference

# keygen: what is made, and that a second time adds what is missing and keeps the rest.
keys=$SCRATCH/keys
"$TALWEG" keygen --out "$keys" --workers 2 > "$SCRATCH/keygen.txt"
equal "keygen ends with" $? 0
equal "keys on the list" "$(grep -vc '^#' "$keys/allowed")" 5
equal "secret keys are for their owner alone" "$(stat -c %a "$keys"/*.key | sort -u)" 600
before=$(sha256sum "$keys"/*.key)
"$TALWEG" keygen --out "$keys" --workers 3 > "$SCRATCH/keygen.txt"
equal "one more: keys on the list" "$(grep -vc '^#' "$keys/allowed")" 6
check "the keys from before are the same" test \
    "$(sha256sum "$keys"/{client,coordinator,server,worker-0,worker-1}.key)" = "$before"
"$TALWEG" keygen > "$SCRATCH/out" 2>&1
equal "keygen without a folder ends with" $? 2

# A stranger knows the cluster's public keys, and has a worker's key that is on his own list alone.
stranger=$SCRATCH/stranger
mkdir -m 700 "$stranger"
"$TALWEG" keygen --out "$SCRATCH/elsewhere" > "$SCRATCH/keygen.txt"
grep -hE '^(coordinator|server) ' "$keys/allowed" > "$stranger/allowed"
grep -hE '^(worker|client) ' "$SCRATCH/elsewhere/allowed" >> "$stranger/allowed"
cp "$SCRATCH"/elsewhere/{worker,client}.key "$stranger"

# A run of three workers that speak over TCP; --workers 3 is what it waits for, two may go.
port=$(free_port)
address=tcp://127.0.0.1:$port
out=$SCRATCH/run
sets=("${SIZED[@]}" --servers=1 --workers=3)
"$BIN/talweg-coordinator" "$DIGITS" --bind='tcp://*:0' --out="$out" > "$SCRATCH/open" 2>&1
check "without keys it does not listen on a network" test $? -ne 0
contains "and says what to do" "$SCRATCH/open" 'talweg keygen --out DIR.* --keys'
start "$SCRATCH/c.out" "$BIN/talweg-coordinator" "$DIGITS" --bind="tcp://*:$port" --out="$out" \
    --keys="$keys" --log="$SCRATCH/c.log" "${sets[@]}"
TRAIN=$LAST_PID
member=(--coordinator="$address" --keys="$keys" "${sets[@]}")
start "$SCRATCH/p.out" "$BIN/talweg-ps" "$DIGITS" --bind='tcp://*:0' --advertise=127.0.0.1 \
    --log="$SCRATCH/p.log" "${member[@]}"
server=$LAST_PID
workers=()
for rank in 0 1 2; do
    start "$SCRATCH/w$rank.out" "$BIN/talweg-worker" "$DIGITS" --rank=$rank "${member[@]}" \
        --log="$SCRATCH/w$rank.log"
    workers+=("$LAST_PID")
done
at_step "$out" 50

# refused WHAT PATTERN ARGUMENT...: such a worker ends within a second after its start, and says why.
refused() {
    local what=$1 pattern=$2 begin end code
    shift 2
    begin=$(date +%s%3N)
    timeout 20 "$BIN/talweg-worker" "$DIGITS" --coordinator="$address" "${sets[@]}" "$@" \
        > "$SCRATCH/refused" 2>&1
    code=$?
    end=$(date +%s%3N)
    equal "$what ends with" "$code" 1
    check "$what: refused in $((end - begin)) ms" test $((end - begin)) -lt 1500
    contains "$what is told why" "$SCRATCH/refused" "$pattern"
}
refused "a worker with no key" "no speaking with $address: it asks for a key: give --keys DIR"
refused "a worker with an unlisted key" "$address refuses the key of worker: it is not on the list" \
    --keys="$stranger"
chmod 640 "$stranger/worker.key"
[ "$(id -u)" -eq 0 ] || refused "a key that others can read" "others can read or write" \
    --keys="$stranger"
chmod 644 "$stranger/worker.key"
refused "a key that all can read" 'others can read or write \(mode 644\)' --keys="$stranger"

"$TALWEG" status "$address" > "$SCRATCH/status" 2>&1
equal "status without a key ends with" $? 2
contains "status without a key is told why" "$SCRATCH/status" 'asks for a key'
"$TALWEG" status "$address" --keys "$stranger" > "$SCRATCH/status" 2>&1
equal "status with an unlisted key ends with" $? 2
contains "it is told why" "$SCRATCH/status" "refuses the key of client"
"$TALWEG" status "$address" --keys "$SCRATCH/elsewhere" > "$SCRATCH/status" 2>&1
contains "a coordinator that has another key than expected" "$SCRATCH/status" \
    'ends each connection while keys are exchanged'
"$TALWEG" status "$out" > "$SCRATCH/status"
equal "status finds the keys of the run itself" $? 0
contains "and counts who was refused" "$SCRATCH/status" '[0-9]+ connections refused'
contains "the coordinator's log says who" "$SCRATCH/c.log" 'ev=key_refused from=127\.0\.0\.1 key='

# Taken off the list.
sed -i '/ worker-1 /d' "$keys/allowed"
begin=$(date +%s%3N)
finished_within 10 "${workers[1]}"
equal "a revoked worker ends with" $? 1
check "cut off after $(($(date +%s%3N) - begin)) ms" test $(($(date +%s%3N) - begin)) -lt 5000
contains "it is told why" "$SCRATCH/w1.out" 'refuses the key of worker-1'
refused "a revoked worker that comes back" 'worker-1 of this process is not on it' --rank=1 \
    --keys="$keys"

# A list that somebody broke does not shut anybody out; nor does one that is gone.
cp "$keys/allowed" "$SCRATCH/good"
echo 'nonsense' >> "$keys/allowed"
kill -HUP "$TRAIN" "$server"
wait_until 10 grep -q keys_not_read "$SCRATCH/c.log"
contains "a broken list is named" "$SCRATCH/c.log" 'keys_not_read.*allowed:[0-9]+: found 1 words'
cp "$SCRATCH/good" "$keys/allowed"
for pid in "${workers[0]}" "${workers[2]}" "$server" "$TRAIN"; do
    finished_within 120 "$pid"
    equal "a process of the run ends with" $? 0
done
equal "the digest" "$(digest "$out")" "$REFERENCE"

# What goes over the wire, with keys and without: every connection goes through a tap.
# tapped OUT NAME ARGUMENT...: OUT.wire holds what went by.
tapped() {
    local out=$1 seen hidden
    shift
    seen=$(free_port) hidden=$(free_port)
    local server_seen server_hidden
    server_seen=$(free_port) server_hidden=$(free_port)
    start "$out.tap" python3 "$ROOT/tests/system/tap.py" "$out.wire" "$seen:$hidden" \
        "$((seen + 1)):$((hidden + 1))" "$server_seen:$server_hidden"
    wait_until 10 grep -q ready "$out.tap"
    local all=(--servers=1 --workers=1 --set=exchange.shared_memory=false --set=job.epochs=1 "$@")
    start "$out.c" "$BIN/talweg-coordinator" "$DIGITS" --bind="tcp://127.0.0.1:$hidden" \
        --advertise="tcp://127.0.0.1:$seen" --out="$out" "${all[@]}"
    local pids=("$LAST_PID")
    start "$out.p" "$BIN/talweg-ps" "$DIGITS" --coordinator="tcp://127.0.0.1:$seen" \
        --bind="tcp://127.0.0.1:$server_hidden" --advertise="tcp://127.0.0.1:$server_seen" "${all[@]}"
    pids+=("$LAST_PID")
    start "$out.w" "$BIN/talweg-worker" "$DIGITS" --rank=0 --coordinator="tcp://127.0.0.1:$seen" "${all[@]}"
    for pid in "${pids[@]}" "$LAST_PID"; do
        finished_within 60 "$pid" || { fail "a process of $out ends with $?"; cat "$out".[cpw]; }
    done
}

# occurs OUT: of how many of the final weights' tensors the beginning, 32 bytes, went by.
occurs() {
    python3 - "$1" << 'PY'
import glob, json, struct, sys
wire = open(sys.argv[1] + ".wire", "rb").read()
found = 0
for path in glob.glob(sys.argv[1] + "/checkpoint-*/model*.safetensors"):
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    for name, row in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            begin = 8 + length + row["data_offsets"][0]
            found += data[begin:begin + 32] in wire
print(found)
PY
}
tapped "$SCRATCH/plain"
tapped "$SCRATCH/secret" --keys="$keys"
check "without keys, the weights can be read off the wire" test "$(occurs "$SCRATCH/plain")" -gt 0
equal "with keys, tensors found on the wire" "$(occurs "$SCRATCH/secret")" 0
check "and as much went by" \
    test "$(stat -c %s "$SCRATCH/secret.wire")" -ge "$(stat -c %s "$SCRATCH/plain.wire")"
equal "to the same bits" "$(digest "$SCRATCH/secret")" "$(digest "$SCRATCH/plain")"
finish
