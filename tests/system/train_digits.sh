#!/usr/bin/env bash
# One command trains the digits to at least 96 % on the held-out fifth, in seconds, twice to the
# same digest, and leaves everything that a run leaves.
. "$(dirname "$0")/lib.sh"

"$TALWEG" train "$DIGITS" --out "$SCRATCH/a" > "$SCRATCH/a.txt" 2> "$SCRATCH/a.err"
equal "train ends with" $? 0
contains "it prints the digest" "$SCRATCH/a.txt" "digest +$(digest "$SCRATCH/a")"
contains "it prints the accuracy" "$SCRATCH/a.txt" 'test accuracy +9[6-9]|100'
contains "progress off a terminal is lines" "$SCRATCH/a.err" 'step [0-9]+/[0-9]+.*loss'
check "at least 96 % on the held-out fifth" \
    test "$(json "$SCRATCH/a/summary.json" 'd["test_accuracy"] >= 0.96')" = true
equal "keys of summary.json that are missing" "$(json "$SCRATCH/a/summary.json" '[k for k in
    """run_id job steps epochs train_loss test_loss test_accuracy samples_per_s wall_s cpu_s
    pushed_bytes pulled_bytes peak_rss_bytes blas_core digest""".split()
    if d.get(k) is None]')" '[]'
check "metrics.jsonl has rows" test -s "$SCRATCH/a/metrics.jsonl"
check "every row of metrics.jsonl is JSON" python3 -c '
import json, sys
for line in open(sys.argv[1]): json.loads(line)' "$SCRATCH/a/metrics.jsonl"
if command -v gnuplot > /dev/null; then
    contains "loss.svg is a picture" "$SCRATCH/a/loss.svg" '<svg'
fi
steps=$(json "$SCRATCH/a/summary.json" 'd["steps"]')
check "the last checkpoint is there" test -f "$SCRATCH/a/checkpoint-$steps/checkpoint.json"
check "a log a process" test "$(find "$SCRATCH/a/log" -name '*.log' | wc -l)" -ge 3
check "no socket is left" test -z "$(find "$SCRATCH/a" -type s)"
equal "a log line that is no logfmt" "$(grep -vhE '^ts=[^ ]+ level=[a-z]+ role=[a-z]+ ' \
    "$SCRATCH"/a/log/*.log | head -n 1)" ""

"$TALWEG" train "$DIGITS" --out "$SCRATCH/b" --json --quiet > "$SCRATCH/b.json" 2> "$SCRATCH/b.err"
equal "train --json ends with" $? 0
equal "same digest again" "$(json "$SCRATCH/b.json" 'd["digest"]')" "$(digest "$SCRATCH/a")"
equal "--quiet says nothing" "$(cat "$SCRATCH/b.err")" ""

# On a terminal of 80 columns: a bar that never wraps.
python3 - "$TALWEG" "$DIGITS" "$SCRATCH/c" > "$SCRATCH/terminal.txt" << 'EOF'
import fcntl, os, pty, re, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.environ["LC_ALL"] = "C.UTF-8"
    talweg, job, out = sys.argv[1:]
    os.execv(talweg, [talweg, "train", job, "--out", out])
drawn = b""
while True:
    try:
        chunk = os.read(terminal, 65536)
    except OSError:
        break
    drawn += chunk
os.waitpid(pid, 0)
lines = [line for line in re.split("[\r\n]|\x1b\\[K", drawn.decode()) if "step " in line]
print("bars", sum("━" in line for line in lines) > 0)
print("widest", max(map(len, lines)) < 80)
EOF
contains "on a terminal: a bar" "$SCRATCH/terminal.txt" '^bars True'
contains "on a terminal: no line as wide as it" "$SCRATCH/terminal.txt" '^widest True'

# The same folder again: results are replaced.
train "$SCRATCH/a" "$DIGITS"
equal "the same folder again ends with" $? 0
equal "same digest a third time" "$(digest "$SCRATCH/a")" "$(digest "$SCRATCH/b")"

# Whatever OpenBLAS would have chosen by itself, and whatever is asked of it: products are ours.
if [ "$(uname -m)" = x86_64 ]; then
    OPENBLAS_CORETYPE=Nehalem train "$SCRATCH/kernels" "$DIGITS" --set worker.kernels=Haswell
    equal "kernels" "$(json "$SCRATCH/kernels/summary.json" 'd["blas_core"]')" Talweg
    equal "OpenBLAS's kernels do not matter" "$(digest "$SCRATCH/kernels")" "$(digest "$SCRATCH/a")"
fi

finish
