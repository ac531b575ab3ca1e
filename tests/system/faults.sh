# Runs of the digits that are long enough to be disturbed, and what disturbs them.  Sourced after
# lib.sh.
# shellcheck shell=bash

STEPS=${STEPS:-12000}
SIZED=(--set job.epochs=0 --set "job.steps=$STEPS")

# reference: the digest of an undisturbed run, in $REFERENCE.
reference() {
    train "$SCRATCH/reference" "$DIGITS" "${SIZED[@]}" --servers 1 --workers 1 "$@" ||
        fail "the undisturbed run: $(tail -n 2 "$SCRATCH/reference.txt")"
    REFERENCE=$(digest "$SCRATCH/reference")
}

# begin OUT [ARGUMENT...]: a run under way in the background; its process id is in $TRAIN.
begin() {
    local out=$1
    shift
    start "$out.txt" "$TALWEG" train "$DIGITS" "${SIZED[@]}" --out "$out" "$@"
    TRAIN=$LAST_PID
}

# step_of OUT: steps done; nothing when nobody answers.
step_of() {
    "$TALWEG" status "$1" --json 2> /dev/null | sed -n '/^  "step":/s/[^0-9]//gp'
}

is_at_step() {
    local step
    step=$(step_of "$1")
    [ -n "$step" ] && [ "$step" -ge "$2" ]
}

# comes_to_step OUT STEP: waits until so many steps are done; looks as often as it can.
comes_to_step() {
    local end=$((SECONDS + 60))
    until is_at_step "$1" "$2"; do
        [ "$SECONDS" -lt "$end" ] && ! is_gone "$TRAIN" || return 1
    done
}

# at_step OUT STEP: the same; that it does not is an error.
at_step() {
    comes_to_step "$1" "$2" ||
        { fail "the run in $1 did not come to step $2: $(tail -n 2 "$1.txt")"; return 1; }
}

# status_is OUT EXPRESSION: true when it is of the status, `d`.
status_is() {
    "$TALWEG" status "$1" --json > "$1.status" 2> /dev/null &&
        [ "$(json "$1.status" "bool($2)" 2> /dev/null)" = true ]
}

# process_of ROLE [RANK]: the id of a child of $TRAIN: coordinator, server or worker.
process_of() {
    case $1 in
    coordinator) pgrep -P "$TRAIN" -f '/talweg-coordinator ' ;;
    server) pgrep -P "$TRAIN" -f "/talweg-ps .*--rank=$2( |\$)" ;;
    worker) pgrep -P "$TRAIN" -f "/talweg-worker .*--rank=$2( |\$)" ;;
    esac
}

# hit SIGNAL ROLE [RANK]: sends the signal; fails when there is no such process.
hit() {
    local pid
    pid=$(process_of "$2" "${3:-}") && [ -n "$pid" ] && kill "-$1" "$pid"
}

# ends_the_same WHAT OUT: the run comes to its end in order, with the digest of the undisturbed one.
ends_the_same() {
    finished_within 90 "$TRAIN"
    equal "$1: ends with" $? 0 || tail -n 4 "$2.txt"
    equal "$1: digest" "$(digest "$2" 2>&1 | tail -n 1)" "$REFERENCE"
}
