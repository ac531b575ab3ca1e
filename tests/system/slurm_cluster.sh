# A Slurm cluster of this one machine, for slurm.sh: slurmctld, munged and four slurmd, told apart
# by name and port, all with their files, keys and ports in one folder, so that an installed Slurm
# is left alone.  Jobs of the partition "urgent" pre-empt those of "spare".
# shellcheck shell=bash

SLURM_NODES='n1 n2 n3 n4'

# slurm_cluster_start DIR: returns 0 with all nodes idle and SLURM_CONF set, or prints why not.
slurm_cluster_start() {
    SLURM_DIR=$1
    SLURM_PIDS=()
    local host node
    host=$(hostname -s)
    mkdir -p "$SLURM_DIR"/{munge,state,log}
    chmod 755 "$SLURM_DIR"
    chmod 700 "$SLURM_DIR/munge"
    head -c 128 /dev/urandom > "$SLURM_DIR/munge/key"
    chmod 600 "$SLURM_DIR/munge/key"
    slurm_conf "$host" > "$SLURM_DIR/slurm.conf"
    export SLURM_CONF=$SLURM_DIR/slurm.conf

    slurm_daemon munged --foreground --force --num-threads=2 --key-file="$SLURM_DIR/munge/key" \
        --socket="$SLURM_DIR/munge/socket" --pid-file="$SLURM_DIR/munge/pid" \
        --seed-file="$SLURM_DIR/munge/seed" --log-file="$SLURM_DIR/log/munged.log"
    wait_until 10 test -S "$SLURM_DIR/munge/socket" || { echo "munged did not start"; return 1; }
    slurm_daemon slurmctld -D -f "$SLURM_CONF"
    for node in $SLURM_NODES; do
        slurm_daemon slurmd -D -N "$node" -f "$SLURM_CONF"
    done
    wait_until 60 slurm_is_idle || { echo "the nodes did not become idle"; return 1; }
}

# cred_expire: for so long Slurm keeps a job that was queued again from starting.
slurm_conf() {
    local node
    cat <<END
ClusterName=talweg
SlurmctldHost=$1
SlurmctldPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$SLURM_DIR/munge/socket,cred_expire=5
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
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
END
    for node in $SLURM_NODES; do
        mkdir -p "$SLURM_DIR/spool-$node"
        echo "NodeName=$node NodeHostname=$1 NodeAddr=127.0.0.1 Port=$(free_port) CPUs=4" \
            "RealMemory=500"
    done
    cat <<END
PartitionName=all Nodes=ALL Default=YES MaxTime=10 State=UP PriorityTier=2 PreemptMode=OFF
PartitionName=spare Nodes=ALL MaxTime=10 State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL MaxTime=10 State=UP PriorityTier=3 PreemptMode=OFF
END
}

slurm_daemon() {
    "$@" > "$SLURM_DIR/log/$1-${#SLURM_PIDS[@]}.out" 2>&1 &
    SLURM_PIDS+=($!)
}

slurm_is_idle() {
    [ "$(timeout 5 sinfo --noheader --Node --partition=all --format '%T' 2>/dev/null |
        grep -c '^idle$')" -eq "$(wc -w <<< "$SLURM_NODES")" ]
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
