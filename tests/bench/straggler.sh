#!/usr/bin/env bash
# straggler.sh [STEPS] [--json]: how long a step takes with four workers of which one gets a tenth of
# the time of a processor (it is stopped for 18 of every 20 ms), over that of three healthy ones
# alone: medians of three runs each, in turn.  Fails when a digest differs or status never names the
# slow one.
. "$(dirname "$0")/../system/lib.sh"
. "$(dirname "$0")/../system/faults.sh"
STEPS=600 has_json=
for argument; do
    case $argument in
    --json) has_json=1 ;;
    *) STEPS=$argument ;;
    esac
done
SIZED=(--set job.epochs=0 --set "job.steps=$STEPS")

# A lane takes some milliseconds.
sed "s|units = 64|units = 2048|; s|\.\./data|$ROOT/deploy/data|" "$DIGITS" > "$SCRATCH/wide.cfg"
DIGITS=$SCRATCH/wide.cfg
job=(--set job.batch=512 --servers 1)

slow_pid=
slow_down() {
    while kill -STOP "$1" 2> /dev/null; do
        sleep 0.018
        kill -CONT "$1" 2> /dev/null
        sleep 0.002
    done
}
test_cleanup() { [ -z "$slow_pid" ] || kill "$slow_pid" 2> /dev/null; }

# step_ms OUT: of the second half of the run, when lanes lie as they will.
step_ms() {
    python3 - "$1/metrics.jsonl" "$STEPS" << 'END'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
rows = [(row["step"], row["wall_s"]) for row in rows if row["step"] >= int(sys.argv[2]) // 2]
print((rows[-1][1] - rows[0][1]) * 1000 / (rows[-1][0] - rows[0][0]))
END
}

named=0
for run in 1 2 3; do
    out=$SCRATCH/three-$run
    train "$out" "$DIGITS" "${SIZED[@]}" "${job[@]}" --workers 3 || { cat "$out.txt"; exit 1; }
    step_ms "$out" >> "$SCRATCH/three"
    digest "$out" >> "$SCRATCH/digests"

    out=$SCRATCH/four-$run
    begin "$out" "${job[@]}" --workers 4
    at_step "$out" 1
    slow_down "$(process_of worker 2)" &
    slow_pid=$!
    until is_gone "$TRAIN"; do
        status_is "$out" 'any(w["rank"] == 2 and w["lagging"] for w in d["workers"])' &&
            named=$((named + 1))
        sleep 0.2
    done
    kill "$slow_pid" 2> /dev/null
    wait "$slow_pid" 2> /dev/null
    slow_pid=
    finished_within 5 "$TRAIN" || { tail -n 3 "$out.txt"; exit 1; }
    step_ms "$out" >> "$SCRATCH/four"
    digest "$out" >> "$SCRATCH/digests"
done

python3 - "$SCRATCH" "$named" "$has_json" << 'END'
import json, statistics, sys
folder, named, has_json = sys.argv[1], int(sys.argv[2]), sys.argv[3]
read = lambda name: open(f"{folder}/{name}").read().split()
three, four = (statistics.median(map(float, read(name))) for name in ("three", "four"))
result = {"three_ms": round(three, 2), "four_with_a_slow_one_ms": round(four, 2),
          "ratio": round(four / three, 2), "same_digest": len(set(read("digests"))) == 1,
          "named_by_status": named > 0}
print(json.dumps(result) if has_json else
      "a step takes {three_ms} ms with three workers, {four_with_a_slow_one_ms} ms with a fourth "
      "that is ten times slower: {ratio} times; same digest: {same_digest}; status names it: "
      "{named_by_status}".format(**result))
sys.exit(0 if result["same_digest"] and result["named_by_status"] else 1)
END
