#!/usr/bin/env bash
# However `talweg train` ends, none of its processes stays; a dead one ends the run with a sentence;
# Ctrl-C leaves a checkpoint that --resume goes on from.
. "$(dirname "$0")/lib.sh"

# begin OUT [STEPS]: a run that would take for ever, under way; sets train_pid and children.
begin() {
    local out=$1 steps=${2:-1000000}
    start "$out.txt" "$TALWEG" train "$DIGITS" --servers 2 --workers 2 --set job.epochs=0 \
        --set "job.steps=$steps" --out "$out"
    train_pid=$LAST_PID
    is_under_way() {
        "$TALWEG" status "$out" --json > "$SCRATCH/status.json" 2> /dev/null &&
            [ "$(json "$SCRATCH/status.json" 'd["step"] > 50')" = true ]
    }
    wait_until 30 is_under_way || fail "the run in $out did not start: $(tail -n 3 "$out.txt")"
    children=$(children_of "$train_pid")
}

all_gone() {
    local pid
    for pid in $children; do
        is_gone "$pid" || return 1
    done
}

begin "$SCRATCH/killed"
check "five processes" test "$(wc -w <<< "$children")" -eq 5
kill -KILL "$train_pid"
check "train killed: no child stays" wait_until 5 all_gone
"$TALWEG" status "$SCRATCH/killed" > "$SCRATCH/out" 2>&1
equal "train killed: status ends with" $? 2
contains "train killed: status says so" "$SCRATCH/out" 'gone'
train "$SCRATCH/killed" "$DIGITS"
equal "the folder can be used again: ends with" $? 0

for victim in coordinator server worker; do
    out=$SCRATCH/$victim
    begin "$out"
    case $victim in
    coordinator) pid=$(json "$SCRATCH/status.json" 'd["coordinator"]["pid"]') ;;
    *) pid=$(json "$SCRATCH/status.json" "d['${victim}s'][1]['pid']") ;;
    esac
    kill -KILL "$pid"
    finished_within 30 "$train_pid"
    equal "$victim killed: train ends with" $? 1
    contains "$victim killed: it says who and why" "$out.txt" \
        "$victim.* \(process $pid\) was killed by signal 9"
    check "$victim killed: no child stays" wait_until 5 all_gone
done

begin "$SCRATCH/stopped" 12000
start "$SCRATCH/second.txt" "$TALWEG" train "$DIGITS" --out "$SCRATCH/stopped"
finished_within 10 "$LAST_PID"
equal "a second run in the same folder ends with" $? 1
contains "and says so" "$SCRATCH/second.txt" 'another run'
kill -INT "$train_pid"
finished_within 30 "$train_pid"
equal "Ctrl-C: train ends with" $? 130
check "Ctrl-C: no child stays" all_gone
contains "Ctrl-C: it says how to go on" "$SCRATCH/stopped.txt" 'resume'
check "Ctrl-C: a whole checkpoint" compgen -G "$SCRATCH/stopped/checkpoint-*/checkpoint.json"
train "$SCRATCH/resumed" "$DIGITS" --set job.epochs=0 --set job.steps=12000 \
    --resume "$SCRATCH/stopped"
equal "it can be resumed: ends with" $? 0
equal "to the last step" "$(json "$SCRATCH/resumed/summary.json" 'd["steps"]')" 12000

begin "$SCRATCH/twice"
kill -STOP "$(json "$SCRATCH/status.json" 'd["coordinator"]["pid"]')"
kill -INT "$train_pid"
sleep 0.5
kill -INT "$train_pid"
finished_within 10 "$train_pid"
equal "Ctrl-C twice: train ends with" $? 130
check "Ctrl-C twice: no child stays" all_gone

begin "$SCRATCH/term"
kill -TERM "$train_pid"
finished_within 30 "$train_pid"
equal "SIGTERM: train ends with" $? 143
check "SIGTERM: no child stays" all_gone

finish
