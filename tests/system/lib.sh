# What every system test needs: where the executables lie, a scratch folder that goes away, checks
# that say what they saw, and waits with a deadline.  Source it first.
# shellcheck shell=bash
#
# TALWEG_BIN   folder of the executables (default: build/bin of the checkout)
# TALWEG_KEEP  set to keep the scratch folder and print where it is

set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${TALWEG_BIN:-$ROOT/build/bin}
TALWEG=$BIN/talweg
DIGITS=$ROOT/deploy/jobs/digits-mlp.cfg
TEST_NAME=$(basename "$0" .sh)
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/talweg-$TEST_NAME.XXXXXX")
STARTED=()
CHECKS=0
FAILURES=0

# Every process a test starts with `start` is ended by its id, whatever happens to the test.
cleanup() {
    local pid
    for pid in "${STARTED[@]}"; do
        kill -KILL "$pid" 2>/dev/null
    done
    if declare -F test_cleanup > /dev/null; then test_cleanup; fi
    if [ -n "${TALWEG_KEEP:-}" ]; then
        echo "kept: $SCRATCH"
    else
        rm -rf "$SCRATCH"
    fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

[ -x "$TALWEG" ] || { echo "$TALWEG is not there: build first, or set TALWEG_BIN"; exit 1; }

say() { printf '%s\n' "$*"; }

pass() {
    CHECKS=$((CHECKS + 1))
    say "ok    $*"
}

fail() {
    CHECKS=$((CHECKS + 1))
    FAILURES=$((FAILURES + 1))
    say "FAIL  $*"
    return 1
}

# skip WHY: the test cannot run here (ctest's SKIP_RETURN_CODE).
skip() {
    say "SKIP: $*"
    exit 77
}

# check WHAT COMMAND...: passes when the command does.
check() {
    local what=$1
    shift
    if "$@"; then pass "$what"; else fail "$what  [$*]"; fi
}

# equal WHAT FOUND EXPECTED
equal() {
    if [ "$2" = "$3" ]; then pass "$1: $2"; else fail "$1: found '$2', expected '$3'"; fi
}

# contains WHAT FILE PATTERN (extended regular expression, any case)
contains() {
    if grep -qiE -- "$3" "$2"; then
        pass "$1"
    else
        fail "$1: nothing like '$3' in:"
        sed 's/^/      | /' "$2" | tail -n 15
        return 1
    fi
}

# Ends the test: the last line of every test script.
finish() {
    say "$TEST_NAME: $((CHECKS - FAILURES)) of $CHECKS checks passed"
    [ "$FAILURES" -eq 0 ] && [ "$CHECKS" -gt 0 ]
    exit
}

# wait_until SECONDS COMMAND...: tries ten times a second until the command succeeds.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# start LOG COMMAND...: runs it in the background; its process id is in $LAST_PID.
start() {
    local log=$1
    shift
    "$@" > "$log" 2>&1 &
    LAST_PID=$!
    STARTED+=("$LAST_PID")
}

is_gone() { ! kill -0 "$1" 2>/dev/null; }

# finished_within SECONDS PID: its exit code is returned; 124 when it is still there.
finished_within() {
    wait_until "$1" is_gone "$2" || return 124
    wait "$2"
}

# Processes whose parent is PID, as ids, one a line.
children_of() { pgrep -P "$1"; }

# A port that nothing listens on now, with the next one free as well.
free_port() {
    python3 - <<'EOF'
import socket
while True:
    a, b = socket.socket(), socket.socket()
    a.bind(("127.0.0.1", 0))
    port = a.getsockname()[1]
    try:
        b.bind(("127.0.0.1", port + 1))
    except (OSError, OverflowError):
        continue
    print(port)
    break
EOF
}

# json FILE EXPRESSION: a value of a JSON file, the file being `d`; prints the error and fails else.
json() {
    python3 -c '
import json, sys
with open(sys.argv[1]) as f:
    d = json.load(f)
value = eval("(" + sys.argv[2] + ")")
print(json.dumps(value) if isinstance(value, (dict, list, bool)) or value is None else value)
' "$1" "$2"
}

# digest OUT: of the final weights of the run in OUT.
digest() { json "$1/summary.json" 'd["digest"]'; }

# train OUT ARGUMENTS...: runs `talweg train` quietly; what it printed is in OUT.txt.
train() {
    local out=$1
    shift
    "$TALWEG" train "$@" --out "$out" --quiet > "$out.txt" 2>&1
}
