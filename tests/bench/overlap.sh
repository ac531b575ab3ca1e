#!/usr/bin/env bash
# overlap.sh [--smoke] [--json] [RUNS]: what it gives that steps begin while weights still come in.
#
# Two workers, each in a network namespace of its own, reach the server over a link of 150 Mbit/s
# (veth, tc's tbf) and train Fashion-MNIST: convolutions that compute much and weigh little, then
# dense layers that have nearly all weights. exchange.overlap off and on; exchange.credit_bytes as
# it is by default, and eight blocks, so that blocks wait in the worker, where the first layers'
# overtake. RUNS (3) of each, in turn; the medians. The weights must have the same bits in all.
#
# --smoke: once, a few steps, no figure of any use: does it all work?
. "$(dirname "$0")/../system/lib.sh"
has_json='' is_smoke='' runs=3
for argument; do
    case $argument in
    --json) has_json=1 ;;
    --smoke) is_smoke=1 ;;
    *) runs=$argument ;;
    esac
done
job=$SCRATCH/wide.cfg
sed 's/units = 128/units = 512/; s/filters = 16/filters = 32/' \
    "$ROOT/deploy/jobs/fashion-mnist-cnn.cfg" > "$job"
[ -r /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ] ||
    skip "no Fashion-MNIST (Debian: dataset-fashion-mnist)"

rate=150mbit steps=40 block=65536
[ -z "$is_smoke" ] || { runs=1 steps=20; }
common=(--servers=1 --workers=2 --set=cluster.insecure=true --set=exchange.shared_memory=false
    --set=worker.threads=1 --set=job.lanes=2 --set=job.batch=512 --set=job.epochs=0
    --set=job.steps="$steps" --set=job.eval_every=1000000 --set=log.every=10
    --set=exchange.block_bytes="$block")

. "$(dirname "$0")/links.sh"

# device SPACE NAME ADDRESS: up, with an address and a rate.
device() {
    ip -n "$name-$1" addr add "$3/30" dev "$2" && ip -n "$name-$1" link set "$2" up &&
        tc -n "$name-$1" qdisc add dev "$2" root tbf rate "$rate" burst 64kb latency 50ms
}

for i in 0 1; do
    ip link add "link$i" netns "$name-s" type veth peer name far netns "$name-w$i" 2> /dev/null &&
        device s "link$i" "$net.$((4 * i + 1))" && device "w$i" far "$net.$((4 * i + 2))" &&
        ip -n "$name-w$i" route add "$server/32" via "$net.$((4 * i + 1))" ||
        skip "no link of $rate can be made here"
done

# train_over OUT SETTING...: both links carry it.
train_over() {
    local out=$1
    shift
    start_roles "$job" "$out" "${common[@]}" "$@"
    finished_within 120 "$RUN" || fail "$out: $(tail -n 2 "$out"/log/*)"
    wait_members
}

for ((k = 0; k < runs; k++)); do
    for overlap in false true; do
        train_over "$SCRATCH/$overlap-large-$k" --set=exchange.overlap=$overlap
        train_over "$SCRATCH/$overlap-small-$k" --set=exchange.overlap=$overlap \
            --set=exchange.credit_bytes=$((8 * block))
    done
done

python3 - "$SCRATCH" "$runs" "$has_json" "$FAILURES" << 'END'
import json, statistics, sys
scratch, runs, has_json, failures = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
results, digests = [], set()
for overlap in ("false", "true"):
    for credit in ("large", "small"):
        rates, hidden = [], []
        for k in range(runs):
            out = f"{scratch}/{overlap}-{credit}-{k}"
            rows = [json.loads(line) for line in open(out + "/metrics.jsonl")]
            summary = json.load(open(out + "/summary.json"))
            first, last = rows[0], [r for r in rows if r["test_accuracy"] is None][-1]
            rates.append((last["step"] - first["step"]) / (last["wall_s"] - first["wall_s"]))
            hidden.append(summary["exchange_hidden"])
            digests.add(summary["digest"])
        results.append({"overlap": overlap == "true", "credit": credit,
                        "steps_per_s": round(statistics.median(rates), 2),
                        "least": round(min(rates), 2), "most": round(max(rates), 2),
                        "exchange_hidden": round(statistics.median(hidden), 2)})
if has_json:
    print(json.dumps(results))
else:
    print("\n| overlap | credit | steps a second | least to most | hidden |\n|---|---|---|---|---|")
    for r in results:
        print(f"| {'on' if r['overlap'] else 'off'} | {r['credit']} | {r['steps_per_s']} | "
              f"{r['least']} to {r['most']} | {r['exchange_hidden']} |")
if len(digests) != 1:
    print(f"FAIL  {len(digests)} different digests")
    failures += 1
sys.exit(failures > 0)
END
