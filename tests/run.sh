#!/usr/bin/env bash
# Every test there is: unit, parity and sim under address and undefined-behaviour sanitizers and as
# a release, those with threads under the thread sanitizer as well, and the real executables.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/deploy/packages.sh"
. "$root/deploy/build.sh"

usage() {
    cat << 'EOF'
Usage: tests/run.sh [--no-install] [CTEST ARGUMENT...]
Installs missing Debian packages, builds into build-tests/, build-threads/, build/ and, with clang,
build-fuzz/, and runs every test through ctest.  Arguments after the options go to ctest:
-R shard, -L unit, -LE fuzz, -V, ...

  --no-install  leave the system alone; say which Debian packages are missing
  --help        this text
EOF
}

while [ $# -gt 0 ]; do
    case $1 in
    --no-install) export TALWEG_NO_INSTALL=1 ;;
    --help | -h) usage && exit 0 ;;
    *) break ;;
    esac
    shift
done

packages_install "${PACKAGES_BUILD[@]}" "${PACKAGES_TEST[@]}" gnuplot-nox ||
    echo "going on without them; the build or a test will say what it lacks" >&2
packages_install "${PACKAGES_DATA[@]}" ||
    echo "without Fashion-MNIST: tests that need it are skipped" >&2

talweg_build "$root" "$root/build-tests" Debug all -DTALWEG_TESTS=ON -DTALWEG_SANITIZE=address &&
    talweg_build "$root" "$root/build-threads" Debug all -DTALWEG_TESTS=ON \
        -DTALWEG_SANITIZE=thread &&
    talweg_build "$root" "$root/build" Release all -DTALWEG_TESTS=ON || {
    echo "0 passed, 1 failed"
    exit 1
}
"$root/tests/fuzz/run.sh" --build # without clang the fuzzers are skipped
case $? in
0 | 77) ;;
*)
    echo "0 passed, 1 failed"
    exit 1
    ;;
esac

# One ctest over the three builds: each of them knows which of its tests are meant for it.
all=$root/build-tests/all
mkdir -p "$all"
cat > "$all/CTestTestfile.cmake" << EOF
subdirs("$root/build-tests/tests" "$root/build-threads/tests" "$root/build/tests")
EOF
# Leaves what a sanitizer finds with the test that found it.
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS="halt_on_error=1:suppressions='$root/tests/tsan.supp'"
export OPENBLAS_NUM_THREADS=1
# One more than there are cores: clusters wait as much as they compute.
ctest --test-dir "$all" --parallel "$(($(nproc) + 1))" --output-on-failure --no-tests=error \
    --output-junit "$all/junit.xml" "$@"
code=$?

python3 - "$all/junit.xml" << 'EOF'
import sys
import xml.etree.ElementTree as tree

suite = tree.parse(sys.argv[1]).getroot()
count = lambda name: int(suite.get(name, 0))
skipped = count("skipped") + count("disabled")
failed = count("failures")
print(f"{count('tests') - failed - skipped} passed, {failed} failed, {skipped} skipped")
EOF
exit "$code"
