#!/usr/bin/env bash
# Open MPI's and MPICH's mpirun start workers, who take their ranks from them, and all three roles
# at once (deploy/mpi/README.md): the digest is that of a local run.
. "$(dirname "$0")/lib.sh"

launchers=()
for launcher in mpirun.openmpi mpirun.mpich; do
    command -v "$launcher" > /dev/null && launchers+=("$launcher") || say "without $launcher"
done
[ ${#launchers[@]} -gt 0 ] || skip "no mpirun is there (Debian: openmpi-bin, mpich)"

PATH=$BIN:$PATH
# Open MPI wants to be asked twice before it runs as root, and counts cores where MPICH does not.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
train "$SCRATCH/local" "$DIGITS"
talweg keygen --out "$SCRATCH/keys" > "$SCRATCH/keygen.txt"
export TALWEG_KEYS=$SCRATCH/keys

for launcher in "${launchers[@]}"; do
    name=${launcher#mpirun.}
    out=$SCRATCH/$name
    start "$out.ps" timeout 60 "$launcher" -n 2 talweg-ps "$DIGITS" --coordinator="$out"
    servers=$LAST_PID
    start "$out.workers" timeout 60 "$launcher" -n 3 talweg-worker "$DIGITS" --coordinator="$out"
    workers=$LAST_PID
    timeout 60 talweg-coordinator "$DIGITS" --bind='tcp://127.0.0.1:0' --out="$out" --servers=2 \
        --workers=3 > "$out.coordinator" 2>&1
    equal "$name: the coordinator ends with" $? 0
    finished_within 10 "$servers"
    equal "$name: mpirun of the servers ends with" $? 0
    finished_within 10 "$workers"
    equal "$name: mpirun of the workers ends with" $? 0
    equal "$name: ranks of the workers" \
        "$(sed -n 's/.*role=worker rank=\([0-9]\) ev=exit .*/\1/p' "$out.workers" | sort | xargs)" \
        '0 1 2'
    equal "$name: digest" "$(digest "$out")" "$(digest "$SCRATCH/local")"

    out=$SCRATCH/$name-all
    timeout 60 "$launcher" \
        -n 1 talweg-coordinator "$DIGITS" --bind='tcp://*:0' --out="$out" --servers=2 --workers=3 \
        : -n 2 talweg-ps "$DIGITS" --coordinator="$out" --rank=any \
        : -n 3 talweg-worker "$DIGITS" --coordinator="$out" --rank=any > "$out.txt" 2>&1
    equal "$name: mpirun of all roles ends with" $? 0 || tail -n 20 "$out.txt"
    equal "$name: digest of all roles" "$(digest "$out")" "$(digest "$SCRATCH/local")"
done
finish
