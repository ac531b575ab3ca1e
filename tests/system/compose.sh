#!/usr/bin/env bash
# docker/: the image is small, closed and has what it needs; a cluster of 1 + 2 + 4 containers of it
# trains to the digest of a local run while containers are killed; what has failed or ended stays so.
#
# TALWEG_COMPOSE_2  a Compose 2, tried as well; default: `docker compose`, where it is there
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/compose_lib.sh"

docker_needed
# The first is tried at length, the last with what may differ; one may be both.
composes=()
if command -v docker-compose > /dev/null; then composes+=(docker-compose); fi
if [ -n "${TALWEG_COMPOSE_2:-}" ]; then
    composes+=("$TALWEG_COMPOSE_2")
elif docker compose version > /dev/null 2>&1; then
    composes+=("docker compose")
fi
[ ${#composes[@]} -gt 0 ] || skip "neither docker-compose nor \`docker compose\` is there"

project=talweg-test-$$
use_compose() { read -ra compose_command <<< "$1"; }
use_compose "${composes[0]}"
compose() { "${compose_command[@]}" -p "$project" -f "$ROOT/docker/docker-compose.yml" "$@"; }
test_cleanup() { compose down --volumes --timeout 2 > /dev/null 2>&1; }
# container SERVICE [N]: the id of its Nth.
container() {
    docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.service=$1" \
        --filter "label=com.docker.compose.container-number=${2:-1}"
}
base_needed
compose build "${BUILD_ARGUMENTS[@]}" > "$SCRATCH/build.txt" 2>&1
if ! equal "the images build: ends with" $? 0; then
    tail -n 30 "$SCRATCH/build.txt"
    finish
fi

# The image.
bytes=$(docker image inspect --format '{{.Size}}' "$IMAGE")
check "its size is under 120 MB: $bytes bytes" test "$bytes" -lt 120000000
equal "its user" "$(docker image inspect --format '{{.Config.User}}' "$IMAGE")" 10001:10001
inside() { docker run --rm --read-only --tmpfs /tmp --cap-drop ALL "$@"; }
inside "$IMAGE" sh -c 'for name in gcc cc cpp as ld make cmake apt-get perl python3; do
    command -v $name; done; find / -xdev -perm /6000 -type f; ls /src /etc/apt' \
    > "$SCRATCH/tools" 2> /dev/null
equal "no compiler, package manager or set-uid program in it" "$(cat "$SCRATCH/tools")" ""
inside "$IMAGE" sh -c 'for name in talweg talweg-coordinator talweg-ps talweg-worker; do
    $name --version; done' > "$SCRATCH/version"
equal "what runs in it" "$(cut -d ' ' -f 1 "$SCRATCH/version" | xargs)" \
    "talweg talweg-coordinator talweg-ps talweg-worker"
inside --tmpfs /out:uid=10001 "$WORKER_IMAGE" talweg train /opt/talweg/jobs/fashion-mnist-cnn.cfg \
    --out /out/run --servers 1 --workers 1 --set job.epochs=0 --set job.steps=10 \
    > "$SCRATCH/fashion.txt" 2>&1
contains "the workers' image has Fashion-MNIST" "$SCRATCH/fashion.txt" '^digest +[0-9a-f]{64}'
contains "without gnuplot the result says so" "$SCRATCH/fashion.txt" '^loss curve +none: gnuplot'

local_runs 24000
compose run --rm keygen > "$SCRATCH/keygen.txt" 2>&1
contains "keygen makes keys" "$SCRATCH/keygen.txt" '4 keys, 4 of them new'
compose up --detach > "$SCRATCH/up.txt" 2>&1 # without --scale, from the default numbers
equal "up ends with" $? 0 || cat "$SCRATCH/up.txt"
all=$(compose ps --quiet)
equal "containers" "$(wc -w <<< "$all")" 7
coordinator=$(container coordinator)
server=$(container ps)
worker=$(container worker)

# Killed in mid-run: a process of each role, and a server's container as a whole.
check "it trains" wait_until 30 is_at "$coordinator" 100
check "a worker crashes" crash "$worker"
docker kill "$server" > /dev/null
before=$(step_in "$coordinator")
check "a server's container is killed: the run goes on" \
    wait_until 30 is_at "$coordinator" $((before + 200))
docker start "$server" > /dev/null
check "a worker that crashed comes back" wait_until 20 is_back "$worker"
check "the coordinator crashes" crash "$coordinator"
check "a coordinator that crashed comes back" wait_until 20 is_back "$coordinator"
check "and the run goes on" wait_until 20 is_at "$coordinator" $((before + 400))

# What a person sees, and what containers may do.
compose exec -T coordinator talweg status > "$SCRATCH/status.txt" 2>&1
contains "status in the coordinator's container" "$SCRATCH/status.txt" '^digits-mlp: training'
port=$(compose port coordinator 7077)
mkdir "$SCRATCH/client" && cp "$KEYS/allowed" "$SCRATCH/client" &&
    install -m 600 "$KEYS/client.key" "$SCRATCH/client"
"$TALWEG" status "$port" --keys "$SCRATCH/client" > "$SCRATCH/status.txt" 2>&1
contains "status through the published port" "$SCRATCH/status.txt" '^digits-mlp: training'
"$TALWEG" status "$port" > "$SCRATCH/status.txt" 2>&1
contains "nobody gets in there without a key" "$SCRATCH/status.txt" 'asks for a key'
secrets() { docker exec "$1" ls /run/secrets | xargs; }
equal "secrets of the coordinator" "$(secrets "$coordinator")" "allowed client.key coordinator.key"
equal "secrets of a server" "$(secrets "$server")" "allowed server.key"
equal "secrets of a worker" "$(secrets "$worker")" "allowed worker.key"
for one in "$coordinator" "$server" "$worker"; do
    check "read-only root: $(name_of "$one")" \
        sh -c "! docker exec --user root $one touch /etc/mine 2> /dev/null"
    equal "capabilities, new privileges: $(name_of "$one")" "$(docker exec "$one" sed -n \
        's/^Cap\(Prm\|Bnd\):\t0*$/none/p; s/^NoNewPrivs:\t1/none/p' /proc/1/status | xargs)" \
        "none none none"
    check "healthy: $(name_of "$one")" wait_until 30 is_healthy "$one"
done
for one in $all; do
    check "it ends: $(name_of "$one")" wait_until 300 is_state "$one" Status exited
done
results "$coordinator" "three were killed" long
check "its checkpoint is in the volume" test -f "$SCRATCH/results/checkpoint-24000/checkpoint.json"
equal "kernels of the containers" \
    "$(json "$SCRATCH/results/summary.json" 'd["blas_core"]')" "$KERNELS"
compose run --rm status --watch > "$SCRATCH/status.txt" 2>&1
equal "status --watch of a run that has ended ends with" $? 0
contains "status --watch of it" "$SCRATCH/status.txt" '^digits-mlp: finished'
compose down --volumes > /dev/null 2>&1

# The other compose, other numbers: it ends by itself, with the run's exit code.
use_compose "${composes[-1]}"
JOB=/data/short.cfg timeout 120 "${compose_command[@]}" -p "$project" \
    -f "$ROOT/docker/docker-compose.yml" up --exit-code-from coordinator --scale ps=1 \
    --scale worker=2 > "$SCRATCH/up.txt" 2>&1
equal "$(basename "${composes[-1]}") up --exit-code-from ends with" $? 0 ||
    tail -n 20 "$SCRATCH/up.txt"
results "$(container coordinator)" "one server, two workers" short
compose down --volumes > /dev/null 2>&1

# Stopped, it leaves a checkpoint, from which it goes on.
compose up --detach --scale ps=1 --scale worker=1 > "$SCRATCH/up.txt" 2>&1
coordinator=$(container coordinator)
check "another run trains" wait_until 30 is_at "$coordinator" 100
compose stop > "$SCRATCH/stop.txt" 2>&1
docker cp "$coordinator:/out/." "$SCRATCH/stopped" > /dev/null 2>&1
equal "stopped: phase" "$(json "$SCRATCH/stopped/summary.json" 'd["phase"]')" stopped
check "stopped: a checkpoint" sh -c "ls '$SCRATCH'/stopped/checkpoint-*/checkpoint.json > /dev/null"
MORE=--resume=/out compose up --detach > "$SCRATCH/up.txt" 2>&1
coordinator=$(container coordinator)
check "resumed: it ends" wait_until 300 is_state "$coordinator" Status exited
results "$coordinator" resumed long
compose down --volumes > /dev/null 2>&1

# What cannot work is not tried for ever.
JOB=/data/none.cfg compose up --detach --scale ps=1 --scale worker=1 > "$SCRATCH/up.txt" 2>&1
for service in coordinator ps worker; do
    one=$(container "$service")
    check "no such job: $service gives up" wait_until 60 is_state "$one" Status exited
    equal "no such job: $service's restarts" "$(restarts "$one")" 5
    equal "no such job: $service ends with" "$(state "$one" ExitCode)" 1
done

finish
