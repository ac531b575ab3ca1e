#!/usr/bin/env bash
# `talweg bench exchange`, a second of each transport: that it measures, not how fast.
. "$(dirname "$0")/../system/lib.sh"

for transport in shm ipc tcp; do
    "$TALWEG" bench exchange --transport "$transport" --servers 2 --workers 2 --bytes 4194304 \
        --block-bytes 65536 --seconds 0.5 --no-limits --json > "$SCRATCH/$transport.json" \
        2> "$SCRATCH/out"
    equal "$transport: ends with" $? 0
    equal "$transport: what is not as it should be" "$(json "$SCRATCH/$transport.json" '[
        what for what, ok in (
            ("transport", d["transport"] == "'"$transport"'"),
            ("blocks", d["blocks"] == 64), ("steps", d["steps"] > 0),
            ("goodput", d["goodput_gbs"] > 0),
            ("latency", 0 < d["step_p50_us"] <= d["step_p99_us"]),
            ("processor time", all(d["cpu_s_per_gb"][k] > 0 for k in ("worker", "server"))),
            ("memory", all(d["rss_over_model"][k] > 0 for k in ("worker", "server"))))
        if not ok]')" '[]'
done
"$TALWEG" bench exchange --model resnet50 --seconds 0.5 --no-limits --json > "$SCRATCH/r.json"
equal "ResNet-50 has floats" "$(json "$SCRATCH/r.json" 'd["model_bytes"] // 4')" 25557032
"$TALWEG" bench exchange --transport tcp --bytes 4194304 --seconds 0.2 --json > "$SCRATCH/limits.json"
equal "figures that are missing" "$(json "$SCRATCH/limits.json" '[
    f"{part} {key}" for part, keys in (
        ("", ("goodput_gbs", "step_p50_us", "step_p99_us")),
        ("cpu_s_per_gb", ("worker", "server")),
        ("rss_over_model", ("worker", "server")),
        ("limit", ("memcpy_gbs", "add_gbs", "shm_copy_add_gbs", "socket_gbs", "zmq_stream_gbs",
                   "zmq_stream_cpu_s_per_gb", "zmq_rtt_us")))
    for key in keys if not (d.get(part, {}) if part else d).get(key, 0) > 0]')" '[]'
"$TALWEG" bench exchange --set exchange.overlap=true > "$SCRATCH/out" 2>&1
equal "overlap, where nothing is computed: ends with" $? 2
contains "and says why" "$SCRATCH/out" 'exchange.overlap.*computes nothing'
"$TALWEG" bench exchange --transport pigeon > "$SCRATCH/out" 2>&1
equal "an unknown transport: ends with" $? 2
contains "and says what there is" "$SCRATCH/out" 'shm.*ipc.*tcp'
finish
