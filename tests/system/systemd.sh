#!/usr/bin/env bash
# deploy/systemd: systemd finds nothing wrong with the units; a systemd in namespaces of its own
# runs them as the README says, with kills, restarts, a stop and a resume, to the digest of a local
# run.  Where such a systemd cannot start, only the first is tested.
. "$(dirname "$0")/lib.sh"
STEPS=80000
. "$(dirname "$0")/faults.sh"
UNITS=$ROOT/deploy/systemd
command -v systemd-analyze > /dev/null || skip "systemd-analyze is not there (Debian: systemd)"

# An instance of each, with executables that are there.
mkdir "$SCRATCH/verify"
for role in coordinator ps worker; do
    sed "s#/usr/local/bin/#$BIN/#" "$UNITS/talweg-$role@.service" \
        > "$SCRATCH/verify/talweg-$role@job.service"
done
systemd-analyze verify --man=no --recursive-errors=no "$SCRATCH"/verify/*.service \
    > "$SCRATCH/verify.txt" 2>&1
equal "systemd-analyze verify ends with" $? 0
equal "it has nothing to say" "$(grep 'talweg-' "$SCRATCH/verify.txt")" ''
for role in coordinator ps worker; do
    systemd-analyze security --offline=true --threshold=20 --no-pager \
        "$SCRATCH/verify/talweg-$role@job.service" > "$SCRATCH/security.txt" 2>&1
    equal "talweg-$role is exposed at most 2.0 of 10: systemd-analyze security ends with" $? 0
done

if ! [ "$(id -u)" -eq 0 ] || ! unshare --pid --mount --uts --ipc --cgroup --fork true 2> /dev/null; then
    say "no systemd was started: that needs root and namespaces"
    finish
fi

# A systemd of its own sees this machine's files, but for /etc, /var/lib, /run and /usr/local/bin.
# Its control groups lie beneath one that goes away with the test.
GROUP=talweg-test-$$
test_cleanup() {
    local folder
    for folder in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        [ ! -d "$folder/$GROUP" ] ||
            find "$folder/$GROUP" -depth -type d -exec rmdir {} \; 2> /dev/null
    done
}
mkdir -p "$SCRATCH"/{units,lib,bin}
chmod 755 "$SCRATCH"
for target in sysinit basic shutdown network-online multi-user test; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" \
        > "$SCRATCH/units/$target.target"
done
echo 'Wants=driver.service' >> "$SCRATCH/units/test.target"
cat > "$SCRATCH/units/driver.service" <<END
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/bash $ROOT/tests/system/systemd_driver.sh
Environment=SCRATCH=$SCRATCH ROOT=$ROOT BIN=$BIN PORT=$(free_port) STEPS=$STEPS PATH=$PATH
StandardOutput=file:$SCRATCH/driver.out
StandardError=file:$SCRATCH/driver.err
END
cat > "$SCRATCH/boot.sh" <<END
set -e
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd /run/etc /run/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work overlay /etc
mount --bind "$SCRATCH/lib" /var/lib
mount --bind "$SCRATCH/bin" /usr/local/bin
exec env -i container=talweg SYSTEMD_UNIT_PATH="$SCRATCH/units:/etc/systemd/system" \
    /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
END

reference --set checkpoint.every=2000
KERNELS=$(json "$SCRATCH/reference/summary.json" 'd["blas_core"]')
echo "$KERNELS" > "$SCRATCH/kernels"
(
    for folder in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        [ ! -f "$folder/cgroup.procs" ] || ! mkdir "$folder/$GROUP" 2> /dev/null ||
            echo $BASHPID > "$folder/$GROUP/cgroup.procs"
    done 2> /dev/null
    exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child bash "$SCRATCH/boot.sh"
) > "$SCRATCH/boot.txt" 2>&1 &
STARTED+=($!)
boot=$!

if ! wait_until 15 test -f "$SCRATCH/driver.out"; then
    say "no systemd was started: $(tail -n 1 "$SCRATCH/boot.txt")"
    finish
fi
check "the driver comes to its end" wait_until 600 test -f "$SCRATCH/driver.done"
kill -KILL "$boot"
wait "$boot" 2> /dev/null
cat "$SCRATCH/driver.out"
CHECKS=$((CHECKS + $(grep -c '^ok ' "$SCRATCH/driver.out")))
driver_failures=$(grep -c '^FAIL' "$SCRATCH/driver.out")
CHECKS=$((CHECKS + driver_failures)) FAILURES=$((FAILURES + driver_failures))
check "the loss curve is drawn" test -s "$SCRATCH/lib/talweg/my-job/loss.svg"
equal "digest" "$(digest "$SCRATCH/lib/talweg/my-job")" "$REFERENCE"
[ "$FAILURES" -eq 0 ] || tail -n 20 "$SCRATCH"/{driver.err,boot.txt,coordinator.txt,ps.txt,worker.txt}
finish
