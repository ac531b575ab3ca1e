#!/usr/bin/env bash
# exchange.sh [--json] [--seconds N] [--runs N] [--smoke]: how fast gradients and weights move on
# this machine, and how near that is to what it can do at best.
#
# Every row of the table is `talweg bench exchange` run some times (3), in turn with all others;
# figures are medians, ratios are to the limits measured right before and after in the same run.
# Then each aim, what was measured (median, least and most of the runs), and `ok` or `below`. A
# machine on which something else runs is below easily, so that is no failure; a run that fails is.
#
# --smoke: three short rows, once; no figure of any use.
. "$(dirname "$0")/../system/lib.sh"
has_json='' seconds=2 runs=3 is_smoke=''
while [ $# -gt 0 ]; do
    case $1 in
    --json) has_json=1 ;;
    --smoke) is_smoke=1 seconds=0.2 runs=1 ;;
    --seconds | --runs)
        [ $# -gt 1 ] || { say "$1: expected a number" >&2; exit 2; }
        if [ "$1" = --runs ]; then runs=$2; else seconds=$2; fi
        shift
        ;;
    *)
        say "$1: expected --json, --seconds N, --runs N or --smoke" >&2
        exit 2
        ;;
    esac
    shift
done

# row NAME OPTIONS...: one run more of it; what it says ends the script when it fails.
row() {
    local name=$1
    shift
    "$TALWEG" bench exchange "$@" --seconds "$seconds" --json > "$SCRATCH/row" \
        2> "$SCRATCH/why" || { say "$name: $(cat "$SCRATCH/why")" >&2; exit 1; }
    json "$SCRATCH/row" '{"name": "'"$name"'", **d}' >> "$SCRATCH/rows" || exit 1
}

# sized TRANSPORT SHAPE: servers x workers, as the tables say it.
sized() {
    row "$1 $2" --transport "$1" --servers "${2%x*}" --workers "${2#*x}" "${@:3}"
}

smoke_rows() {
    sized tcp 1x1 --bytes 4194304
    row "tcp 1x1 4 KiB" --transport tcp --block-bytes 4096 --bytes 4194304
    row "shm one block" --transport shm --block-bytes 4096 --bytes 4096
}

all_rows() {
    local transport shape
    for transport in shm ipc tcp; do
        for shape in 1x1 1x2 2x2; do
            sized "$transport" "$shape"
        done
        row "$transport 1x1 256 KiB" --transport "$transport" --block-bytes 262144
        row "$transport 1x1 4 KiB" --transport "$transport" --block-bytes 4096
        row "$transport 1x1 adam" --transport "$transport" --optimizer adam
        row "$transport one block" --transport "$transport" --block-bytes 4096 --bytes 4096
    done
    row "tcp 2x2 256 KiB" --transport tcp --servers 2 --workers 2 --block-bytes 262144
    row "shm resnet50" --transport shm --model resnet50 --shards 2 --workers 2
    row "tcp resnet50" --transport tcp --model resnet50 --shards 2 --workers 2
    row "tcp 100m" --transport tcp --model 100m --workers 2
}

for ((run = 1; run <= runs; run++)); do
    [ -n "$has_json" ] || say "run $run of $runs" >&2
    if [ -n "$is_smoke" ]; then smoke_rows; else all_rows; fi
done

python3 - "$SCRATCH/rows" "$has_json" << 'END'
import json, statistics, sys
runs = {}
for line in open(sys.argv[1]):
    run = json.loads(line)
    runs.setdefault(run["name"], []).append(run)

goodput = lambda d: d["goodput_gbs"]
limit = lambda key: lambda d: d["limit"][key]
cpu = lambda d: d["cpu_s_per_gb"]["worker"] + d["cpu_s_per_gb"]["server"]
over = lambda a, b: lambda d: a(d) / b(d)
memory = lambda side: lambda d: d["rss_over_model"][side]
to_ring = over(goodput, limit("shm_copy_add_gbs"))
to_zmq = over(goodput, limit("zmq_stream_gbs"))
cpu_to_zmq = over(cpu, limit("zmq_stream_cpu_s_per_gb"))
to_rtt = over(lambda d: d["step_p50_us"], limit("zmq_rtt_us"))
beyond = lambda d: memory("server")(d) - 1
# Figures of two rows are of the same turn.
to_large = lambda pair: goodput(pair[0]) / goodput(pair[1])

def spread(of, values):
    found = [of(value) for value in values]
    return statistics.median(found), min(found), max(found)

# What, rows, figure, sign, aim.
AIMS = [("goodput / shared ring, 1 MiB", ["shm 1x1"], to_ring, ">=", 0.7),
        ("goodput / ZeroMQ over ipc", ["shm 1x1"], to_zmq, ">=", 2.5)]
AIMS += [("goodput / ZeroMQ over tcp", [row], to_zmq, ">=", 0.85)
         for row in ("tcp 1x1", "tcp 2x2", "tcp 1x1 256 KiB", "tcp 2x2 256 KiB")]
AIMS += [("goodput / own at 1 MiB", ["tcp 1x1 4 KiB", "tcp 1x1"], to_large, ">=", 0.6),
         ("processor time / ZeroMQ's", ["tcp 1x1"], cpu_to_zmq, "<=", 1.3),
         ("server's memory beyond weights", ["tcp 100m"], beyond, "<=", 0.35)]
AIMS += [("p50 / ZeroMQ round trip", [f"{transport} one block"], to_rtt, "<=", 1.5)
         for transport in ("tcp", "ipc", "shm")]

table = []
for name, found in runs.items():
    median = lambda of: round(spread(of, found)[0], 3)
    table.append({
        "name": name, "goodput_gbs": median(goodput), "step_p50_us": median(
            lambda d: d["step_p50_us"]), "step_p99_us": median(lambda d: d["step_p99_us"]),
        "cpu_s_per_gb": {side: median(lambda d: d["cpu_s_per_gb"][side])
                         for side in ("worker", "server")},
        "to_memcpy": median(over(goodput, limit("memcpy_gbs"))), "to_ring": median(to_ring),
        "to_socket": median(over(goodput, limit("socket_gbs"))), "to_zmq": median(to_zmq),
        "cpu_to_zmq": median(cpu_to_zmq), "p50_to_zmq_rtt": median(to_rtt),
        "rss_over_model": {side: median(memory(side)) for side in ("worker", "server")},
        "runs": [{key: value for key, value in run.items() if key != "name"} for run in found]})
aims = []
for what, rows, of, sign, aim in AIMS:
    if any(row not in runs for row in rows):
        continue
    found = list(zip(*(runs[row] for row in rows))) if len(rows) > 1 else runs[rows[0]]
    middle, least, most = spread(of, found)
    is_ok = middle >= aim if sign == ">=" else middle <= aim
    aims.append({"row": rows[0], "what": what, "sign": sign, "aim": aim,
                 "median": round(middle, 3), "min": round(least, 3), "max": round(most, 3),
                 "verdict": "ok" if is_ok else "below"})

if sys.argv[2]:
    print(json.dumps({"rows": table, "aims": aims}))
    sys.exit()
print("\n| servers x workers | GB/s | p50 us | p99 us | s/GB worker | s/GB server | to the ring "
      "| to ZeroMQ | s/GB to ZeroMQ | p50 to its round trip | memory worker | memory server |")
print("|---" * 12 + "|")
for r in table:
    print("| {name} | {goodput_gbs:.2f} | {step_p50_us:.0f} | {step_p99_us:.0f} | {0[worker]:.2f} "
          "| {0[server]:.2f} | {to_ring:.2f} | {to_zmq:.2f} | {cpu_to_zmq:.1f} "
          "| {p50_to_zmq_rtt:.2f} | {1[worker]:.2f} | {1[server]:.2f} |".format(
              r["cpu_s_per_gb"], r["rss_over_model"], **r))
print("\n| row | figure | aim | measured | least to most | |\n|---|---|---|---|---|---|")
for a in aims:
    print("| {row} | {what} | {sign} {aim} | {median:.2f} | {min:.2f} to {max:.2f} "
          "| {verdict} |".format(**a))
END
