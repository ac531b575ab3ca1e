#!/usr/bin/env bash
# coverage.sh - lines and branches of the protocol's files that the sim runs through, by gcov.
# TALWEG_SIM_SEEDS: seeds of each test (as the tests say).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cmake -S "$root" -B "$work" -G Ninja -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_C_FLAGS="--coverage -O0" -DCMAKE_EXE_LINKER_FLAGS=--coverage >/dev/null
ninja -C "$work" sim_cluster sim_chaos >/dev/null
"$work/bin/sim_cluster" >/dev/null || echo "sim_cluster fails"
"$work/bin/sim_chaos" >/dev/null || echo "sim_chaos fails"
cd "$work"
printf '%-28s %8s %9s\n' file lines branches
for path in "$root"/ps/coordinator*.c "$root"/ps/placement.c "$root"/ps/members.c \
    "$root"/ps/dealing.c "$root"/ps/shard*.c "$root"/worker/exchange*.c "$root"/worker/held.c; do
    file=${path#"$root"/}
    object="$work/${file%%/*}/CMakeFiles/talweg_${file%%/*}.dir/${file#*/}.gcda"
    [ -f "$object" ] || continue # a loop or a main, which the sim does without
    gcov -b -n -o "$(dirname "$object")" "$object" 2>/dev/null |
        awk -v want="$path" -v name="$file" '
            /^File/ { is_it = index($0, want) > 0 }
            is_it && /^Lines executed/ { split($0, a, /[:%]/); lines = a[2] }
            is_it && /^Taken at least once/ { split($0, a, /[:%]/); branches = a[2] }
            END { printf "%-28s %7s%% %8s%%\n", name, lines, branches }'
done
