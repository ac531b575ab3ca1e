#!/usr/bin/env bash
# docker/stack.yml on a Swarm of this machine alone: trains to the digest of a local run while a
# container of each role is killed, and Swarm starts others in their place.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/compose_lib.sh"

docker_needed
[ "$(docker info --format '{{.Swarm.LocalNodeState}}')" = inactive ] ||
    skip "this machine is in a Swarm already"
base_needed
for target in "" --target=fashion-mnist; do
    name=${target:+$WORKER_IMAGE}
    docker build --file "$ROOT/docker/Dockerfile" --build-arg "BASE=$BASE" "${BUILD_ARGUMENTS[@]}" \
        ${target:+"$target"} --tag "${name:-$IMAGE}" "$ROOT" > "$SCRATCH/build.txt" 2>&1
    if ! equal "the image ${name:-$IMAGE} builds: ends with" $? 0; then
        tail -n 30 "$SCRATCH/build.txt"
        finish
    fi
done

stack=talweg-test-$$
containers() {
    docker ps --all --quiet --filter "label=com.docker.swarm.service.name=${stack}_$1"
}
# Refused while Swarm is still taking the stack away.
leave_swarm() {
    docker swarm leave --force > /dev/null 2>&1
    [ "$(docker info --format '{{.Swarm.LocalNodeState}}')" = inactive ]
}
test_cleanup() {
    docker stack rm "$stack" > /dev/null 2>&1
    wait_until 30 sh -c "[ -z \"\$(docker ps -aq --filter label=com.docker.stack.namespace=$stack)\" ]"
    docker volume rm "${stack}_out" "${stack}_data" > /dev/null 2>&1
    wait_until 30 leave_swarm
}
docker swarm init --advertise-addr 127.0.0.1 > "$SCRATCH/swarm.txt" 2>&1 ||
    skip "no Swarm here: $(tail -n 1 "$SCRATCH/swarm.txt")"
docker node update --label-add talweg=coordinator "$(docker node ls --quiet)" > /dev/null

local_runs 20000
docker run --rm --user root --volume "$KEYS:/keys" "$IMAGE" \
    sh -c 'talweg keygen --out /keys' > "$SCRATCH/keygen.txt" 2>&1
PORT=$(free_port)
export PORT
docker stack deploy --resolve-image=never --compose-file "$ROOT/docker/stack.yml" "$stack" \
    > "$SCRATCH/deploy.txt" 2>&1
if ! equal "deploy ends with" $? 0; then
    cat "$SCRATCH/deploy.txt"
    finish
fi

# The newest container of the coordinator answers; there is none while one is replaced.
newest() { containers "$1" | head -n 1; }
trains() { is_at "$(newest coordinator)" "$1"; }
if ! check "it trains" wait_until 90 trains 100; then
    docker stack ps --no-trunc "$stack"
    finish
fi
secrets=$(docker exec "$(newest worker)" sh -c 'cd /run/secrets && stat -c "%n %u %a" *' | xargs)
equal "a worker's secrets" "$secrets" "allowed 10001 400 worker.key 10001 400"
check "read-only root" sh -c "! docker exec --user root $(newest ps) touch /etc/mine 2> /dev/null"

replaced() { [ "$(containers "$1" | wc -l)" -gt "$2" ]; }
for role in worker ps coordinator; do
    count=$(containers "$role" | wc -l)
    before=$(step_in "$(newest coordinator)")
    docker kill "$(newest "$role")" > /dev/null
    check "$role killed: another one is started" wait_until 30 replaced "$role" "$count"
    check "$role killed: the run goes on" wait_until 60 trains $((before + 200))
done
ended() { is_state "$(newest coordinator)" Status exited; }
check "it ends" wait_until 180 ended
results "$(newest coordinator)" "one of each role was killed" long
sleep 3
equal "what has ended is not started again" \
    "$(docker service ps "${stack}_coordinator" --filter desired-state=running --quiet)" ""

finish
