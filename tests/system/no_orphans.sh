#!/usr/bin/env bash
# However `talweg train` ends, none of its processes stays; a dead one ends the run with a sentence;
# Ctrl-C leaves a checkpoint that --resume goes on from.
. "$(dirname "$0")/lib.sh"

# begin OUT [STEPS]: a run that would take for ever, under way; sets train_pid and children.  With
# what stands in $runner before its command line.
runner=()
begin() {
    local out=$1 steps=${2:-1000000}
    start "$out.txt" "${runner[@]}" "$TALWEG" train "$DIGITS" --servers 2 --workers 2 --set job.epochs=0 \
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
    killed_ns=$(date +%s%N)
    kill -KILL "$pid"
    finished_within 30 "$train_pid"
    equal "$victim killed: train ends with" $? 1
    taken_ms=$((($(date +%s%N) - killed_ns) / 1000000))
    check "$victim killed: within 2 seconds, in $taken_ms ms" test "$taken_ms" -lt 2000
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
checkpoint=$(sed -n 's/.*--resume \([^`]*\)`.*/\1/p' "$SCRATCH/stopped.txt")
check "Ctrl-C: it says how to go on, with a whole checkpoint" test -f "$checkpoint/checkpoint.json"
contains "Ctrl-C: at the step of that" "$SCRATCH/stopped.txt" "stopped at step ${checkpoint##*-} of 12000"
train "$SCRATCH/resumed" "$DIGITS" --set job.epochs=0 --set job.steps=12000 \
    --resume "$checkpoint"
equal "it can be resumed: ends with" $? 0
equal "to the last step" "$(json "$SCRATCH/resumed/summary.json" 'd["steps"]')" 12000
(cd "$SCRATCH" && train again "$DIGITS" --set job.epochs=0 --set job.steps=12000 --resume resumed)
equal "resumed at its end: ends with" $? 0
check "resumed at its end: no number is missing" sh -c "! grep -i nan '$SCRATCH/again.txt'"
contains "resumed at its end: the checkpoint has its whole path" "$SCRATCH/again.txt" \
    "^checkpoint +/.*-12000"

begin "$SCRATCH/twice"
kill -STOP "$(json "$SCRATCH/status.json" 'd["coordinator"]["pid"]')"
kill -INT "$train_pid"
sleep 0.5
kill -INT "$train_pid"
finished_within 10 "$train_pid"
equal "Ctrl-C twice: train ends with" $? 130
check "Ctrl-C twice: no child stays" all_gone

# As nohup starts it, and as some daemons do, who never wait for children.
runner=(env --ignore-signal=HUP,CHLD)
begin "$SCRATCH/term"
kill -HUP "$train_pid"
sleep 0.5
check "SIGHUP under nohup: it goes on" kill -0 "$train_pid"
kill -TERM "$train_pid"
finished_within 30 "$train_pid"
equal "SIGTERM: train ends with" $? 143
check "SIGTERM: no child stays" all_gone
runner=()

begin "$SCRATCH/asked"
kill -TERM "$(json "$SCRATCH/status.json" 'd["coordinator"]["pid"]')"
finished_within 30 "$train_pid"
equal "SIGTERM to the coordinator: train ends with" $? 1
contains "SIGTERM to the coordinator: a stop with a checkpoint" "$SCRATCH/asked.txt" \
    'stopped at step .*--resume'
"$TALWEG" status "$SCRATCH/asked" > /dev/null
equal "SIGTERM to the coordinator: status ends with" $? 0

# So many that most of them are still on their way.
start "$SCRATCH/early.txt" "$TALWEG" train "$DIGITS" --workers 60 --out "$SCRATCH/early"
wait_until 10 test -f "$SCRATCH/early/run.json"
children=$(children_of "$LAST_PID")
kill -INT "$LAST_PID"
finished_within 8 "$LAST_PID"
equal "Ctrl-C before all have come: train ends with" $? 130
check "Ctrl-C before all have come: no child stays" all_gone

finish
