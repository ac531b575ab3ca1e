#!/usr/bin/env bash
# However `talweg train` ends, none of its processes stays; who is killed is started again, but not
# for ever; Ctrl-C leaves a checkpoint that --resume goes on from.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"

# begin OUT [STEPS]: a run that would take for ever, under way; sets train_pid and children.  With
# what stands in $runner before its command line.
runner=()
begin() {
    local out=$1 steps=${2:-10000000}
    start "$out.txt" "${runner[@]}" "$TALWEG" train "$DIGITS" --servers 2 --workers 2 --set job.epochs=0 \
        --set "job.steps=$steps" --out "$out"
    train_pid=$LAST_PID
    is_under_way() {
        "$TALWEG" status "$out" --json > "$SCRATCH/status.json" 2> /dev/null &&
            [ "$(json "$SCRATCH/status.json" 'd["step"] > 50')" = true ]
    }
    wait_until 30 is_under_way || fail "the run in $out did not start: $(tail -n 3 "$out.txt")"
    children=$(children_of "$train_pid")
    TRAIN=$train_pid
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

# is_replaced ROLE RANK PID: another process has its part.
is_replaced() {
    local pid
    pid=$(process_of "$1" "$2") && [ "$pid" != "$3" ]
}
begin "$SCRATCH/restarted"
for victim in coordinator "server 1" "worker 1"; do
    read -r role rank <<< "$victim"
    pid=$(process_of "$role" "$rank")
    kill -KILL "$pid"
    check "$victim killed: it is started again" wait_until 5 is_replaced "$role" "$rank" "$pid"
    contains "$victim killed: it says so" "$SCRATCH/restarted.txt" \
        "^talweg train: $victim \(process $pid\) was killed by signal 9 \(Killed\); started again as"
done
goes_on() { is_at_step "$SCRATCH/restarted" 100; }
check "all three killed: the run goes on" wait_until 30 goes_on
children=$(children_of "$train_pid")
equal "all three killed: processes" "$(wc -w <<< "$children")" 5
kill -KILL "$train_pid"
check "train killed after that: no child stays" wait_until 5 all_gone

# kill_for_ever ROLE RANK: again and again, soon after its start, until it is not started again.
kill_for_ever() {
    local i pid=0
    for i in 1 2 3 4 5 6; do
        wait_until 2 is_replaced "$1" "$2" "$pid" || return
        pid=$(process_of "$1" "$2")
        kill -KILL "$pid"
    done
}
begin "$SCRATCH/lost"
kill_for_ever worker 1
says_lost() { grep -q 'worker 1 .*not started again' "$SCRATCH/lost.txt"; }
check "a worker killed for ever: it says so" wait_until 5 says_lost
at_step "$SCRATCH/lost" $(($(step_of "$SCRATCH/lost") + 500)) &&
    pass "a worker killed for ever: the run goes on"
kill_for_ever coordinator ""
finished_within 10 "$train_pid"
equal "the coordinator killed for ever: train ends with" $? 1
contains "the coordinator killed for ever: it says so" "$SCRATCH/lost.txt" \
    'coordinator .* was killed .*not started again'
check "the coordinator killed for ever: no child stays" all_gone

# At its very end: what there is to tell is on disk before anybody hears that it is over.
begin "$SCRATCH/late" 2000
coordinator=$(process_of coordinator)
wait_until 30 test -f "$SCRATCH/late/summary.json"
kill -KILL "$coordinator" 2> /dev/null
finished_within 20 "$train_pid"
equal "the coordinator killed when the run is over: train ends with" $? 0
check "the coordinator killed when the run is over: the digest is there" \
    test "$(digest "$SCRATCH/late" | wc -c)" -eq 65

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
