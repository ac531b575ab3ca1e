#!/usr/bin/env bash
# deploy/kubernetes: what kustomize makes of it is right by the schemas of Kubernetes and fits
# together; the pods that it describes - their command lines, users, volumes, keys, probes and
# network policies, in namespaces of this machine - train the digits while workers and servers go
# and come, the coordinator is moved, and the run is stopped and resumed: the digest is that of a
# local run.
. "$(dirname "$0")/lib.sh"
tools=$ROOT/tests/system/kubernetes
python=${TALWEG_PYTHON:-$ROOT/build-tests/venv/bin/python}
"$python" -c 'import kubernetes_validate, yaml' 2> /dev/null ||
    skip "no Python with kubernetes-validate ($python; set TALWEG_PYTHON)"
kubectl version --client 2> /dev/null | grep -q '^Kustomize Version: v[5-9]' ||
    skip "no kubectl of 1.27 or later to render manifests with"
# What comes after a failure would only wait in vain.
end_if_failed() {
    [ "$FAILURES" -gt 0 ] || return 0
    tail -n 5 "$SCRATCH"/pods/*.log 2> /dev/null
    finish
}
render() { kubectl kustomize "$1" > "$2" 2> "$2.err"; }

# Two more overlays: a run that lasts until it is stopped, and one that goes on from there.
cp -r "$ROOT/deploy/kubernetes" "$SCRATCH/kubernetes"
overlays=$SCRATCH/kubernetes/overlays
"$TALWEG" keygen --out "$SCRATCH/kubernetes/keys" > "$SCRATCH/keygen.txt" 2>&1
equal "keygen ends with" $? 0 || cat "$SCRATCH/keygen.txt"
mkdir "$overlays/long" "$overlays/resumed"
# lasting STEPS: the overlay `long` of a run of so many.
lasting() {
    local add='{op: add, path: /spec/template/spec/containers/0/args/-, value: --set='
    cat > "$overlays/long/kustomization.yaml" << END
resources: [../digits]
patches:
- target: {kind: StatefulSet|Deployment}
  patch: |-
    - ${add}optimizer.schedule=constant}
    - ${add}job.epochs=0}
    - ${add}job.steps=$1}
END
}
lasting 1000000
cat > "$overlays/resumed/kustomization.yaml" << END
resources: [../long]
components: [../../components/resume, ../../components/data]
END
manifests=()
for overlay in digits fashion-mnist long resumed; do
    check "$overlay is rendered" render "$overlays/$overlay" "$SCRATCH/$overlay.yaml" ||
        cat "$SCRATCH/$overlay.yaml.err"
    manifests+=("$SCRATCH/$overlay.yaml")
done
judge() { "$python" "$tools/check.py" "$@" > "$SCRATCH/judged" 2>&1; }
check "they are right" judge "${manifests[@]}" || cat "$SCRATCH/judged"
end_if_failed

# What is wrong is found: a line of the manifest changed, and what is said of it.
while IFS='|' read -r change sentence; do
    sed "$change" "$SCRATCH/digits.yaml" > "$SCRATCH/wrong.yaml"
    judge "$SCRATCH/wrong.yaml"
    contains "$change is noticed" "$SCRATCH/judged" "$sentence"
done << 'END'
s/terminationGracePeriodSeconds:/terminationGraceSeconds:/|terminationGraceSeconds. was unexpected
s/averageUtilization: 70/averageUtilization: much/|much
s/secretName: talweg-keys-worker/secretName: talweg-key/|used and not defined
s/serviceName: talweg-ps/serviceName: talweg/|its serviceName is no Service
s/endPort: 7143/endPort: 7142/|worker may not reach server on port 7143
s/minReplicas: 4/minReplicas: 3/|job file says workers = 4;, the manifests 3
s/value: tcp:..talweg-coordinator:7077/value: tcp:\/\/talweg:7077/|there is no Service talweg:7077
s/- alive$/- living/|livenessProbe asks
END

# The job of the overlay is one that Talweg takes, where its data is there.
if [ -d /usr/share/datasets/fashion-mnist ]; then
    train "$SCRATCH/fashion" "$overlays/fashion-mnist/job.cfg" --servers 1 --workers 1 \
        --set job.epochs=0 --set job.steps=2
    equal "two steps of Fashion-MNIST end with" $? 0
fi
end_if_failed

[ "$(id -u)" -eq 0 ] || skip "manifests are right; only root can make pods of them here"
. "$tools/pods.sh"
hash=7d9c6b5f4d
coordinator=talweg-coordinator-0
servers=(talweg-ps-0 talweg-ps-1)
workers=("talweg-worker-$hash-"{x2v9k,24578,99999,bcdfg,late2}) # some end in digits alone
pods_begin "$SCRATCH/pods" "$coordinator" "${servers[@]}" "${workers[@]}" stranger ||
    skip "manifests are right; no namespaces, or no nftables, to make pods of them here"

# is_state EXPRESSION: true when it is of the status, `d`.
is_state() {
    pod_exec "$coordinator" talweg status /out --json > "$SCRATCH/status.json" 2> /dev/null &&
        [ "$(json "$SCRATCH/status.json" "bool($1)" 2> /dev/null)" = true ]
}
heard_all="sum(m['state'] in ('training', 'lagging', 'standing by') for m in d['workers']) == 4"
row() { echo "any(m['host'] == '$1' and m['state'] != 'lost' and $2 for m in d['$3'])"; }

check "pods of the run" pods_apply "$SCRATCH/long.yaml" || finish
for pod in "${servers[@]}" "${workers[@]:0:2}"; do pod_start "$pod"; done
pod_start "$coordinator"
check "the coordinator's startup probe" wait_until 30 pod_probe "$coordinator" startupProbe
check "a server is not ready before the run is there" eval "! pod_probe talweg-ps-0 readinessProbe"
check "but alive" pod_probe talweg-ps-0 livenessProbe
# One that goes before the run is there does not stop it; the Deployment makes another.
check "a worker is heard" wait_until 30 pod_probe "${workers[0]}" startupProbe
pod_signal "${workers[0]}" TERM
pod_ended "${workers[0]}" 20
equal "a worker that goes early ends with" $? 0
pod_start "${workers[0]}"
for pod in "${workers[@]:2:2}"; do pod_start "$pod"; done
for pod in "${servers[@]}" "${workers[@]:0:4}"; do
    check "$pod has started" wait_until 30 pod_probe "$pod" startupProbe
    check "$pod is ready" wait_until 30 pod_probe "$pod" readinessProbe
done
end_if_failed
for rank in 0 1; do
    check "talweg-ps-$rank has the rank of its name" is_state \
        "$(row "talweg-ps-$rank" "m['rank'] == $rank" servers)"
done
check "a pod whose name ends in digits has a rank of the run" is_state \
    "$(row "${workers[1]}" "m['rank'] < 4" workers)"
check "no pod shares memory with another" is_state \
    "all(l['transport'] == 'tcp' for m in d['workers'] for l in m['links'])"

# Policies: what they let through is what all this goes by; what they do not:
check "a worker cannot reach the store" eval "! pod_reaches ${workers[0]} $coordinator 7078"
check "a stranger cannot reach a server" eval "! pod_reaches stranger talweg-ps-0 7080"
check "a server can reach the other" pod_reaches talweg-ps-0 talweg-ps-1 7080

# Scaled: one is there more, one less.
pod_start "${workers[4]}"
check "a fifth worker trains" wait_until 30 is_state \
    "$(row "${workers[4]}" "m['lanes'] > 0" workers)"
pod_signal "${workers[0]}" TERM
pod_ended "${workers[0]}" 20
equal "a worker that is to go ends with" $? 0
# All are evicted at once, and come again.
for pod in "${workers[@]:1}"; do pod_signal "$pod" TERM; done
for pod in "${workers[@]:1}"; do
    pod_ended "$pod" 30
    equal "$pod, evicted, ends with" $? 0
done
for pod in "${workers[@]:1}"; do pod_start "$pod"; done
check "the run goes on with them" wait_until 30 is_state "d['phase'] == 'training' and $heard_all"
end_if_failed
# The coordinator's pod is moved; a server dies with its node and comes again.
pod_signal "$coordinator" TERM
pod_ended "$coordinator" 8
check "the coordinator's pod ends at once" test $? -ne 124
check "with no coordinator a worker is alive" pod_probe "${workers[1]}" livenessProbe
check "but not ready" eval "! pod_probe ${workers[1]} readinessProbe"
pod_start "$coordinator"
check "the run goes on" wait_until 30 is_state "d['phase'] == 'training' and d['protected']"
pod_signal talweg-ps-1 KILL
pod_ended talweg-ps-1 5
check "the other server is not ready while blocks have no copy" wait_until 30 \
    eval "! pod_probe talweg-ps-0 readinessProbe"
pod_start talweg-ps-1
check "it is when the first is back" wait_until 30 pod_probe talweg-ps-0 readinessProbe
end_if_failed

# A key taken off the list shuts its owners out, without a restart of anybody else.
keys=$SCRATCH/kubernetes/keys
cp "$keys/allowed" "$SCRATCH/allowed"
sed -i '/^worker /d' "$keys/allowed"
check "without the workers' key" render "$overlays/long" "$SCRATCH/revoked.yaml"
check "it is applied" pods_apply "$SCRATCH/revoked.yaml"
for pod in "${workers[@]:1}"; do
    pod_ended "$pod" 30
    equal "$pod, shut out, ends with" $? 1
done
contains "it says why" "$(pod_log "${workers[1]}")" 'refuses the key of worker'
cp "$SCRATCH/allowed" "$keys/allowed"
check "with it again" render "$overlays/long" "$SCRATCH/long.yaml"
check "it is applied" pods_apply "$SCRATCH/long.yaml"
# A worker that comes before all have read the list is refused once more; Kubernetes starts it again.
has_read_all() { grep -q "ev=keys_read allowed=$(grep -vc '^#' "$keys/allowed")" "$(pod_log "$1")"; }
for pod in "$coordinator" talweg-ps-0 talweg-ps-1; do
    check "$pod has read it" wait_until 10 has_read_all "$pod"
done
for pod in "${workers[@]:1}"; do pod_start "$pod"; done
check "it goes on with them" wait_until 30 is_state "d['phase'] == 'training' and $heard_all" ||
    json "$SCRATCH/status.json" "[(m['host'], m['rank'], m['state']) for m in d['workers']]"
end_if_failed

# Stopped, and resumed by other pods on the same claim.
pod_exec "$coordinator" kill -INT 1
pod_ended "$coordinator" 30
equal "stopped, the coordinator ends with" $? 1
contains "it says so" "$(pod_log "$coordinator")" 'stopped at step [0-9]+ of 1000000'
pods_end
result=$(pods_claim "out-$coordinator")
steps=$(($(json "$result/summary.json" 'd["steps"]') + 500))
lasting "$steps"
check "a run of $steps is rendered" render "$overlays/resumed" "$SCRATCH/resumed.yaml"
check "pods of the resumed run" pods_renew "$SCRATCH/resumed.yaml" || finish
for pod in "$coordinator" "${servers[@]}" "${workers[@]:0:4}"; do pod_start "$pod"; done
"$TALWEG" train "$SCRATCH/kubernetes/base/job.cfg" --servers 1 --workers 1 --quiet \
    --set data.train_inputs="$ROOT/deploy/data/digits.csv.gz" --set optimizer.schedule=constant \
    --set job.epochs=0 --set job.steps=$steps --out "$SCRATCH/local" > "$SCRATCH/local.txt" 2>&1
equal "the local run ends with" $? 0
check "resumed, the run ends" wait_until 60 pod_says "$coordinator" 'has ended; this pod stays'
equal "digest" "$(digest "$result")" "$(digest "$SCRATCH/local")"
pod_exec "$coordinator" talweg status /out --watch > "$SCRATCH/watch.txt" 2>&1
equal "the status of a run that is over ends with" $? 0
for pod in "$coordinator" "${servers[@]}" "${workers[@]:0:4}"; do
    check "$pod stays" wait_until 30 pod_says "$pod" 'has ended; this pod stays'
    check "and is ready" pod_probe "$pod" readinessProbe
    pod_signal "$pod" TERM
    pod_ended "$pod" 20
    equal "until it is deleted; it ends with" $? 0
done
end_if_failed
finish
