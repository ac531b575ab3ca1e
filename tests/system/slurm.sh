#!/usr/bin/env bash
# deploy/slurm under a real Slurm of four nodes, all of them this machine: train.sbatch and
# worker.sbatch come to the digest of a local run, whatever the numbers, though Slurm pre-empts the
# workers of a run, or a whole run, in favour of another job; a run can be stopped; a failure ends
# the Slurm job as failed.
. "$(dirname "$0")/lib.sh"
STEPS=40000
. "$(dirname "$0")/faults.sh"
. "$(dirname "$0")/slurm_cluster.sh"

[ "$(id -u)" -eq 0 ] || skip "Slurm's daemons need root here"
for program in slurmctld slurmd munged sbatch srun; do
    command -v "$program" > /dev/null || skip "$program is not there (Debian: slurm-wlm munge)"
done
test_cleanup() { slurm_cluster_stop; }
slurm_cluster_start "$SCRATCH/slurm" > "$SCRATCH/slurm.txt" 2>&1 ||
    skip "no Slurm cluster on this machine: $(tail -n 1 "$SCRATCH/slurm.txt")"

export TALWEG_BIN=$BIN
cd "$SCRATCH" || exit 1
SETS=(--set=job.epochs=0 "--set=job.steps=$STEPS")
reference

# submit SCRIPT NAME [SBATCH OPTION]... -- ARGUMENT...: its id is in $JOB_ID, its output in NAME.txt.
submit() {
    local script=$ROOT/deploy/slurm/$1.sbatch output=$SCRATCH/$2.txt options=()
    shift 2
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    JOB_ID=$(sbatch --parsable --output="$output" "${options[@]}" "$script" "$DIGITS" "$@")
}

field() { scontrol show job --oneliner "$1" | sed -n "s/.* $2=\([^ ]*\).*/\1/p"; }
is_over() { [ -z "$(squeue --noheader --jobs="$1" 2> /dev/null)" ]; }
is_running() { [ -z "$(squeue --noheader --jobs="$1" --format=%T | grep -v RUNNING)" ]; }

# completes WHAT ID SECONDS: the Slurm job ends in time, and well.
completes() {
    wait_until "$3" is_over "$2" || fail "$1: not over after $3 s"
    equal "$1: Slurm calls it" "$(field "$2" JobState | sort -u)" COMPLETED
}

# take_nodes NODES SECONDS: a job that is more urgent wants these nodes for so long.
take_nodes() {
    sbatch --quiet --partition=urgent --exclusive --nodelist="$1" --output=/dev/null \
        --wrap "sleep $2"
}

# One allocation for all roles, with several tasks on a node.
TALWEG_SERVERS=2 TALWEG_WORKERS=3 submit train all --nodes=2 --ntasks-per-node=3 -- \
    "$SCRATCH/all" "${SETS[@]}"
equal "it has the nodes" "$(wait_until 10 is_running "$JOB_ID" && field "$JOB_ID" NodeList)" 'n[1-2]'
completes "one allocation" "$JOB_ID" 240
contains "all speak with keys" "$SCRATCH/all.txt" 'role=worker rank=2 .*ev=keys'
equal "which are the owner's alone" \
    "$(find "$SCRATCH/all/keys" -perm /077 ! -name allowed; stat -c %a "$SCRATCH/all/keys")" 700
equal "one allocation: digest" "$(digest "$SCRATCH/all")" "$REFERENCE"

# Workers come first, two on each of two nodes with two threads each; then the run.
submit worker early --partition=spare --array=0-1 --ntasks=2 --cpus-per-task=2 -- \
    "$SCRATCH/run" "${SETS[@]}"
early=$JOB_ID
check "workers run before there is a coordinator" wait_until 20 is_running "$early"
TALWEG_SERVERS=2 TALWEG_WORKERS=0 TALWEG_FIRST=3 submit train run --ntasks=3 -- \
    "$SCRATCH/run" "${SETS[@]}"
run=$JOB_ID
check "the run begins" wait_until 30 status_is "$SCRATCH/run" 'd["step"] > 100'
check "ranks follow from the array, threads from the cores" wait_until 5 status_is "$SCRATCH/run" \
    'sorted((w["rank"], w["threads"]) for w in d["workers"]) == [(i, 2) for i in range(4)]'
take_nodes "$(squeue --noheader --jobs="$early" --format=%N | paste -sd,)" 1
check "pre-empted, all workers leave" wait_until 20 status_is "$SCRATCH/run" \
    'd["phase"] == "training" and d["workers"] == []'
contains "and are queued again" "$SCRATCH/early.txt" 'pre-empted: queued again'
check "they come again" wait_until 30 status_is "$SCRATCH/run" 'len(d["workers"]) == 4'
submit worker more --array=2 --ntasks=2 -- "$SCRATCH/run" "${SETS[@]}"
more=$JOB_ID
TALWEG_KEYS=none submit worker stranger --array=9 -- "$SCRATCH/run" "${SETS[@]}"
stranger=$JOB_ID
check "the run grows" wait_until 20 status_is "$SCRATCH/run" \
    'sorted(w["rank"] for w in d["workers"]) == [0, 1, 2, 3, 4, 5]'
check "a worker without a key ends" wait_until 60 is_over "$stranger"
equal "a worker without a key: Slurm calls it" "$(field "$stranger" JobState)" FAILED
contains "it is told why" "$SCRATCH/stranger.txt" 'asks for a key: give --keys'
completes "workers in arrays" "$run" 240
equal "workers in arrays: digest" "$(digest "$SCRATCH/run")" "$REFERENCE"
completes "pre-empted workers" "$early" 240
completes "further workers" "$more" 240
submit worker late --array=3 -- "$SCRATCH/run" "${SETS[@]}"
completes "workers that are too late" "$JOB_ID" 240
contains "they are told so" "$SCRATCH/late.txt" 'the run in .*/run has finished: nothing is left'

# A whole run is pre-empted.
TALWEG_SERVERS=1 TALWEG_WORKERS=2 submit train back --partition=spare --nodes=1 \
    --ntasks-per-node=3 -- "$SCRATCH/back" "${SETS[@]}"
check "a run that will be pre-empted" wait_until 30 status_is "$SCRATCH/back" 'd["step"] > 100'
take_nodes "$(field "$JOB_ID" NodeList)" 1
completes "pre-empted run" "$JOB_ID" 240
equal "pre-empted run: digest" "$(digest "$SCRATCH/back")" "$REFERENCE"
check "it began again once" grep -q 'pre-empted: queued again' "$SCRATCH/back.txt"
check "where it was" test "$(sed -n 's/.*role=coordinator ev=view view=1 .* step=//p' \
    "$SCRATCH/back.txt" | tail -n 1 | cut -d' ' -f1)" -gt 100

# Stopped by hand.
submit train stopped --nodes=2 -- "$SCRATCH/stopped" "${SETS[@]}" --set=job.steps=1000000
check "a long run trains" wait_until 30 status_is "$SCRATCH/stopped" 'd["step"] > 100'
scancel --batch --signal=TERM "$JOB_ID"
check "asked to stop, it ends" wait_until 30 is_over "$JOB_ID"
equal "stopped: phase" "$(json "$SCRATCH/stopped/summary.json" 'd["phase"]')" stopped
checkpoint=$(json "$SCRATCH/stopped/summary.json" 'd["checkpoint"]')
check "stopped: a checkpoint" test -f "$checkpoint/checkpoint.json"

submit train bad --nodes=1 -- "$SCRATCH/bad" --set=job.lane=7
check "a job that fails ends" wait_until 30 is_over "$JOB_ID"
equal "and Slurm calls it" "$(field "$JOB_ID" JobState)" FAILED
contains "its output says why" "$SCRATCH/bad.txt" 'job\.lane'

[ "$FAILURES" -eq 0 ] || tail -n 20 "$SCRATCH"/*.txt
finish
