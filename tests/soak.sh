#!/usr/bin/env bash
# soak.sh [MINUTES [SEED]]: a run of about so many minutes (10) with three servers, a copy of each
# block, four workers.  Every few seconds a random process is killed, and one worker is stopped half
# of the time.  Prints every minute how it goes; at the end whether the digest is that of an
# undisturbed run, and how much memory servers have come to need.  Not part of CI.
. "$(dirname "$0")/system/lib.sh"
. "$(dirname "$0")/system/faults.sh"
minutes=${1:-10}
RANDOM=${2:-1}

# How many steps that is: from a short run.
job=(--servers 3 --workers 4 --set cluster.replicas=1 --set checkpoint.every=20000
    --set checkpoint.keep=2)
train "$SCRATCH/short" "$DIGITS" "${SIZED[@]}" "${job[@]}" || { cat "$SCRATCH/short.txt"; exit 1; }
rate=$(json "$SCRATCH/short/summary.json" 'd["steps"] / d["wall_s"]')
STEPS=$(python3 -c "print(int($rate * 60 * $minutes * 0.9) // 1000 * 1000 + 1000)")
SIZED=(--set job.epochs=0 --set "job.steps=$STEPS")
say "$STEPS steps, undisturbed first"
reference --workers 2

out=$SCRATCH/run
begin "$out" "${job[@]}"
at_step "$out" 1
kills=0 next_report=60 next_switch=20 is_stopped= first_rss= max_rss=0
SECONDS=0

# Killed too often within 10 s of its start, a process would not be started again.
victim() {
    local all pid
    mapfile -t all < <(children_of "$TRAIN")
    [ ${#all[@]} -gt 0 ] || return
    pid=${all[RANDOM % ${#all[@]}]}
    [ "$(ps -o etimes= -p "$pid" 2> /dev/null || echo 0)" -gt 10 ] && echo "$pid"
}

report() {
    local servers rss
    servers=$(pgrep -P "$TRAIN" -f /talweg-ps | paste -sd,)
    [ -n "$servers" ] || return
    rss=$(ps -o rss= -p "$servers" | sort -n | tail -n 1)
    [ -n "$rss" ] || return
    first_rss=${first_rss:-$rss}
    [ "$rss" -le "$max_rss" ] || max_rss=$rss
    say "minute $((SECONDS / 60)): step $(step_of "$out") of $STEPS, $kills kills; RSS in KB:" \
        "$(ps -w -w -o rss= -o args= --ppid "$TRAIN" |
            sed -n 's|^ *\([0-9]*\) .*/talweg-\([a-z]*\) .*--rank=\([0-9]*\).*|\2-\3 \1|p
                s|^ *\([0-9]*\) .*/talweg-coordinator .*|coordinator \1|p' | sort | paste -sd' ')"
}

while ! is_gone "$TRAIN"; do
    sleep "$((1 + RANDOM % 4)).$((RANDOM % 10))"
    pid=$(victim) && kill -KILL "$pid" 2> /dev/null && kills=$((kills + 1))
    if [ "$SECONDS" -ge "$next_switch" ]; then
        next_switch=$((SECONDS + 20))
        [ -n "$is_stopped" ] && is_stopped= || is_stopped=1
    fi
    hit "$([ -n "$is_stopped" ] && echo STOP || echo CONT)" worker 3 2> /dev/null
    if [ "$SECONDS" -ge "$next_report" ]; then
        report
        next_report=$((SECONDS + 60))
    fi
done
ends_the_same "$kills kills in $SECONDS s" "$out"
say "servers grew from ${first_rss:-?} KB to at most $max_rss KB"
finish
