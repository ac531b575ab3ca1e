#!/usr/bin/env bash
# plan.sh [--smoke] [--json] [RUNS]: what `talweg plan` says a step takes, beside what it does take.
#
# A server and two workers, each in a network namespace of its own with one link to a fourth one
# that passes packets on: a switch. Links have a rate each way (tc's tbf), and in some rows a time
# (delay_link); the plan is told what `talweg plan --measure` finds over them. Above 100 Mbit/s
# frames are of 9000 bytes, since packets cost this switch, which is no hardware, processor time.
# For every row the same job is planned and run, RUNS (3) times in turn; the medians. Where the
# coordinator comes to deal lanes otherwise than evenly, what was measured is what came before that.
#
# All of them share the cores of this machine, which a plan for machines of their own does not know:
# it is given the speed of a lane while as many are computed at once as there are workers, measured
# before and after each run, and --cores.
#
# --smoke: two rows, a few steps: does it work, and is the plan off by less than a factor of 4?
. "$(dirname "$0")/../system/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
has_json='' is_smoke='' runs=3
for argument; do
    case $argument in
    --json) has_json=1 ;;
    --smoke) is_smoke=1 ;;
    *) runs=$argument ;;
    esac
done
[ -r /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ] ||
    skip "no Fashion-MNIST (Debian: dataset-fashion-mnist)"
job=$SCRATCH/wide.cfg # 3.2 MB of weights, nearly all in a dense layer
sed 's/units = 128/units = 512/' "$ROOT/deploy/jobs/fashion-mnist-cnn.cfg" > "$job"
common=(--set=cluster.insecure=true --set=exchange.shared_memory=false --set=job.lanes=4
    --set=job.epochs=0 --set=job.eval_every=1000000000)

# Name, workers, Mbit/s, ms there and back, steps, settings.
rows=(
    "f32|1|1000|0|80|"
    "f32|2|1000|0|80|"
    "f32, blocks of 256 KiB|2|1000|0|80|--set=exchange.block_bytes=262144"
    "int8|2|1000|0|80|--set=exchange.codec=int8"
    "local, 10 steps|2|1000|0|200|--set=exchange.consistency=local --set=exchange.local_steps=10"
    "f32|1|100|0|20|"
    "f32|2|100|0|20|"
    "int8|1|100|0|60|--set=exchange.codec=int8"
    "int8|2|100|0|60|--set=exchange.codec=int8"
    "local, 10 steps|2|100|0|200|--set=exchange.consistency=local --set=exchange.local_steps=10"
    "local, 50 steps|2|100|0|400|--set=exchange.consistency=local --set=exchange.local_steps=50"
    "f32, retry_ms 5000|2|100|20|20|--set=exchange.retry_ms=5000"
    "int8|2|100|20|60|--set=exchange.codec=int8"
)
if [ -n "$is_smoke" ]; then
    runs=1
    rows=("f32|1|1000|0|20|" "int8|2|100|0|20|--set=exchange.codec=int8")
fi

. "$here/links.sh"
test_cleanup() {
    local space
    for space in s w0 w1 x; do
        ip netns del "$name-$space" 2> /dev/null
    done
}
ip netns add "$name-x" 2> /dev/null || skip "no network namespace can be made here"
ip -n "$name-x" link set lo up
ip netns exec "$name-x" sysctl -qw net.ipv4.ip_forward=1 || skip "no packets can be passed on here"

# end SPACE DEVICE ADDRESS PEER MBIT MTU: one end of a link.
end() {
    ip -n "$name-$1" link set "$2" up mtu "$6" &&
        ip -n "$name-$1" addr add "$3" peer "$4" dev "$2" &&
        tc -n "$name-$1" qdisc add dev "$2" root tbf rate "${5}mbit" burst 64kb latency 100ms
}

# connect SPACE NUMBER MBIT MS: its link to the switch.
connect() {
    local space=$1 inner=$net.$((4 * $2 + 2)) outer=$net.$((4 * $2 + 1)) mtu=1500
    [ "$3" -le 100 ] || mtu=9000
    if [ "$4" = 0 ]; then
        ip link add "to-$space" netns "$name-x" type veth peer name far netns "$name-$space" ||
            return 1
    else
        mtu=1500 # as delay_link has it
        rm -f "$SCRATCH/link-$space"
        start "$SCRATCH/link-$space" "$BIN/delay_link" $(($4 / 2)) "$name-x" "to-$space" \
            "$name-$space" far
        delays+=("$LAST_PID")
        wait_until 5 grep -qs ready "$SCRATCH/link-$space" || return 1
    fi
    end x "to-$space" "$outer" "$inner" "$3" $mtu && end "$space" far "$inner" "$outer" "$3" $mtu &&
        ip -n "$name-$space" route add default via "$outer" dev far
}

# links MBIT MS: workers' links and the server's; the time is that of the workers'.
links() {
    local pid space
    for pid in "${delays[@]}"; do
        kill "$pid" && wait "$pid" 2> /dev/null
    done
    delays=()
    for space in s w0 w1; do
        ip -n "$name-$space" link del far 2> /dev/null
    done
    connect s 0 "$1" 0 && connect w0 1 "$1" "$2" && connect w1 2 "$1" "$2" &&
        ip -n "$name-x" route add "$server/32" via "$net.2" || skip "no link of $1 Mbit/s here"
}
delays=()

# measure_link MBIT MS: in $SCRATCH/link-MBIT-MS, once.
measure_link() {
    local out=$SCRATCH/link-$1-$2
    [ -s "$out" ] && return
    on s "$SCRATCH/answer" "$TALWEG" plan --answer "$server:7001"
    wait_until 5 ip netns exec "$name-s" grep -q ':1B59 00000000:0000 0A' /proc/net/tcp
    ip netns exec "$name-w0" "$TALWEG" plan "$DIGITS" --measure "$server:7001" --seconds 0.1 \
        --json > "$out" || fail "no measurement of a link of $1 Mbit/s"
    finished_within 5 "$LAST_PID"
    [ -n "$has_json" ] || json "$out" \
        '"link: %.0f Mbit/s, %.2f ms" % (d["bytes_per_s"] * 8e-6, d["round_trip_ms"])'
}

# lane_rate THREADS ARGUMENT...: samples a second of one of so many threads that compute at once.
lane_rate() {
    local threads=$1
    shift
    "$TALWEG" plan "$job" "$@" --set=worker.threads="$threads" --json > "$SCRATCH/rate.json" ||
        fail "no rate: $*"
    json "$SCRATCH/rate.json" 'd["batch"] / d["lanes"] / d["lane_ms"] * 1e3'
}

# run_row OUT WORKERS STEPS ARGUMENT...: all roles over the links.
run_row() {
    local out=$1 workers=$2 steps=$3
    shift 3
    [ "$workers" = 2 ] && RANKS='0 1' || RANKS=0
    start_roles "$job" "$out" --workers="$workers" --servers=1 --set=job.steps="$steps" \
        --set=log.every="$((steps / 10))" "$@"
    finished_within 180 "$RUN" || fail "$out: $(tail -n 2 "$out"/log/*)"
    wait_members
}

for ((k = 0; k < runs; k++)); do
    for ((i = 0; i < ${#rows[@]}; i++)); do
        IFS='|' read -r what workers mbit ms steps special <<< "${rows[i]}"
        read -ra special <<< "$special"
        links "$mbit" "$ms"
        measure_link "$mbit" "$ms"
        out=$SCRATCH/$i-$k
        before=$(lane_rate "$workers" "${common[@]}" --set=job.steps="$steps" "${special[@]}")
        run_row "$out" "$workers" "$steps" "${common[@]}" "${special[@]}"
        after=$(lane_rate "$workers" "${common[@]}" --set=job.steps="$steps" "${special[@]}")
        rate=$(python3 -c "print(($before + $after) / 2)")
        "$TALWEG" plan "$job" "${common[@]}" --set=job.steps="$steps" "${special[@]}" \
            --bandwidth "$(json "$SCRATCH/link-$mbit-$ms" 'd["bytes_per_s"]')B/s" \
            --round-trip "$(json "$SCRATCH/link-$mbit-$ms" 'd["round_trip_ms"]')" \
            --samples-per-s "$rate" \
            --workers "$workers" --servers 1 --cores "$(nproc)" --json > "$out.plan" ||
            fail "no plan: $what"
    done
done

python3 - "$SCRATCH" "$runs" "$has_json" "$is_smoke" "$FAILURES" "${rows[@]}" << 'END'
import json, math, re, statistics, sys
scratch, runs, has_json, is_smoke, failures = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
failures = int(failures)
results = []


def first_deal_ends(out):
    """The step at which lanes were dealt anew."""
    views = re.findall(r"ev=view .* step=(\d+)", open(out + "/log/c").read())
    return min((int(step) for step in views[1:] if int(step) > 0), default=math.inf)


def step_ms(out, round_steps):
    rows = [json.loads(line) for line in open(out + "/metrics.jsonl")]
    rows = [r for r in rows if r["samples_per_s"] is not None]
    gaps = [((b["wall_s"] - a["wall_s"]) / (b["step"] - a["step"]), b["step"])
            for a, b in zip(rows, rows[1:])]
    even = [gap for gap, step in gaps if step <= first_deal_ends(out)]
    return statistics.median(even or [gap for gap, _ in gaps]) * 1e3 / round_steps


for i, row in enumerate(sys.argv[6:]):
    what, workers, mbit, ms = row.split("|")[:4]
    predicted, measured, parts = [], [], []
    for k in range(runs):
        out = f"{scratch}/{i}-{k}"
        plan = json.load(open(out + ".plan"))
        measured.append(step_ms(out, plan["round_steps"]))
        predicted.append(plan["rows"][-1]["step_ms"])
        parts.append(plan["rows"][-1]["bottleneck"])
    ratios = [p / m for p, m in zip(predicted, measured)]
    results.append({"what": what, "workers": int(workers), "mbit": int(mbit), "rtt_ms": int(ms),
                    "predicted_ms": round(statistics.median(predicted), 2),
                    "measured_ms": round(statistics.median(measured), 2),
                    "ratio": round(statistics.median(ratios), 2), "least": round(min(ratios), 2),
                    "most": round(max(ratios), 2), "bottleneck": statistics.mode(parts)})
if has_json:
    print(json.dumps(results))
else:
    print("\n| workers | Mbit/s | ms there and back | exchange | ms a step, predicted | measured | "
          "ratio | least to most | what costs most |\n|---|---|---|---|---|---|---|---|---|")
    for r in results:
        print("| {workers} | {mbit} | {rtt_ms} | {what} | {predicted_ms} | {measured_ms} "
              "| {ratio} | {least} to {most} | {bottleneck} |".format(**r))
allowed = 4.0 if is_smoke else 1.25
for r in results:
    if not 1 / allowed <= r["ratio"] <= allowed:
        print(f"FAIL  {r['what']}, {r['workers']} workers, {r['mbit']} Mbit/s: off by more than "
              f"{allowed} times")
        failures += 1
sys.exit(failures > 0)
END
