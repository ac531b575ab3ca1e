#!/usr/bin/env bash
# vs_gloo.sh [--json] [--smoke]: two workers exchange ResNet-50's 161 tensors through one server of
# two shards, beside gloo's all-reduce of the same by two processes (Debian's python3-torch;
# vs_gloo.py says how they are cut and what is timed), in turn, five times each.
#
# What is compared is the median of the steps' times, of gloo with the number of threads that suits
# it best. Over TCP a server outside the workers moves twice a ring's bytes: its bound is 2. Talweg's
# step also copies gradients out of the worker's, as compute threads do, and changes the weights.
#
# --smoke: once, short, no figure of any use.
. "$(dirname "$0")/../system/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
has_json='' seconds=2 runs=5
for argument; do
    case $argument in
    --json) has_json=1 ;;
    --smoke) seconds=0.2 runs=1 ;;
    *)
        say "$argument: expected --json or --smoke" >&2
        exit 2
        ;;
    esac
done

# The system's own comes first: another python3 on the path does not see Debian's packages.
for python in /usr/bin/python3 python3 ''; do
    [ -n "$python" ] || skip "no python3 here has torch (Debian: python3-torch)"
    "$python" -c 'import torch.distributed as d; d.ProcessGroupGloo' 2> /dev/null && break
done

talweg() {
    "$TALWEG" bench exchange --transport "$1" --model resnet50 --shards 2 --workers 2 \
        --seconds "$seconds" --no-limits --json > "$SCRATCH/one" 2> "$SCRATCH/why" ||
        { say "talweg over $1: $(cat "$SCRATCH/why")" >&2; exit 1; }
    json "$SCRATCH/one" '{"who": "talweg", **d}' >> "$SCRATCH/results" || exit 1
}

gloo() {
    local other
    start "$SCRATCH/why" "$python" "$here/vs_gloo.py" 1 "$SCRATCH/meet$1" "$seconds"
    other=$LAST_PID
    timeout 300 "$python" "$here/vs_gloo.py" 0 "$SCRATCH/meet$1" "$seconds" > "$SCRATCH/one" &&
        finished_within 60 "$other" || { say "gloo: $(cat "$SCRATCH/why")" >&2; exit 1; }
    json "$SCRATCH/one" '{"who": "gloo", **d}' >> "$SCRATCH/results" || exit 1
}

for ((run = 1; run <= runs; run++)); do
    talweg shm
    gloo "$run"
    talweg tcp
done

python3 - "$SCRATCH/results" "$has_json" << 'END'
import json, statistics, sys
runs = [json.loads(line) for line in open(sys.argv[1])]
of_talweg = [run for run in runs if run["who"] == "talweg"]
of_gloo = [run for run in runs if run["who"] == "gloo"]
for run in runs:
    floats = run["floats"] if run["who"] == "gloo" else run["model_bytes"] // 4
    if floats != 25557032 or run.get("count", 161) != 161:
        sys.exit("the two do not exchange the same tensors")

def row(name, times, threads=None):
    made = {"name": name, "ms": round(statistics.median(times), 1), "min_ms": round(min(times), 1),
            "max_ms": round(max(times), 1)}
    return made if threads is None else {**made, "threads": threads}

def best(cut):
    choices = {threads: [run["ms"][cut][threads] for run in of_gloo]
               for threads in of_gloo[0]["ms"][cut]}
    threads = min(choices, key=lambda t: statistics.median(choices[t]))
    return row(f"gloo {cut}", choices[threads], int(threads))

rows = [row(f"talweg {transport}", [run["step_p50_us"] / 1000 for run in of_talweg
                                    if run["transport"] == transport])
        for transport in ("shm", "tcp")]
rows += [best(cut) for cut in ("buckets", "tensors", "flat")]
ms = {r["name"]: r["ms"] for r in rows}
result = {"rows": rows, "gloo_buckets": of_gloo[0]["buckets"],
          "shm_to_gloo": round(ms["talweg shm"] / ms["gloo buckets"], 3),
          "tcp_to_gloo": round(ms["talweg tcp"] / ms["gloo buckets"], 3)}
if sys.argv[2]:
    print(json.dumps(result))
    sys.exit()
print("| ResNet-50, two workers | ms a step | least to most | gloo's threads |\n|---|---|---|---|")
for r in rows:
    print(f"| {r['name']} | {r['ms']} | {r['min_ms']} to {r['max_ms']} | {r.get('threads', '')} |")
print("\nshm / gloo's buckets {:.2f}, aim <= 0.5: {}; tcp / gloo's buckets {:.2f}, bound 2".format(
    result["shm_to_gloo"], "ok" if result["shm_to_gloo"] <= 0.5 else "below",
    result["tcp_to_gloo"]))
END
