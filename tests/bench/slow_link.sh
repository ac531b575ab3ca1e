#!/usr/bin/env bash
# slow_link.sh [--smoke] [--json] [METHOD...]: training between machines that are far apart.
#
# Two workers, each in a network namespace of its own, reach the server over a link of 100 Mbit/s
# and 20 ms there and back (tc's tbf for the rate, delay_link for the time, both measured before
# use), and train MNIST until 98 % of the held-out images are told right. Methods: bsp (f32), bf16,
# int8, topk, local. For each: seconds and epochs until then, bytes on the links for each sample,
# and how long a step takes. MNIST's four files are looked for in $TALWEG_MNIST.
#
# --smoke: Debian's Fashion-MNIST, a few steps, no figure of any use: does it all work?
. "$(dirname "$0")/../system/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
has_json='' is_smoke='' methods=()
for argument; do
    case $argument in
    --json) has_json=1 ;;
    --smoke) is_smoke=1 ;;
    *) methods+=("$argument") ;;
    esac
done
[ ${#methods[@]} -gt 0 ] || methods=(bsp int8 topk local)
[ -c /dev/net/tun ] || skip "no /dev/net/tun"

rate=100mbit one_way_ms=10 target=0.98
if [ -n "$is_smoke" ]; then
    data=/usr/share/datasets/fashion-mnist
    job=$ROOT/deploy/jobs/fashion-mnist-cnn.cfg
    sized=(--set=job.epochs=0 --set=job.steps=60 --set=exchange.local_steps=20)
    target=2
else
    data=${TALWEG_MNIST:-$ROOT/deploy/data/mnist}
    job=$ROOT/deploy/jobs/mnist-lenet.cfg
    sized=(--set=job.epochs=6 --set=exchange.local_steps=50)
fi
[ -r "$data/train-images-idx3-ubyte.gz" ] || skip "no data set in $data"

# One lane a worker: what a lane does in bsp is what a replica does in local. Namespaces of networks
# do not keep processes of one machine from sharing memory.
common=("${sized[@]}" --set=data.train_inputs="$data/train-images-idx3-ubyte.gz"
    --set=data.train_labels="$data/train-labels-idx1-ubyte.gz"
    --set=data.test_inputs="$data/t10k-images-idx3-ubyte.gz"
    --set=data.test_labels="$data/t10k-labels-idx1-ubyte.gz"
    --servers=1 --workers=2 --set=cluster.insecure=true --set=exchange.shared_memory=false
    --set=job.lanes=2 --set=job.eval_every=50
    --set=optimizer.kind=momentum --set=optimizer.rate=0.02 --set=optimizer.schedule=constant)

# settings_of METHOD: in $special.
settings_of() {
    case $1 in
    bsp) special=() ;;
    local) special=(--set=exchange.consistency=local --set=exchange.outer_momentum=0.5) ;;
    bf16 | int8 | topk) special=(--set=exchange.codec="$1") ;;
    *)
        fail "no method is called $1"
        return 1
        ;;
    esac
}

. "$here/links.sh"

# device SPACE NAME ADDRESS PEER: up, with an address and a rate.
device() {
    ip -n "$name-$1" link set "$2" mtu 1500 txqueuelen 1000 up &&
        ip -n "$name-$1" addr add "$3" peer "$4" dev "$2" &&
        tc -n "$name-$1" qdisc add dev "$2" root tbf rate "$rate" burst 16kb latency 50ms
}

links=()
for i in 0 1; do
    start "$SCRATCH/link$i" "$BIN/delay_link" "$one_way_ms" "$name-s" "link$i" "$name-w$i" far
    links+=("$LAST_PID")
    wait_until 5 grep -qs ready "$SCRATCH/link$i" || skip "$(cat "$SCRATCH/link$i")"
    device s "link$i" "$net.$((4 * i + 1))" "$net.$((4 * i + 2))" &&
        device "w$i" far "$net.$((4 * i + 2))" "$net.$((4 * i + 1))" &&
        ip -n "$name-w$i" route add default dev far || skip "no link of $rate can be made here"
done

# Is it what it is said to be?
on s "$SCRATCH/probe" python3 "$here/link_probe.py" serve "$server" 7001
probe=$LAST_PID
wait_until 10 grep -qs ready "$SCRATCH/probe" || fail "no probe: $(cat "$SCRATCH/probe")"
for i in 0 1; do
    ip netns exec "$name-w$i" python3 "$here/link_probe.py" measure "$server" 7001 8 \
        > "$SCRATCH/measured$i" || fail "no measurement of link $i"
    [ -n "$has_json" ] || say "link $i: $(cat "$SCRATCH/measured$i")"
    json "$SCRATCH/measured$i" '20 <= d["rtt_ms"] < 26 and
        all(60 < d[way] < 101 for way in ("up_mbit", "down_mbit"))' > "$SCRATCH/is_so"
    [ "$(cat "$SCRATCH/is_so")" = true ] || fail "link $i is not as it should be"
done
kill "$probe"
wait "$probe" 2> /dev/null

# wire_bytes: that have crossed both links, either way.
wire_bytes() {
    local i total=0
    for i in 0 1; do
        total=$((total + $(ip -n "$name-w$i" -s -j link show dev far | python3 -c '
import json, sys
stats = json.load(sys.stdin)[0]["stats64"]
print(stats["rx"]["bytes"] + stats["tx"]["bytes"])')))
    done
    echo "$total"
}

# has_reached OUT: some evaluation has the accuracy that is wanted.
has_reached() {
    python3 - "$1/metrics.jsonl" "$target" 2> /dev/null << 'END'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1]) if line.endswith("\n")]
sys.exit(not any((row["test_accuracy"] or 0) >= float(sys.argv[2]) for row in rows))
END
}

# result METHOD OUT BYTES: one line of JSON; 0 where the accuracy was never reached.
result() {
    python3 - "$@" "$target" "$data" << 'END'
import gzip, json, struct, sys
method, out, wire, target, data = sys.argv[1:]
wire, target = int(wire), float(target)
rows = [json.loads(line) for line in open(out + "/metrics.jsonl")]
summary = json.load(open(out + "/summary.json"))
with gzip.open(data + "/train-images-idx3-ubyte.gz") as images:
    samples = struct.unpack(">4xI", images.read(8))[0] * summary["epochs"]
tested = [row for row in rows if row["test_accuracy"] is not None]
hit = next((row for row in tested if row["test_accuracy"] >= target), None)
last = tested[-1]
payload = summary["pushed_bytes"] + summary["pulled_bytes"]
print(json.dumps({
    "method": method,
    "seconds": round(hit["wall_s"], 1) if hit else 0,
    "epochs": round(hit["epoch"], 2) if hit else 0,
    "accuracy": last["test_accuracy"],
    "bytes_per_sample": round(wire / samples),
    "payload_bytes_per_sample": round(payload / samples),
    "step_ms": round(last["wall_s"] * 1000 / (last["step"] * summary["round_steps"]), 1)}))
END
}

# train_over METHOD: both links carry it.
train_over() {
    local out=$SCRATCH/$1 before
    before=$(wire_bytes)
    start_roles "$job" "$out" "${common[@]}" "${special[@]}"
    until has_reached "$out" || is_gone "$RUN"; do
        [ "$SECONDS" -lt $((began + 3600)) ] || break
        sleep 1
    done
    if ! is_gone "$RUN"; then
        kill -INT "$RUN"
    fi
    finished_within 60 "$RUN" || [ -e "$out/summary.json" ] ||
        { fail "$1: $(tail -n 2 "$out"/log/*)"; return 1; }
    wait_members
    result "$1" "$out" $(($(wire_bytes) - before)) >> "$SCRATCH/results"
}

for method in "${methods[@]}"; do
    began=$SECONDS
    settings_of "$method" && train_over "$method" && [ -z "$has_json" ] &&
        tail -n 1 "$SCRATCH/results"
done
for link in "${links[@]}"; do
    kill "$link" && wait "$link"
done

python3 - "$SCRATCH/results" "$has_json" "$is_smoke" "$FAILURES" << 'END'
import json, sys
results = [json.loads(line) for line in open(sys.argv[1])]
if sys.argv[2]:
    print(json.dumps(results))
elif not sys.argv[3]:
    print("\n| method | s to 98 % | epochs | bytes a sample | ms a step |\n|---|---|---|---|---|")
    for r in results:
        print("| {method} | {seconds} | {epochs} | {bytes_per_sample} | {step_ms} |".format(**r))
found = {r["method"]: r for r in results}
failures = int(sys.argv[4])
for r in results:
    if r["bytes_per_sample"] < r["payload_bytes_per_sample"]:
        print(f"FAIL  {r['method']}: not all went over the links")
        failures += 1
if "bsp" in found and "local" in found:
    saved = found["bsp"]["bytes_per_sample"] / found["local"]["bytes_per_sample"]
    # In a few steps what is sent at the start and the end is much of it.
    if saved < (3 if sys.argv[3] else 10):
        print(f"FAIL  local sends only {saved:.1f} times fewer bytes a sample")
        failures += 1
if not sys.argv[3] and any(r["seconds"] == 0 for r in results):
    print("FAIL  98 % was not reached by all")
    failures += 1
sys.exit(failures > 0)
END
