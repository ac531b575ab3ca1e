# A Slurm cluster of this one machine, for slurm.sh: slurmctld, munged and two slurmd, all with
# their files, keys and ports in one folder, so that an installed Slurm is left alone.
# shellcheck shell=bash

# slurm_cluster_start DIR: returns 0 with two idle nodes and SLURM_CONF set, or prints why not.
slurm_cluster_start() {
    SLURM_DIR=$1
    SLURM_PIDS=()
    local host ctld_port first_port
    host=$(hostname -s)
    ctld_port=$(free_port)
    first_port=$(free_port)
    mkdir -p "$SLURM_DIR"/{munge,state,spool-n1,spool-n2,log}
    chmod 755 "$SLURM_DIR"
    chmod 700 "$SLURM_DIR/munge"
    head -c 128 /dev/urandom > "$SLURM_DIR/munge/key"
    chmod 600 "$SLURM_DIR/munge/key"
    slurm_conf "$host" "$ctld_port" "$first_port" > "$SLURM_DIR/slurm.conf"
    export SLURM_CONF=$SLURM_DIR/slurm.conf

    slurm_daemon munged --foreground --force --num-threads=2 --key-file="$SLURM_DIR/munge/key" \
        --socket="$SLURM_DIR/munge/socket" --pid-file="$SLURM_DIR/munge/pid" \
        --seed-file="$SLURM_DIR/munge/seed" --log-file="$SLURM_DIR/log/munged.log"
    wait_until 10 test -S "$SLURM_DIR/munge/socket" || { echo "munged did not start"; return 1; }
    slurm_daemon slurmctld -D -f "$SLURM_CONF"
    slurm_daemon slurmd -D -N n1 -f "$SLURM_CONF"
    slurm_daemon slurmd -D -N n2 -f "$SLURM_CONF"
    wait_until 60 slurm_is_idle || { echo "the nodes did not become idle"; return 1; }
}

slurm_conf() {
    cat <<EOF
ClusterName=talweg
SlurmctldHost=$1
SlurmctldPort=$2
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$SLURM_DIR/munge/socket
CredType=cred/munge
StateSaveLocation=$SLURM_DIR/state
SlurmdSpoolDir=$SLURM_DIR/spool-%n
SlurmctldPidFile=$SLURM_DIR/slurmctld.pid
SlurmdPidFile=$SLURM_DIR/slurmd-%n.pid
SlurmctldLogFile=$SLURM_DIR/log/slurmctld.log
SlurmdLogFile=$SLURM_DIR/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=5
NodeName=n1 NodeHostname=$1 NodeAddr=127.0.0.1 Port=$3 CPUs=8 RealMemory=500
NodeName=n2 NodeHostname=$1 NodeAddr=127.0.0.1 Port=$(($3 + 1)) CPUs=8 RealMemory=500
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=10 State=UP OverSubscribe=YES
EOF
}

slurm_daemon() {
    "$@" > "$SLURM_DIR/log/$1-${#SLURM_PIDS[@]}.out" 2>&1 &
    SLURM_PIDS+=($!)
}

slurm_is_idle() {
    [ "$(timeout 5 sinfo --noheader --Node --format '%T' 2>/dev/null | grep -c '^idle$')" -eq 2 ]
}

# Ends the daemons, the last started first; what a job left in its steps goes with slurmd.
slurm_cluster_stop() {
    local i
    timeout 5 scancel --quiet --user root 2>/dev/null
    for ((i = ${#SLURM_PIDS[@]} - 1; i >= 0; i--)); do
        kill "${SLURM_PIDS[i]}" 2>/dev/null
        wait "${SLURM_PIDS[i]}" 2>/dev/null
    done
    SLURM_PIDS=()
}
