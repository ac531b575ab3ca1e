#!/usr/bin/env bash
# Runs fuzzers, and keeps what they find.  README.md says more.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${TALWEG_FUZZ_BUILD:-$root/build-fuzz}
corpus=$root/tests/fuzz/corpus
kept=$build/corpus

usage() {
    cat << 'EOT'
Usage: tests/fuzz/run.sh --build                      builds the fuzzers with clang
       tests/fuzz/run.sh [--seconds N] [NAME...]      runs them, two at a time; all if none is named
       tests/fuzz/run.sh --merge [NAME...]            takes the smallest of what was grown into the tree

  --seconds N  how long each runs (TALWEG_FUZZ_SECONDS, or 60)

They lie in build-fuzz (or TALWEG_FUZZ_BUILD), beside the corpus that grows there.

Exit code: 0 nothing was found; 1 something was, and lies in build-fuzz/found; 77 there are no fuzzers.
EOT
}

seconds=${TALWEG_FUZZ_SECONDS:-60}
action=run
names=()
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2 && shift ;;
    --build) action=build ;;
    --merge) action=merge ;;
    --help | -h) usage && exit 0 ;;
    -*) usage >&2 && exit 2 ;;
    *) names+=("$1") ;;
    esac
    shift
done

lacks_clang() {
    echo "SKIP: no fuzzers: they want Debian's clang and libclang-rt-14-dev, and run.sh --build"
    exit 77
}

if [ "$action" = build ]; then
    echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -w -fsanitize=fuzzer,address,undefined -x c - -o /dev/null 2> /dev/null || lacks_clang
    . "$root/deploy/build.sh"
    talweg_build "$root" "$build" Release fuzzers -DCMAKE_C_COMPILER=clang -DTALWEG_FUZZ=ON
    exit
fi
[ -x "$build/bin/fuzz_message" ] || lacks_clang
if [ ${#names[@]} -eq 0 ]; then
    for file in "$build"/bin/fuzz_*; do
        name=${file##*/fuzz_}
        [ "$name" = seeds ] || names+=("$name")
    done
fi

export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
# A call may take 25 s, beside clusters of other tests, and a gigabyte: far above what any of these
# decoders may want.
limits=(-timeout=25 -rss_limit_mb=2560 -malloc_limit_mb=1024)

fuzz() {
    local name=$1 log=$build/log.$1
    mkdir -p "$kept/$name" "$build/found"
    nice -n 15 "$build/bin/fuzz_$name" -max_total_time="$seconds" "${limits[@]}" \
        -artifact_prefix="$build/found/$name-" -print_final_stats=1 \
        "$kept/$name" "$corpus/$name" > "$log" 2>&1
    local code=$?
    awk -v name="$name" -v code="$code" '
        match($0, /cov: [0-9]+/) { edges = substr($0, RSTART + 5, RLENGTH - 5) }
        /number_of_executed_units/ { runs = $2 }
        /average_exec_per_sec/ { rate = $2 }
        END { printf "%-12s %10d runs  %7d a second  %6d edges  %s\n", name, runs, rate, edges,
              code == 0 ? "nothing found" : "FOUND SOMETHING" }' "$log"
    [ $code -eq 0 ] || tail -n 40 "$log"
    return $code
}

merge() {
    local name=$1 merged
    merged=$(mktemp -d "$build/merged.XXXXXX")
    mkdir -p "$kept/$name" "$corpus/$name"
    "$build/bin/fuzz_$name" -set_cover_merge=1 -use_counters=0 -max_len=4096 "${limits[@]}" \
        "$merged" "$corpus/$name" "$kept/$name" > "$build/log.merge.$name" 2>&1 ||
        { tail "$build/log.merge.$name" && return 1; }
    find "$corpus/$name" -type f ! -name 'found-*' -delete
    mv "$merged"/* "$corpus/$name" && rmdir "$merged"
}

code=0
if [ "$action" = merge ]; then
    for name in "${names[@]}"; do merge "$name" || code=1; done
    echo "$(cat "$corpus"/*/* | wc -c) bytes in $(find "$corpus" -type f | wc -l) files"
    exit $code
fi
failed=$(mktemp)
for name in "${names[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
    { fuzz "$name" || echo "$name" >> "$failed"; } &
done
wait
[ -s "$failed" ] && code=1
rm -f "$failed"
exit $code
