#!/usr/bin/env bash
# deploy/slurm/train.sbatch under a real Slurm of two nodes, both this machine: the digits come out
# with the digest of a local run, whatever the numbers; a run that is stopped can be resumed; a
# failure ends the Slurm job as failed.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/slurm_cluster.sh"

[ "$(id -u)" -eq 0 ] || skip "Slurm's daemons need root here"
for program in slurmctld slurmd munged sbatch srun; do
    command -v "$program" > /dev/null || skip "$program is not there (Debian: slurm-wlm munge)"
done
test_cleanup() { slurm_cluster_stop; }
slurm_cluster_start "$SCRATCH/slurm" > "$SCRATCH/slurm.txt" 2>&1 ||
    skip "no Slurm cluster on this machine: $(tail -n 1 "$SCRATCH/slurm.txt")"

train "$SCRATCH/local" "$DIGITS"
export TALWEG_BIN=$BIN
cd "$SCRATCH" || exit 1

# submit SERVERS WORKERS OUT [ARGUMENT...]: waits for the job; its exit code is sbatch's.
submit() {
    local servers=$1 workers=$2
    shift 2
    TALWEG_SERVERS=$servers TALWEG_WORKERS=$workers timeout 240 sbatch --wait --quiet --nodes=2 \
        --ntasks-per-node=4 --output="$SCRATCH/job.txt" "$ROOT/deploy/slurm/train.sbatch" \
        "$DIGITS" "$@" > "$SCRATCH/sbatch.txt" 2>&1
}

for cluster in '2 2' '1 3'; do
    read -r servers workers <<< "$cluster"
    submit "$servers" "$workers" "$SCRATCH/run-$servers"
    equal "$servers servers, $workers workers: sbatch ends with" $? 0
    equal "$servers servers, $workers workers: digest" "$(digest "$SCRATCH/run-$servers")" \
        "$(digest "$SCRATCH/local")"
done
hosts=$(scontrol show job --oneliner | grep -c 'NodeList=n\[1-2\]')
check "the jobs had both nodes" test "$hosts" -ge 1

# Stopped, and resumed on other numbers.
long=(--set=job.epochs=0 --set=job.steps=12000)
id=$(TALWEG_SERVERS=2 TALWEG_WORKERS=2 sbatch --parsable --nodes=2 --ntasks-per-node=4 \
    --output="$SCRATCH/job.txt" "$ROOT/deploy/slurm/train.sbatch" "$DIGITS" "$SCRATCH/stopped" \
    "${long[@]}")
is_training() {
    "$TALWEG" status "$SCRATCH/stopped" --json > "$SCRATCH/status.json" 2> /dev/null &&
        [ "$(json "$SCRATCH/status.json" 'd["step"] > 50')" = true ]
}
is_over() { [ -z "$(squeue --noheader --job "$id" 2> /dev/null)" ]; }
check "a long run trains" wait_until 60 is_training
scancel --batch --signal=TERM "$id"
check "asked to stop, it ends" wait_until 60 is_over
equal "stopped: phase" "$(json "$SCRATCH/stopped/summary.json" 'd["phase"]')" stopped
checkpoint=$(json "$SCRATCH/stopped/summary.json" 'd["checkpoint"]')
check "stopped: a checkpoint" test -f "$checkpoint/checkpoint.json"
submit 1 3 "$SCRATCH/resumed" "--resume=$SCRATCH/stopped" "${long[@]}"
equal "resumed: sbatch ends with" $? 0
equal "resumed: steps" "$(json "$SCRATCH/resumed/summary.json" 'd["steps"]')" 12000

submit 1 1 "$SCRATCH/bad" --set=job.lane=7
check "a job that fails is failed for Slurm too" test $? -ne 0
contains "its output says why" "$SCRATCH/job.txt" 'job\.lane'

[ "$FAILURES" -eq 0 ] || tail -n 30 "$SCRATCH/job.txt" "$SCRATCH/sbatch.txt"
finish
