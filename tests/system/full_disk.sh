#!/usr/bin/env bash
# A disk that is full costs checkpoints, not the job; only without the last one it has failed.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
[ "$(id -u)" -eq 0 ] || skip "only root can mount a small disk"
disk=$SCRATCH/disk
mkdir "$disk"
mount -t tmpfs -o size=8m talweg "$disk" 2> /dev/null || skip "no tmpfs can be mounted here"
test_cleanup() { umount -l "$disk"; }

# A network of about 39,000 weights: a checkpoint takes some 470 KB, all other files little.
STEPS=12000
SIZED=(--set job.epochs=0 --set "job.steps=$STEPS" --set checkpoint.every=500
    --set checkpoint.keep=1)
sed "s|units = 64|units = 512|; s|\.\./data|$ROOT/deploy/data|" "$DIGITS" > "$SCRATCH/wide.cfg"
DIGITS=$SCRATCH/wide.cfg
fill() { # leaves 256 KB
    local free_kb
    free_kb=$(df --output=avail -k "$disk" | tail -n 1)
    head -c $(((free_kb - 256) * 1024)) /dev/zero > "$disk/filler"
}

reference --set checkpoint.every=0
out=$disk/run
begin "$out" --servers 2 --workers 2
at_step "$out" 700
fill
check "full: checkpoints fail" wait_until 20 status_is "$out" 'd["failed_checkpoints"] > 0'
check "full: the job goes on" status_is "$out" 'd["phase"] == "training"'
contains "full: a sentence in the log" "$out/log/coordinator.log" 'no space left'
rm "$disk/filler"
newest() { find "$out" -maxdepth 1 -name 'checkpoint-*' | sed 's/.*-//' | sort -n | tail -n 1; }
before=$(newest)
has_newer() { [ "$(newest)" -gt "$before" ]; }
check "free again: checkpoints are written" wait_until 20 has_newer
ends_the_same "full for a while" "$out"
rm -rf "$out"

begin "$disk/last" --servers 2 --workers 2 --set checkpoint.every=0
at_step "$disk/last" 700
fill
finished_within 90 "$TRAIN"
equal "full at the end: ends with" $? 1
contains "full at the end: says so" "$disk/last.txt" 'no space left'
finish
