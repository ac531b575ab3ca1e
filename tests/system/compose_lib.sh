# What the tests of docker/ share: images, keys, jobs, containers and what is to be known of them.
# Sourced after lib.sh.
# shellcheck shell=bash

export IMAGE=talweg-test WORKER_IMAGE=talweg-test-fashion-mnist
export COMPOSE_DOCKER_CLI_BUILD=0 DOCKER_BUILDKIT=0 BUILDKIT_PROGRESS=plain
export KEYS=$SCRATCH/keys DATA=$SCRATCH/data JOB=/data/long.cfg

# docker_needed: skips the test where there is none.
docker_needed() {
    timeout 20 docker info > "$SCRATCH/info" 2>&1 ||
        skip "no docker daemon: $(tail -n 1 "$SCRATCH/info")"
    [ "$(id -u)" -eq 0 ] || skip "needs root, to kill a container's process"
    chmod 755 "$SCRATCH"
}

# base_needed: the image to build on, in $BASE; what apt must know in $BUILD_ARGUMENTS.
base_needed() {
    BASE=$("$ROOT/docker/base-image.sh" talweg-test-base 2> "$SCRATCH/base.err") ||
        skip "no base image, neither pulled nor made: $(tail -n 1 "$SCRATCH/base.err")"
    export BASE
    BUILD_ARGUMENTS=()
    local name
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        [ -z "${!name:-}" ] || BUILD_ARGUMENTS+=(--build-arg "$name")
    done
}

# local_runs STEPS: jobs long.cfg, of so many steps, and short.cfg; their digests in $SCRATCH/NAME.
# Containers do not see what this machine's environment asks of OpenBLAS: kernels are in $KERNELS.
local_runs() {
    local name
    mkdir "$DATA"
    cp "$ROOT/deploy/data/digits.csv.gz" "$DATA"
    sed -e 's:\.\./data/::' "$DIGITS" > "$DATA/short.cfg"
    sed -e "s/epochs = .*/steps = $1;/" "$DATA/short.cfg" > "$DATA/long.cfg"
    chmod -R a+rX "$DATA"
    for name in short long; do
        train "$SCRATCH/$name" "$DATA/$name.cfg" --servers 1 --workers 2
    done
    KERNELS=$(json "$SCRATCH/short/summary.json" 'd["blas_core"]')
    export KERNELS
}

# state CONTAINER FIELD
state() { docker inspect --format "{{.State.$2}}" "$1" 2> /dev/null; }
is_state() { [ "$(state "$1" "$2")" = "$3" ]; }
is_healthy() { is_state "$1" Health.Status healthy; }
restarts() { docker inspect --format '{{.RestartCount}}' "$1"; }
is_back() { [ "$(restarts "$1")" -ge 1 ] && is_state "$1" Running true; }
name_of() { docker inspect --format '{{.Name}}' "$1"; }

# As the kernel does when there is no memory left: on nobody's order.
crash() {
    local pid
    pid=$(state "$1" Pid)
    [ "${pid:-0}" -gt 1 ] && kill -KILL "$pid"
}

# run_status CONTAINER: the coordinator's, in $SCRATCH/status.json.
run_status() { docker exec "$1" talweg status --json > "$SCRATCH/status.json" 2> /dev/null; }
is_at() { run_status "$1" && [ "$(json "$SCRATCH/status.json" "d['step'] >= $2")" = true ]; }

# step_in CONTAINER: steps done, or 0.
step_in() { run_status "$1" && json "$SCRATCH/status.json" 'd["step"]' || echo 0; }

# results CONTAINER WHAT JOB: what this coordinator left is that of the local run of JOB.
results() {
    rm -rf "$SCRATCH/results" && mkdir "$SCRATCH/results"
    docker cp "$1:/out/." "$SCRATCH/results" > /dev/null 2>&1
    equal "$2: the coordinator ends with" "$(state "$1" ExitCode)" 0
    equal "$2: digest" "$(digest "$SCRATCH/results")" "$(digest "$SCRATCH/$3")"
}
