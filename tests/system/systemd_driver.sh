# What systemd.sh does as root within a systemd of its own, by the commands of
# deploy/systemd/README.md; prints a line a check.
# shellcheck shell=bash disable=SC2153
cd "$ROOT" || exit 1
OUT=/var/lib/talweg/my-job
PATH=/usr/local/bin:$PATH

check() {
    local what=$1
    shift
    if "$@"; then echo "ok    $what"; else echo "FAIL  $what  [$*]"; fi
}
equal() {
    if [ "$2" = "$3" ]; then echo "ok    $1: $2"; else echo "FAIL  $1: found '$2', expected '$3'"; fi
}
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}
unit_has() { [ "$(systemctl show --value --property="$2" "talweg-$1@my-job")" = "$3" ]; }
step() {
    talweg status "127.0.0.1:$PORT" --keys /etc/talweg/keys --json 2> /dev/null |
        sed -n '/^  "step":/s/[^0-9]//gp'
}
is_past() {
    local step
    step=$(step)
    [ -n "$step" ] && [ "$step" -gt "$1" ]
}
goes_on() {
    local before
    before=$(step)
    check "$1" wait_until 20 is_past "$((${before:-0} + 200))"
}
start_all() { systemctl start talweg-worker@my-job talweg-ps@my-job talweg-coordinator@my-job; }

install -m 755 "$BIN/talweg" "$BIN/talweg-coordinator" "$BIN/talweg-ps" "$BIN/talweg-worker" \
    /usr/local/bin/
mkdir -p /etc/systemd/system
install -m 644 deploy/systemd/talweg-*@.service /etc/systemd/system/
install -D -m 644 deploy/systemd/talweg.conf /etc/sysusers.d/talweg.conf
systemd-sysusers /etc/sysusers.d/talweg.conf
check "there is a user for it" id talweg
for role in coordinator ps worker; do # there is no journal here
    mkdir "/etc/systemd/system/talweg-$role@.service.d"
    printf '[Service]\nStandardOutput=append:%s\nStandardError=inherit\n' \
        "$SCRATCH/$role.txt" > "/etc/systemd/system/talweg-$role@.service.d/log.conf"
done
systemctl daemon-reload

talweg keygen --out "$SCRATCH/keys"
install -d -m 750 -o root -g talweg /etc/talweg/keys
install -m 640 -o root -g talweg "$SCRATCH/keys/allowed" "$SCRATCH"/keys/*.key /etc/talweg/keys/

sed 's#"\.\./data/#"/etc/talweg/#' deploy/jobs/digits-mlp.cfg > /etc/talweg/my-job.cfg
cp deploy/data/digits.csv.gz /etc/talweg/
write_environment() {
    cat > /etc/talweg/my-job.env <<END
PORT=$PORT
TALWEG_COORDINATOR=tcp://127.0.0.1:$PORT
OPTIONS=--servers=1 --workers=1 --set=job.epochs=0 --set=job.steps=$STEPS --set=checkpoint.every=2000
WORKER_OPTIONS=--threads=2 --set=worker.kernels=$(cat "$SCRATCH/kernels")
$1
END
}
write_environment
start_all
check "the units are started" systemctl is-active --quiet talweg-worker@my-job talweg-ps@my-job \
    talweg-coordinator@my-job
check "the run begins" wait_until 20 is_past 100
equal "they run as" "$(ps -o user= -p "$(systemctl show --value --property=MainPID \
    talweg-worker@my-job)")" talweg

for role in worker coordinator ps; do
    systemctl kill --signal=KILL talweg-$role@my-job
    check "talweg-$role is killed: it is started again" wait_until 10 unit_has $role NRestarts 1
    goes_on "and the run goes on"
done
systemctl restart talweg-coordinator@my-job
goes_on "the coordinator is restarted: the run goes on"
for role in coordinator ps; do
    systemctl reload talweg-$role@my-job
    check "talweg-$role reads its keys again and stays" unit_has $role ActiveState active
done

systemctl stop talweg-coordinator@my-job
check "the coordinator is stopped: the run is" grep -q '"phase": "stopped"' $OUT/summary.json
wait_until 10 unit_has worker ActiveState failed
wait_until 10 unit_has ps ActiveState failed
write_environment "COORDINATOR_OPTIONS=--resume=$OUT"
systemctl reset-failed
start_all
for role in coordinator ps worker; do
    check "resumed, talweg-$role comes to its end" wait_until 300 unit_has $role ActiveState inactive
    equal "and its result is" "$(systemctl show --value --property=Result talweg-$role@my-job)" \
        success
done
touch "$SCRATCH/driver.done"
