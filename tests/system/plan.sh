#!/usr/bin/env bash
# `talweg plan`: what it prints, whether its sums are right, what it says to bad options, and its
# bytes and memory against those of a real run. (Its times: tests/bench/plan.sh.)
. "$(dirname "$0")/lib.sh"

plan() { "$TALWEG" plan "$@" --seconds 0.1 > "$SCRATCH/out" 2> "$SCRATCH/err"; }

plan "$DIGITS" --workers 4 --servers 2
equal "a plan ends with" $? 0
contains "it prints the time of a step" "$SCRATCH/out" \
    '^ +4 +2 +[0-9.]+ +[0-9.e+]+ +[0-9.]+ +[0-9]+%'
contains "and a sentence" "$SCRATCH/out" \
    '^4 machines over 1 Gbit/s would be [0-9.]+ times one machine.*What costs most is'

plan "$DIGITS" --workers 4 --servers 2 --bandwidth 100Mbit/s --round-trip 5 --json
equal "as JSON it ends with" $? 0
cp "$SCRATCH/out" "$SCRATCH/plan.json"
row='[r for r in d["rows"] if (r["workers"], r["servers"]) == (4, 1)][0]'
equal "rows for 1 to 4 workers and 1 to 2 servers" \
    "$(json "$SCRATCH/plan.json" '[[r["workers"], r["servers"]] for r in d["rows"]]')" \
    '[[1, 2], [2, 2], [3, 2], [4, 2], [4, 1]]'
equal "one server gets what all workers push, and sends what they pull" "$(json \
    "$SCRATCH/plan.json" "[b for b in [$row[\"bytes_per_round\"]]
    if b['server_in'] == b['all_pushed'] == 4 * b['worker_up'] and
    b['server_out'] == b['all_pulled'] == 4 * b['worker_down']] != []")" true
equal "a worker pushes its weights once" \
    "$(json "$SCRATCH/plan.json" "$row['bytes_per_round']['worker_up'] == 4 * d['weights']")" true
equal "a step lasts a round trip at least" \
    "$(json "$SCRATCH/plan.json" 'all(r["step_ms"] > 5 for r in d["rows"])')" true

# refuses WHAT CODE PATTERN ARGUMENT...
refuses() {
    local what=$1 code=$2 pattern=$3
    shift 3
    plan "$@"
    equal "$what: ends with" $? "$code"
    contains "$what: says so" "$SCRATCH/err" "$pattern"
}
refuses "a bandwidth that is none" 2 "--bandwidth: found 'fast', expected a rate such as 1Gbit/s" \
    "$DIGITS" --bandwidth fast
refuses "no workers" 2 "--workers: found '0', expected a whole number from 1 to 1024" \
    "$DIGITS" --workers 0
refuses "a round trip below 0" 2 "--round-trip: found '-1', expected a number from 0" \
    "$DIGITS" --round-trip=-1
refuses "two speeds" 2 "--step-ms: --samples-per-s says the speed already" \
    "$DIGITS" --samples-per-s 100 --step-ms 5
refuses "two networks" 2 "--measure: --bandwidth and --round-trip say" \
    "$DIGITS" --measure 127.0.0.1:1 --bandwidth 1Gbit/s
refuses "no job" 2 "which job file" --workers 2
refuses "a job that is not there" 1 "nowhere.cfg" nowhere.cfg
refuses "a setting that is none" 1 "job.lane" "$DIGITS" --set job.lane=4
refuses "nobody to measure with" 1 "cannot connect.*start .talweg plan --answer" \
    "$DIGITS" --measure 127.0.0.1:1
refuses "an address that is none" 1 "found 'here', expected HOST:PORT" "$DIGITS" --measure here

# A line that carries 64 KiB in 20 ms, 0.93 of it payload (PLAN_PAYLOAD_SHARE), and takes 20 ms more
# in each direction.
cat > "$SCRATCH/slow_way.py" << 'END'
import queue, socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def carry(source, on_its_way):
    while chunk := source.recv(65536):
        time.sleep(0.02 / 0.93 * len(chunk) / 65536)
        on_its_way.put((time.monotonic() + 0.02, chunk))
    on_its_way.put((0.0, None))
def deliver(on_its_way, target):
    while (arrival := on_its_way.get())[1] is not None:
        time.sleep(max(0.0, arrival[0] - time.monotonic()))
        target.sendall(arrival[1])
    target.shutdown(socket.SHUT_WR)
near = listener.accept()[0]
far = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
threads = []
for source, target in ((near, far), (far, near)):
    on_its_way = queue.Queue()
    threads += [threading.Thread(target=carry, args=(source, on_its_way)),
                threading.Thread(target=deliver, args=(on_its_way, target))]
for thread in threads: thread.start()
for thread in threads: thread.join()
END
listens() { grep -qs "$(printf ':%04X 00000000:0000 0A' "$1")" /proc/net/tcp; }
# measure WHAT PORT: over a way that leads to $port; leaves the plan in $SCRATCH/WHAT.json.
measure() {
    start "$SCRATCH/answer" "$TALWEG" plan --answer "127.0.0.1:$port"
    local answer_pid=$LAST_PID
    wait_until 5 listens "$port" || fail "nobody listens at $port"
    plan "$DIGITS" --measure "127.0.0.1:$2" --json
    equal "measured, $1: ends with" $? 0
    cp "$SCRATCH/out" "$SCRATCH/$1.json"
    finished_within 10 "$answer_pid"
    equal "$1: who answered ends with" $? 0
}
port=$(free_port) slow_port=$(free_port)
measure straight "$port"
start "$SCRATCH/slow_way" python3 "$SCRATCH/slow_way.py" "$slow_port" "$port"
wait_until 5 listens "$slow_port" || fail "nobody listens at $slow_port"
measure slow "$slow_port"
of_way() { json "$SCRATCH/$1.json" '[d["network"], d["bytes_per_s"], d["round_trip_ms"]]'; }
equal "what was measured: the slow way's time and rate, and the loopback device's, which is better" \
    "$(python3 -c 'import json, sys
(a, straight_rate, straight_ms), (b, slow_rate, slow_ms) = map(json.loads, sys.argv[1:])
print(a == b == "measured", 40 <= slow_ms, 0 < slow_rate <= 65536 / 0.02,
      0 < straight_ms < slow_ms, straight_rate > slow_rate)' "$(of_way straight)" \
        "$(of_way slow)")" "True True True True True"

start "$SCRATCH/answer" "$TALWEG" plan --answer "127.0.0.1:$port"
wait_until 5 bash -c "printf 'GET / HTTP/1.1' > /dev/tcp/127.0.0.1/$port" 2> /dev/null
finished_within 5 "$LAST_PID"
equal "who is asked something else ends with" $? 1
contains "and says so" "$SCRATCH/answer" 'does not speak as .talweg plan --measure. does'

# Against a run: a network large enough that the executables are not most of the memory.
job=$SCRATCH/wide.cfg
sed -e 's/units = 64/units = 1024/' -e "s|\"../data|\"$ROOT/deploy/data|" \
    -e 's|{ op = "relu"; },|{ op = "relu"; }, { op = "dense"; units = 4096; }, { op = "relu"; },|' \
    "$DIGITS" > "$job"

# compare WHAT WORKERS SERVERS MOST SETTING...: predicted bytes and memory against the medians of
# three runs. Bytes may be off by MOST times: the coordinator may come to deal lanes otherwise than
# evenly.
compare() {
    local what=$1 workers=$2 servers=$3 most=$4 k role is_near off
    shift 4
    local settings=(--set job.epochs=0 --set job.steps=40 --set cluster.beat_ms=50
        --set exchange.shared_memory=false --set exchange.retry_ms=5000 "$@")
    for k in 0 1 2; do
        rm -rf "$SCRATCH/run-$k"
        train "$SCRATCH/run-$k" "$job" --workers "$workers" --servers "$servers" "${settings[@]}" ||
            fail "$what: $(tail -n 1 "$SCRATCH/run-$k.txt")"
    done
    plan "$job" --workers "$workers" --servers "$servers" "${settings[@]}" --json
    python3 - "$SCRATCH" "$workers" "$servers" "$most" > "$SCRATCH/compared" << 'END'
import json, statistics, sys
scratch, size, most = sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])), float(sys.argv[4])
plan = json.load(open(scratch + "/out"))
runs = [json.load(open(f"{scratch}/run-{k}/summary.json")) for k in range(3)]
row = next(r for r in plan["rows"] if (r["workers"], r["servers"]) == size)
pushed = statistics.median(run["pushed_bytes"] / run["steps"] for run in runs)
ratio = row["bytes_per_round"]["all_pushed"] / pushed
print("bytes pushed", 1 / most <= ratio <= most, round(ratio, 3), sep=":")
for role in ("worker", "server"):
    peak = statistics.median(run["peak_rss_bytes"][role] for run in runs)
    ratio = row["memory_bytes"][role] / peak
    print(f"memory of a {role}", 0.75 <= ratio <= 1.25, round(ratio, 3), sep=":")
END
    while IFS=: read -r role is_near off; do
        check "$what: $role, planned over found: $off" [ "$is_near" = True ]
    done < "$SCRATCH/compared"
    equal "$what: compared" "$(wc -l < "$SCRATCH/compared")" 3
}
compare "one worker, adam" 1 1 1.01
compare "two workers" 2 1 2
compare "two workers, int8" 2 2 2 --set exchange.codec=int8
compare "local" 2 1 2.5 --set exchange.consistency=local --set exchange.local_steps=5
finish
