#!/usr/bin/env bash
# `talweg doctor` before a run and during one, of machines that are well and of ones that are broken
# in each of the ways that it knows.  Whatever is broken, it ends within 10 s.
. "$(dirname "$0")/lib.sh"
report=$SCRATCH/report.json
name=tw$((BASHPID % 100000))
net=10.214.$((BASHPID % 200 + 20))

test_cleanup() {
    umount -l "$SCRATCH/disk" 2> /dev/null
    ip netns del "$name-c" 2> /dev/null
    ip netns del "$name-w" 2> /dev/null
}
SETS=(--set job.epochs=0 --set job.steps=100000000 --set cluster.servers=1 --set cluster.workers=1)

# doctor ARGUMENTS...: its report as JSON; its exit code is in $CODE.
doctor() {
    "$TALWEG" doctor "$DIGITS" "${SETS[@]}" "$@" --json > "$report" 2> "$SCRATCH/stderr"
    CODE=$?
}

# has LEVEL PATTERN: a finding of that level has the pattern in what, why or do.
has() {
    python3 - "$report" "$1" "$2" <<'PY'
import json, re, sys
findings = json.load(open(sys.argv[1]))["findings"]
sys.exit(not any(f["level"] == sys.argv[2] and
                 re.search(sys.argv[3], f["what"] + " | " + f["why"] + " | " + f["do"])
                 for f in findings))
PY
}

# finds WHAT LEVEL PATTERN
finds() {
    if has "$2" "$3"; then
        pass "$1"
    else
        fail "$1: no $2 like '$3' among:"
        json "$report" '"\n".join("      | %s: %s" % (f["level"], f["what"]) for f in d["findings"])'
        sed 's/^/      | /' "$SCRATCH/stderr"
        return 1
    fi
}
took() { [ "$(json "$report" 'd["took_ms"]')" -lt 10000 ]; }

# Before a run, on a machine that is well.  Whether others use its cores, a test cannot know.
doctor --out "$SCRATCH/none"
check "well: no error" test "$CODE" -eq 0 -o "$CODE" -eq 3
finds "well: data and model" ok '4810 weights'
finds "well: disk" ok 'checkpoints take'
finds "well: limits" ok 'open files'
finds "well: kernels" ok 'products by [^ ]+.* kernels, [0-9]+ GFLOP/s'
finds "well: what cannot be known yet" 'not checked' 'clocks'
check "each finding that is not ok says why it matters, or what to do" test \
    "$(json "$report" 'all(f["why"] or f["do"] for f in d["findings"] if f["level"] != "ok")')" = true
"$TALWEG" doctor "$DIGITS" --out "$SCRATCH/none" > "$SCRATCH/text"
equal "text: the widest line" "$(awk 'length > 80' "$SCRATCH/text" | wc -l)" 0
contains "text: ends with how many of each" "$SCRATCH/text" '^([0-9]+ [a-z ]+, )*[0-9]+ ok; [0-9.]+ s$'

# The command line, the job, the data.
"$TALWEG" doctor > /dev/null 2>&1
equal "no job: ends with" $? 2
"$TALWEG" doctor "$DIGITS" --role boss > /dev/null 2>&1
equal "no such role: ends with" $? 2
doctor --set optimizer.rat=1
equal "a setting that is none: ends with" $CODE 1
finds "and says which" error 'optimizer\.rat'
doctor --set data.train_inputs=/nowhere/at/all.csv
equal "data that is not there: ends with" $CODE 1
finds "and says which file" error '/nowhere/at/all\.csv: No such file'
printf 'a,b\n1,2\n3,x\n' > "$SCRATCH/bad.csv"
doctor --set data.train_inputs="$SCRATCH/bad.csv"
finds "data that does not decode" error 'bad\.csv'
doctor --set augment.flip=0.5
finds "images that are rows of numbers" error 'expected images'
doctor --set model.products=bf16x3
if [ "$(uname -m)" = x86_64 ]; then
    level=warning
    grep -qw amx_bf16 /proc/cpuinfo && level=ok
    finds "products in parts" $level 'products in bf16x3 (by|without) AMX, [0-9]+ GFLOP/s'
fi
doctor --set worker.kernels=Nonesuch
level=error
[ "$(uname -m)" != x86_64 ] || level=note
finds "kernels that are none, or are not asked" $level 'Nonesuch'

# Addresses.
port=$(free_port)
doctor --role worker --coordinator "127.0.0.1:$port"
finds "nobody at the coordinator's port" warning "nobody listens on port $port"
equal "nobody there: ends with" $CODE 3
doctor --role worker --coordinator tcp://no-such-host.invalid:7077
equal "a name that does not resolve: ends with" $CODE 1
finds "and says so" error 'no-such-host\.invalid does not resolve'
check "and within 10 s" took
doctor --role worker
finds "nobody said where the coordinator is" error 'where is the coordinator'
doctor --role coordinator --bind "*:$port"
finds "no keys, and a network" error 'anyone on that network'
doctor --role coordinator --bind tcp://192.0.2.77:7077 --set cluster.insecure=true
finds "an address of another machine" error 'cannot listen on tcp://192\.0\.2\.77:7077.*This machine has'
doctor --role coordinator --bind tcp://a-name:7077 --set cluster.insecure=true
finds "listening on a name" error 'numbers, not on names'
doctor --role coordinator --bind "127.0.0.1:$port" --out "$SCRATCH/none"
finds "a port that is free" ok "can listen on tcp://127\.0\.0\.1:$((port + 1))"
finds "and is reached" ok "reached from this machine under tcp://127\.0\.0\.1:$port"
finds "before a run" note 'no run is going on'
doctor --role server --bind '127.0.0.1:0' --advertise '127.0.0.1:1' --coordinator "127.0.0.1:$port"
finds "an address that is not reached" warning 'not reached under tcp://127\.0\.0\.1:1'

# Ports with others behind them: one that never speaks, one that speaks something else.
cat > "$SCRATCH/others.py" <<'PY'
import socket, sys, time
silent, strange = socket.socket(), socket.socket()
for s, port in ((silent, int(sys.argv[1])), (strange, int(sys.argv[1]) + 1)):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", port))
    s.listen(8)
print("ready", flush=True)
while True:
    peer, _ = strange.accept()
    peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    time.sleep(0.3)
    peer.close()
PY
start "$SCRATCH/others" python3 "$SCRATCH/others.py" "$port"
others=$LAST_PID
check "others listen" wait_until 10 grep -q ready "$SCRATCH/others"
doctor --role worker --coordinator "127.0.0.1:$port"
finds "one that never speaks" error 'takes the connection and says nothing'
check "within 10 s" took
doctor --role worker --coordinator "127.0.0.1:$((port + 1))"
finds "one that speaks something else" error 'speaks, but not ZeroMQ'
doctor --role coordinator --bind "127.0.0.1:$port"
finds "a port that is taken" error "port $port is taken by process $others \\(python3"
kill "$others"

# Limits, disk, memory.
(ulimit -n 50 && doctor --set cluster.workers=64 && exit "$CODE")
finds "few open files" error 'open files.*ulimit -n|LimitNOFILE'
(ulimit -f 1000 && doctor --set checkpoint.file_bytes=4194304 --set 'optimizer.kind=adam' && exit "$CODE")
finds "small files" ok 'files may have at most 1000'
touch "$SCRATCH/file"
doctor --out "$SCRATCH/file/run"
finds "a folder that cannot be written to" error 'cannot write to'
doctor --set exchange.shared_folder=/nowhere
finds "no folder for shared memory" warning '/nowhere: No such file'
if [ "$(id -u)" -eq 0 ] && mkdir "$SCRATCH/disk" &&
    mount -t tmpfs -o size=64k talweg "$SCRATCH/disk" 2> /dev/null; then
    doctor --out "$SCRATCH/disk/run" --set optimizer.kind=adam --set checkpoint.every=10
    finds "a disk without room for checkpoints" error 'checkpoints take 2[0-9]{2} KiB.*64\.0 KiB are free'
    head -c 65536 /dev/zero > "$SCRATCH/disk/filler"
    doctor --out "$SCRATCH/disk/run"
    finds "a disk that is full" error 'cannot write to .*No space left'
else
    say "not run: a full disk (no tmpfs can be mounted here)"
fi

# During a run, with keys.
out=$SCRATCH/run
keys=$SCRATCH/keys
"$TALWEG" keygen --out "$keys" --workers 2 > /dev/null
port=$(free_port)
cp "$BIN/talweg-coordinator" "$SCRATCH/coordinator"
# run COORDINATOR: starts it, a server and a worker.
run() {
    start "$SCRATCH/c.log" "$1" "$DIGITS" --bind "127.0.0.1:$port" --out "$out" --fresh "${SETS[@]}" \
        --keys "$keys"
    COORDINATOR=$LAST_PID
    start "$SCRATCH/s.log" "$BIN/talweg-ps" "$DIGITS" --coordinator "127.0.0.1:$port" "${SETS[@]}" \
        --keys "$keys"
    SERVER=$LAST_PID
    start "$SCRATCH/w.log" "$BIN/talweg-worker" "$DIGITS" --coordinator "127.0.0.1:$port" --rank 0 \
        "${SETS[@]}" --keys "$keys"
    WORKER=$LAST_PID
}
stop() {
    kill -KILL "$COORDINATOR" "$SERVER" "$WORKER" 2> /dev/null
    wait "$COORDINATOR" "$SERVER" "$WORKER" 2> /dev/null
}
as_worker() { doctor --role worker --coordinator "127.0.0.1:$port" --rank 1 "$@"; }
is_training() { as_worker --keys "$keys" && has ok 'training, step [1-9]'; }
run "$BIN/talweg-coordinator"
check "a run with keys" wait_until 60 is_training
finds "its version" ok 'the same Talweg'
finds "its job" ok 'the same job'
finds "its clock" ok 'clock is [0-9]+ ms'
finds "the way to its server" ok 'server 0 .*: round trip [0-9.]+ ms, [0-9.e+]+ MB/s both ways at once'
finds "a key that is listed" ok 'the key worker-1 is on the list of 5'
finds "the same list" ok 'the coordinator has the same list'
finds "is let in" ok 'lets worker-1 in'
finds "it sees this machine" ok 'sees this machine as 127\.0\.0\.1'
doctor --role coordinator --bind "127.0.0.1:$port" --out "$out" --keys "$keys"
finds "its own port is its own" note "held by talweg-coordin.*: it runs already"
as_worker
equal "without a key: ends with" $CODE 1
finds "without a key" error 'asks for a key'
as_worker --keys "$keys" --set job.seed=2
finds "another job" error 'says another job'
cp -r "$keys" "$SCRATCH/copy"
chmod 644 "$SCRATCH/copy/worker-1.key"
as_worker --keys "$SCRATCH/copy"
finds "a key that others can read" error 'others can read'
chmod 600 "$SCRATCH/copy/worker-1.key"
sed -i '/worker-1/d' "$keys/allowed"
is_refused() {
    as_worker --keys "$SCRATCH/copy" && has error 'refuses the key of worker-1'
}
check "a key that was taken off the list is refused" wait_until 10 is_refused
finds "the lists differ" warning "list here has 5 keys, the coordinator's another 4"
as_worker --keys "$keys"
finds "not on its own list" error 'worker-1 of this process is not on it'
rm "$SCRATCH/copy/client.key"
as_worker --keys "$SCRATCH/copy"
finds "no key to ask with" 'not checked' 'client\.key'
cp "$SCRATCH/copy/allowed" "$keys/allowed"
kill -STOP "$SERVER"
is_still() { as_worker --keys "$keys"; has error 'takes the connection and says nothing'; }
check "a server that stands still" wait_until 20 is_still
check "within 10 s" took
kill -STOP "$COORDINATOR"
as_worker --keys "$keys"
finds "a coordinator that stands still" error 'says nothing|does not tell how the run is'
check "within 10 s" took
stop

# A coordinator of another version, and one whose clock is wrong.
sed 's/0\.1\.0/0.0.9/g' "$BIN/talweg-coordinator" > "$SCRATCH/coordinator"
start "$SCRATCH/c.log" "$SCRATCH/coordinator" "$DIGITS" --bind "127.0.0.1:$port" --out "$out" \
    --fresh "${SETS[@]}"
is_other() { as_worker && has error 'is Talweg 0\.0\.9, this is'; }
check "a coordinator of another version" wait_until 10 is_other
kill -KILL "$LAST_PID"
wait "$LAST_PID" 2> /dev/null
cat > "$SCRATCH/clock.c" <<'C'
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now)
{
    long code = syscall(SYS_clock_gettime, clock, now);
    now->tv_sec += clock == CLOCK_REALTIME ? 90 : 0;
    return (int)code;
}
C
if cc -shared -fPIC -o "$SCRATCH/clock.so" "$SCRATCH/clock.c" 2> /dev/null &&
    ! grep -qa libasan "$BIN/talweg-coordinator"; then
    start "$SCRATCH/c.log" env LD_PRELOAD="$SCRATCH/clock.so" "$BIN/talweg-coordinator" "$DIGITS" \
        --bind "127.0.0.1:$port" --out "$out" --fresh "${SETS[@]}"
    is_ahead() { as_worker && has warning 'clock is (90|89) s ahead'; }
    check "a clock that is wrong" wait_until 10 is_ahead
    finds "and who is waited for" note 'server'
    kill -KILL "$LAST_PID"
    wait "$LAST_PID" 2> /dev/null
else
    say "not run: a clock that is wrong (no compiler here, or a sanitizer's build)"
fi

# Two machines with a network between them, in namespaces.  What follows needs root.
can_part() {
    [ "$(id -u)" -eq 0 ] && ip netns add "$name-c" 2> /dev/null &&
        ip netns add "$name-w" 2> /dev/null &&
        ip -n "$name-c" link add eth0 type veth peer name eth0 netns "$name-w" 2> /dev/null
}
if ! can_part; then
    say "not run: firewalls and slow links (no network namespaces can be made here)"
    finish
fi
for host in c w; do
    ip -n "$name-$host" link set lo up
    ip -n "$name-$host" addr add "$net.$([ $host = c ] && echo 1 || echo 2)/24" dev eth0
    ip -n "$name-$host" link set eth0 up
done
c=(ip netns exec "$name-c")
w=(ip netns exec "$name-w")
there=tcp://$net.1:7077
sets=(--set=cluster.insecure=true --set=exchange.shared_memory=false)
on_w() {
    "${w[@]}" "$TALWEG" doctor "$DIGITS" "${SETS[@]}" "${sets[@]}" --role worker \
        --coordinator "$there" --json > "$report" 2> "$SCRATCH/stderr"
}
start "$SCRATCH/c.log" "${c[@]}" "$BIN/talweg-coordinator" "$DIGITS" --bind "$there" \
    --out "$out" --fresh "${SETS[@]}" "${sets[@]}"
# On a host of another name, whose server tells an address that means every machine itself.
start "$SCRATCH/s.log" "${c[@]}" unshare --uts sh -c 'hostname elsewhere && exec "$@"' sh \
    "$BIN/talweg-ps" "$DIGITS" --coordinator "$there" --rank 0 --bind tcp://127.0.0.1:0 "${SETS[@]}" "${sets[@]}"
server=$LAST_PID
is_told() { on_w; has error 'nobody listens.*runs on elsewhere and told others'; }
check "a server that tells its loopback address" wait_until 10 is_told
finds "the coordinator across the network" ok "sees this machine as $net\.2"
kill -KILL "$server"
wait "$server" 2> /dev/null
is_lost() { on_w; has warning 'server 0 .elsewhere. is lost'; }
check "a server that is lost" wait_until 10 is_lost
start "$SCRATCH/s.log" "${c[@]}" "$BIN/talweg-ps" "$DIGITS" --coordinator "$there" --rank 0 \
    --bind "tcp://$net.1:0" "${SETS[@]}" "${sets[@]}"
start "$SCRATCH/w.log" "${c[@]}" "$BIN/talweg-worker" "$DIGITS" --coordinator "$there" "${SETS[@]}" \
    "${sets[@]}"
is_measured() { on_w; has ok 'training, step [1-9]' && has ok 'round trip .* both ways at once'; }
check "a server across the network" wait_until 20 is_measured

# 100 Mbit/s are 12.5 MB/s, less what headers take; the run has its traffic elsewhere.
if for host in c w; do
    ip netns exec "$name-$host" tc qdisc add dev eth0 root tbf rate 100mbit burst 64k \
        latency 200ms 2> /dev/null || exit 1
done; then
    on_w
    speed=$(json "$report" '[float(__import__("re").search("([0-9.e+]+) MB/s", f["what"]).group(1))
        for f in d["findings"] if "MB/s" in f["what"]][0]')
    check "a link of 12.5 MB/s is measured: $speed MB/s" awk "BEGIN { exit !($speed > 9 && $speed < 13) }"
    check "within 10 s" took
else
    say "not run: a link of 100 Mbit/s (tc does not work here)"
fi

# A firewall that says nothing, and one that says no.
filter() { "${c[@]}" iptables "$@" 2> /dev/null; }
if filter -A INPUT -i eth0 -p tcp --dport 7077 -j DROP; then
    on_w
    finds "a firewall that drops" error "$net\.1:7077 does not answer.*let TCP port 7077 in"
    check "within 10 s" took
    filter -F INPUT
    if filter -A INPUT -i eth0 -p tcp --dport 7077 -j REJECT --reject-with icmp-admin-prohibited; then
        on_w
        finds "a firewall that refuses" error 'No route to host.*firewall refuses'
        filter -F INPUT
    fi
    filter -A INPUT -i eth0 -p tcp ! --dport 7077 --syn -j DROP
    on_w
    finds "a firewall before the servers' ports" error 'does not answer.*firewall drops'
    finds "while the coordinator answers" ok 'the coordinator answers'
    check "within 10 s" took
else
    say "not run: firewalls (iptables does not work here)"
fi

finish
