#!/usr/bin/env bash
# What servers hold beside their executables and libraries, against the formula in ps/README.md
# ("Memory of a server").
. "$(dirname "$0")/../system/lib.sh"

MIB=1048576
MODEL=128
CREDIT=8 # what each worker may have on its way to each shard
SLACK=20 # what malloc keeps between blocks

# holds WHAT MIB ARGUMENT...: servers' peak within that and the slack, of a run with those arguments.
holds() {
    local what=$1 allowed=$(($2 + SLACK)) used
    shift 2
    "$TALWEG" bench exchange --transport tcp --bytes $((MODEL * MIB)) --seconds 0.5 --no-limits \
        --set exchange.credit_bytes=$((CREDIT * MIB)) "$@" --json > "$SCRATCH/r.json" \
        2> "$SCRATCH/out"
    equal "$what: ends with" $? 0
    used=$(json "$SCRATCH/r.json" \
        '(d["peak_rss_bytes"]["server"] - d["base_rss_bytes"]["server"]) // '$MIB)
    check "$what: $used MiB, at most $allowed" [ "$used" -le "$allowed" ]
}

holds "two workers" $((MODEL + 2 * CREDIT)) --workers 2
holds "two workers, blocks of 256 KiB" $((MODEL + 2 * CREDIT)) --workers 2 --block-bytes 262144
holds "four workers" $((MODEL + 4 * CREDIT)) --workers 4
holds "two workers, two servers" $((MODEL + 2 * 2 * CREDIT)) --workers 2 --servers 2
holds "two workers, adam" $((3 * MODEL + 2 * CREDIT)) --workers 2 --optimizer adam
holds "one worker, for whom the version before is kept" $((2 * MODEL + CREDIT)) --workers 1
finish
