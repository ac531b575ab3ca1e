#!/usr/bin/env bash
# The images build, and a cluster of containers trains the digits to the digest of a local run.
. "$(dirname "$0")/lib.sh"

timeout 20 docker info > "$SCRATCH/info" 2>&1 || skip "no docker daemon: $(tail -n 1 "$SCRATCH/info")"
if command -v docker-compose > /dev/null; then
    compose_command=(docker-compose)
elif docker compose version > /dev/null 2>&1; then
    compose_command=(docker compose)
else
    skip "docker-compose is not there"
fi

project=talweg-test-$$
export IMAGE=talweg-test COMPOSE_DOCKER_CLI_BUILD=0 DOCKER_BUILDKIT=0 BUILDKIT_PROGRESS=plain
compose() { "${compose_command[@]}" -p "$project" -f "$ROOT/docker/docker-compose.yml" "$@"; }
test_cleanup() {
    compose down --volumes --timeout 2 > /dev/null 2>&1
}

if ! BASE=$("$ROOT/docker/base-image.sh" talweg-test-base 2> "$SCRATCH/base.err"); then
    skip "no base image, neither pulled nor made: $(tail -n 1 "$SCRATCH/base.err")"
fi
export BASE

# apt in the image goes the way that apt goes here.
arguments=()
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || arguments+=(--build-arg "$name")
done
compose build "${arguments[@]}" > "$SCRATCH/build.txt" 2>&1
equal "the image builds: ends with" $? 0 || true
if [ "$FAILURES" -gt 0 ]; then
    tail -n 30 "$SCRATCH/build.txt"
    finish
fi

user=$(docker run --rm "$IMAGE" id -u)
check "the user is not root" test "$user" -gt 0
docker run --rm "$IMAGE" talweg --version > "$SCRATCH/version"
contains "the command line runs in it" "$SCRATCH/version" '^talweg [0-9]'

# The local run first: containers do not see what this machine's environment asks of OpenBLAS.
train "$SCRATCH/local" "$DIGITS" --servers 1 --workers 2
KERNELS=$(json "$SCRATCH/local/summary.json" 'd["blas_core"]')
export KERNELS
compose up --detach --scale ps=2 --scale worker=4 > "$SCRATCH/up.txt" 2>&1
equal "up ends with" $? 0
containers=$(compose ps -q)
equal "containers" "$(wc -w <<< "$containers")" 7
coordinator=$(compose ps -q coordinator)
equal "the coordinator ends with" "$(timeout 180 docker wait "$coordinator")" 0
for container in $containers; do
    code=$(timeout 30 docker wait "$container")
    [ "$code" = 0 ] || fail "$(docker inspect --format '{{.Name}}' "$container") ended with $code"
done
[ "$FAILURES" -eq 0 ] || compose logs --no-color | tail -n 40
mkdir "$SCRATCH/cluster"
docker cp "$coordinator:/out/." "$SCRATCH/cluster" > "$SCRATCH/cp.txt" 2>&1

equal "kernels of the containers" \
    "$(json "$SCRATCH/cluster/summary.json" 'd["blas_core"]')" "$KERNELS"
equal "digest of the containers" "$(digest "$SCRATCH/cluster")" "$(digest "$SCRATCH/local")"
steps=$(json "$SCRATCH/local/summary.json" 'd["steps"]')
check "the checkpoint is in the volume" \
    test -f "$SCRATCH/cluster/checkpoint-$steps/checkpoint.json"

finish
