#!/usr/bin/env bash
# vs_pytorch.sh [--json] [--threads 1,2] [--networks NAME,...] [--rounds N] [--products KIND]
# [--smoke]: a training step (forward, backward, SGD with momentum) of the networks of step/*.cfg by
# `talweg bench step`, beside the same network in PyTorch (Debian's python3-torch; vs_pytorch.py),
# process after process, in turn.
#
# What is compared is the median over the rounds (5) of each process's median step; start is the
# time from a process's start to its first step; memory is the most that was resident.
# PyTorch has what makes it fastest: memory that it frees stays its own (MALLOC_*), OpenBLAS in its
# OpenMP build (libopenblas0-openmp, or the folder TALWEG_OPENMP_BLAS; without it libgomp's threads
# and OpenBLAS's own get in each other's way), images in channels-last order, and for each network
# those of OpenBLAS's kernels that one run each finds fastest. Talweg has the kind of products that
# one run each finds fastest, where there is AMX: model.products; what is chosen is in the rows.
#
# A network that cannot be run is named and the script fails, after the others' rows.
#
# --products: f32 or bf16x3 for all, or fastest (the default).
#
# --smoke: two small networks, two rounds of few steps, no figure of any use: whether all runs tell
# what they should and losses are numbers.
. "$(dirname "$0")/../system/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
export LC_ALL=C
has_json='' is_smoke='' products=fastest rounds=5 threads_list=1,2
networks=mlp128,mlp1024,lenet,resnet18,lstm,gpt
while [ $# -gt 0 ]; do
    case $1 in
    --json) has_json=1 ;;
    --smoke) is_smoke=1 rounds=2 threads_list=1 networks=mlp128,lenet ;;
    --threads | --networks | --rounds | --products)
        [ $# -gt 1 ] || { say "$1: expected a value" >&2; exit 2; }
        case $1 in
        --threads) threads_list=$2 ;;
        --networks) networks=$2 ;;
        --rounds) rounds=$2 ;;
        --products) products=$2 ;;
        esac
        shift
        ;;
    *)
        say "$1: expected --json, --threads 1,2, --networks NAME,..., --rounds N," \
            "--products f32, bf16x3 or fastest, or --smoke" >&2
        exit 2
        ;;
    esac
    shift
done
[[ $threads_list =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ && $rounds =~ ^[1-9][0-9]*$ ]] ||
    { say "--threads, --rounds: found $threads_list, $rounds; expected whole numbers" >&2; exit 2; }

# The system's own comes first: another python3 on the path does not see Debian's packages.
for python in /usr/bin/python3 python3 ''; do
    [ -n "$python" ] || skip "no python3 here has torch (Debian: python3-torch)"
    "$python" -c 'import torch' 2> /dev/null && break
done

note() { [ -n "$has_json" ] || say "$@" >&2; }

openmp_blas=${TALWEG_OPENMP_BLAS:-/usr/lib/$(uname -m)-linux-gnu/openblas-openmp}
if [ -e "$openmp_blas/libblas.so.3" ]; then
    blas=openmp
else
    blas=pthread
    note "no $openmp_blas (package libopenblas0-openmp): PyTorch at 2 threads is not at its best"
fi

# network_options NAME: the job file, then the options that draw its samples.
network_options() {
    case $1 in
    mlp128) say mlp.cfg --batch 128 --input 784 --classes 10 ;;
    mlp1024) say mlp.cfg --batch 1024 --input 784 --classes 10 ;;
    lenet) say lenet.cfg --batch 64 --input 28x28x1 --classes 10 ;;
    resnet18) say resnet18.cfg --batch 32 --input 32x32x3 --classes 10 ;;
    lstm) say lstm.cfg --batch 32 --tokens 65 --sequence 64 ;;
    gpt) say gpt.cfg --batch 8 --tokens 65 --sequence 128 ;;
    *) return 1 ;;
    esac
}

# Timed steps of one process: a second or so.
steps_of() {
    [ -z "$is_smoke" ] || { say 3; return; }
    case $1 in
    mlp128) say 60 ;;
    mlp1024) say 12 ;;
    lenet) say 40 ;;
    resnet18) say 4 ;;
    lstm) say 15 ;;
    gpt) say 6 ;;
    esac
}

# keep WHO NETWORK THREADS BEGAN: appends what a process printed.
keep() {
    json "$SCRATCH/one" '{"who": "'"$1"'", "network": "'"$2"'", "threads": '"$3"',
        "start_s": round(d["ready_at_ms"] / 1000 - '"$4"', 3),
        "first_step_end_s": round(d["first_step_at_ms"] / 1000 - '"$4"', 3),
        **{k: v for k, v in d.items() if k not in ("threads", "operators")}}' >> "$SCRATCH/results"
}

# talweg NETWORK THREADS PRODUCTS: what it says when it cannot is in $SCRATCH/why.
talweg() {
    local job options began
    read -r job options <<< "$(network_options "$1")"
    began=$EPOCHREALTIME
    # shellcheck disable=SC2086 # the options are words
    "$TALWEG" bench step "$here/step/$job" $options --threads "$2" --steps "$(steps_of "$1")" \
        --set "model.products=$3" --json > "$SCRATCH/one" 2> "$SCRATCH/why" &&
        json "$SCRATCH/one" '{**d, "products": "'"$3"'"}' > "$SCRATCH/two" &&
        mv "$SCRATCH/two" "$SCRATCH/one" && keep talweg "$1" "$2" "$began"
}

# pytorch NETWORK THREADS KERNELS STEPS: writes $SCRATCH/one, and when it began to $began. KERNELS
# auto: those that OpenBLAS takes by itself.
pytorch() {
    local settings=(MALLOC_MMAP_THRESHOLD_=2000000000 MALLOC_TRIM_THRESHOLD_=8000000000
        MALLOC_TOP_PAD_=67108864 "OMP_NUM_THREADS=$2" "OPENBLAS_NUM_THREADS=$2")
    if [ "$blas" = openmp ]; then
        settings+=("LD_LIBRARY_PATH=$openmp_blas")
    else
        settings+=(OMP_WAIT_POLICY=PASSIVE)
    fi
    [ "$3" = auto ] || settings+=("OPENBLAS_CORETYPE=$3")
    began=$EPOCHREALTIME
    env "${settings[@]}" "$python" "$here/vs_pytorch.py" "$1" "$2" "$4" \
        > "$SCRATCH/one" 2> "$SCRATCH/why" ||
        { say "pytorch, $1: $(cat "$SCRATCH/why")" >&2; exit 1; }
}

# choose_kernels NETWORK THREADS: those that make PyTorch's step fastest, in $kernels; with
# OPENBLAS_CORETYPE in the environment those, for both.
choose_kernels() {
    local candidate candidates=(auto) least='' found
    kernels=${OPENBLAS_CORETYPE:-auto}
    [ -z "$is_smoke" ] && [ -z "${OPENBLAS_CORETYPE:-}" ] || return 0
    grep -qw avx2 /proc/cpuinfo && candidates+=(Haswell)
    grep -qw avx512f /proc/cpuinfo && candidates+=(SkylakeX)
    for candidate in "${candidates[@]}"; do
        pytorch "$1" "$2" "$candidate" "$(steps_of "$1")"
        found=$(json "$SCRATCH/one" 'round(d["min_ms"] * 1000)')
        if [ -z "$least" ] || [ "$found" -lt "$least" ]; then
            least=$found
            kernels=$candidate
        fi
    done
}

# choose_products NETWORK THREADS: those that make Talweg's step fastest, in $chosen. The runs are
# not counted; the first warms the files up.
choose_products() {
    local candidate candidates=("$products") least='' found
    if [ "$products" = fastest ]; then
        candidates=(f32)
        [ -z "$is_smoke" ] && grep -qw amx_bf16 /proc/cpuinfo && candidates+=(bf16x3)
    fi
    for candidate in "${candidates[@]}"; do
        talweg "$1" "$2" "$candidate" || return 1
        sed -i '$d' "$SCRATCH/results"
        found=$(json "$SCRATCH/one" 'round(d["min_ms"] * 1000)')
        if [ -z "$least" ] || [ "$found" -lt "$least" ]; then
            least=$found
            chosen=$candidate
        fi
    done
}

both() {
    pytorch "$1" "$2" "$kernels" "$(steps_of "$1")"
    json "$SCRATCH/one" '{**d, "kernels": "'"$kernels"'"}' > "$SCRATCH/two" &&
        mv "$SCRATCH/two" "$SCRATCH/one" && keep pytorch "$1" "$2" "$began"
}

failed=()
: > "$SCRATCH/results"
for network in ${networks//,/ }; do
    network_options "$network" > /dev/null || {
        say "--networks: found '$network', expected some of mlp128,mlp1024,lenet,resnet18,lstm,gpt"
        exit 2
    } >&2
    for threads in ${threads_list//,/ }; do
        note "$network, $threads thread(s)"
        if ! choose_products "$network" "$threads"; then
            say "$network: not measured: $(cat "$SCRATCH/why")" >&2
            failed+=("$network")
            break
        fi
        choose_kernels "$network" "$threads"
        for ((round = 1; round <= rounds; round++)); do
            if ((round % 2)); then
                talweg "$network" "$threads" "$chosen" && both "$network" "$threads"
            else
                both "$network" "$threads" && talweg "$network" "$threads" "$chosen"
            fi || { say "$network: $(cat "$SCRATCH/why")" >&2; exit 1; }
        done
    done
done

python3 - "$SCRATCH/results" "$has_json" "$blas" "$is_smoke" << 'END' || exit 1
import json, math, statistics, sys
runs = [json.loads(line) for line in open(sys.argv[1])]
AIMS = {"mlp128": 1.15, "mlp1024": 1.0, "lenet": 1.6, "resnet18": 1.5, "lstm": 1.5, "gpt": 1.4}
MEMORY_AIM, START_AIM_S = 0.5, 0.1
# Talweg counts running means and variances, PyTorch has a second bias of each gate.
WEIGHTS_MORE = {"resnet18": 9600, "lstm": -1024}

def median(found, key):
    return statistics.median(run[key] for run in found)

def row(network, threads):
    of = {who: [run for run in runs if (run["who"], run["network"], run["threads"]) ==
                (who, network, threads)] for who in ("talweg", "pytorch")}
    if not all(math.isfinite(run[key]) for side in of.values() for run in side
               for key in ("first_loss", "last_loss")):
        sys.exit(f"{network}: a loss is no number")
    weights = {who: side[0]["weights"] for who, side in of.items()}
    if weights["talweg"] - weights["pytorch"] != WEIGHTS_MORE.get(network, 0):
        sys.exit(f"{network}: these are not the same networks: {weights}")
    talweg, pytorch = (median(of[who], "ms") for who in ("talweg", "pytorch"))
    ratios = [p["ms"] / t["ms"] for t, p in zip(of["talweg"], of["pytorch"])]
    return {"network": network, "threads": threads,
            "talweg_ms": round(talweg, 3), "pytorch_ms": round(pytorch, 3),
            "ratio": round(pytorch / talweg, 3),
            "talweg_rss": round(median(of["talweg"], "peak_rss_bytes")),
            "pytorch_rss": round(median(of["pytorch"], "peak_rss_bytes")),
            "ratio_min": round(min(ratios), 3), "ratio_max": round(max(ratios), 3),
            **{f"{who}_cpu_ms": round(median(side, "cpu_ms"), 3) for who, side in of.items()},
            "talweg_min_ms": round(min(run["min_ms"] for run in of["talweg"]), 3),
            "pytorch_min_ms": round(min(run["min_ms"] for run in of["pytorch"]), 3),
            **{f"{who}_{key}": round(median(of[who], key), 3)
               for key in ("start_s", "first_step_end_s") for who in ("talweg", "pytorch")},
            "talweg_gflops": round(median(of["talweg"], "gflops"), 1),
            "peak_gflops": round(max(run["peak_gflops"] for run in of["talweg"]), 1),
            "talweg_kernels": of["talweg"][0]["kernels"],
            "talweg_products": of["talweg"][0]["products"],
            "pytorch_kernels": of["pytorch"][0]["kernels"],
            "weights": weights["talweg"], "aim": AIMS[network]}

rows = [row(*pair) for pair in dict.fromkeys((run["network"], run["threads"]) for run in runs)]
if sys.argv[4] and len(rows) != 2:
    sys.exit(f"found {len(rows)} rows, expected 2")
if sys.argv[2]:
    print(json.dumps({"rows": rows, "pytorch_blas": sys.argv[3]}))
    sys.exit()
print("| network | threads | talweg ms | pytorch ms | ratio | least to most | aim "
      "| of processor time | MB | pytorch MB | start s | pytorch s | GFLOP/s | of peak |\n"
      + "|---" * 14 + "|")
for r in rows:
    print("| {network} | {threads} | {talweg_ms:.2f} | {pytorch_ms:.2f} | {ratio:.2f} "
          "| {ratio_min:.2f} to {ratio_max:.2f} | {aim} {0} | {4:.2f} | {1:.0f} | {2:.0f} "
          "| {talweg_start_s:.2f} | {pytorch_start_s:.2f} | {talweg_gflops:.0f} | {3:.0%} |".format(
              "ok" if r["ratio"] >= r["aim"] else "below", r["talweg_rss"] / 1e6,
              r["pytorch_rss"] / 1e6, r["talweg_gflops"] / r["peak_gflops"],
              r["pytorch_cpu_ms"] / r["talweg_cpu_ms"], **r))
if rows:
    memory = max(r["talweg_rss"] / r["pytorch_rss"] for r in rows)
    start = max(r["talweg_start_s"] for r in rows)
    print("\nmemory at most {:.2f} of PyTorch's, aim <= {}: {}; start at most {:.2f} s, aim <= {}: "
          "{}".format(memory, MEMORY_AIM, "ok" if memory <= MEMORY_AIM else "above",
                      start, START_AIM_S, "ok" if start <= START_AIM_S else "above"))
    print("kernels:", "; ".join(f"{r['network']} {r['threads']}: {r['talweg_kernels']}, "
                                f"{r['talweg_products']}, beside {r['pytorch_kernels']}"
                                for r in rows))
END
[ ${#failed[@]} -eq 0 ] || { say "not measured: ${failed[*]}" >&2; exit 1; }
