#!/usr/bin/env bash
# failover.sh [KILLS] [--json]: how long it is from SIGKILL of a server to the next finished step,
# with one copy of each block on three servers: median, 90th percentile, maximum over so many kills
# (100), in as many runs as it takes.  Fails when a run's digest is not that of an undisturbed one,
# or when a kill cost more than that.
. "$(dirname "$0")/../system/lib.sh"
BENCH=${TALWEG_BENCH:-$BIN/bench_failover}
[ -x "$BENCH" ] || skip "$BENCH is not there: build with -DTALWEG_TESTS=ON"
kills=100 has_json=
for argument; do
    case $argument in
    --json) has_json=1 ;;
    *) kills=$argument ;;
    esac
done
steps=$((kills < 10 ? 1500 : 6000))

# Steps of some milliseconds, so that none of them hides between two looks.
sed "s|units = 64|units = 1024|; s|\.\./data|$ROOT/deploy/data|" "$DIGITS" > "$SCRATCH/wide.cfg"
job=("$SCRATCH/wide.cfg" --set job.batch=256 --set job.epochs=0 --set "job.steps=$steps"
    --set exchange.block_bytes=32768 --servers 3 --workers 2)
note() { [ -n "$has_json" ] || say "$*"; }

train "$SCRATCH/reference" "${job[@]}" || { cat "$SCRATCH/reference.txt"; exit 1; }
reference=$(digest "$SCRATCH/reference")
note "undisturbed: $steps steps in $(json "$SCRATCH/reference/summary.json" 'round(d["wall_s"], 1)') s"

: > "$SCRATCH/times"
count() { wc -l < "$SCRATCH/times"; }
code=0 is_same=true
for ((run = 1; $(count) < kills && run <= kills; run++)); do
    out=$SCRATCH/run-$run
    start "$out.txt" "$TALWEG" train "${job[@]}" --out "$out" --set cluster.replicas=1
    train_pid=$LAST_PID
    wait_until 30 test -f "$out/run.json"
    "$BENCH" "$(json "$out/run.json" 'd["coordinator"]')" $((kills - $(count))) "$run" \
        >> "$SCRATCH/times" || code=1
    finished_within 300 "$train_pid" || { code=1; tail -n 3 "$out.txt"; }
    [ "$(digest "$out")" = "$reference" ] ||
        { code=1 is_same=false; say "run $run: another digest" >&2; }
    note "run $run: $(count) kills so far"
    [ "$code" -eq 0 ] || break
done

python3 - "$SCRATCH/times" "$has_json" "$is_same" << 'END'
import json, sys
times = sorted(float(line.split()[0]) for line in open(sys.argv[1]))
if not times:
    sys.exit("failover: nobody was killed")
at = lambda share: times[min(len(times) - 1, int(share * len(times)))]
result = {"kills": len(times), "p50_ms": at(0.5), "p90_ms": at(0.9), "max_ms": times[-1],
          "same_digest": sys.argv[3] == "true"}
if sys.argv[2]:
    print(json.dumps(result))
else:
    print("SIGKILL of a server to the next finished step: "
          "median {p50_ms:.0f} ms, 90 % within {p90_ms:.0f} ms, at most {max_ms:.0f} ms, "
          "over {kills} kills".format(**result))
END
[ $? -eq 0 ] && exit "$code"
exit 1
