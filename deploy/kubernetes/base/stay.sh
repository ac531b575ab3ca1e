#!/bin/sh
# Runs a role in a pod: stay.sh ROLE ARGUMENT...
#
# Kubernetes starts again whatever ends in a StatefulSet or Deployment.  So a role that has done its
# work stays, asleep, until its pod is deleted; one that failed ends with its code, and is started
# again.
# SIGTERM, when the pod is to go: servers and workers leave the run in order.  The coordinator is
# killed, since it goes on with its journal wherever it is started again; SIGTERM would stop the
# run.
# SIGINT (kubectl exec talweg-coordinator-0 -- kill -INT 1): stops the run with a checkpoint.
rm -f /tmp/ended
case $1 in
*coordinator) leave=KILL ;;
*) leave=TERM ;;
esac
is_leaving=
"$@" &
role=$!
trap 'is_leaving=1; kill -$leave $role' TERM
trap 'kill -TERM $role' INT
trap 'kill -HUP $role' HUP
while # a signal ends wait as well
    wait $role
    code=$?
    kill -0 $role 2> /dev/null
do :; done
[ "$code" -eq 0 ] && [ -z "$is_leaving" ] || exit "$code"
touch /tmp/ended
echo "$1 has ended; this pod stays until it is deleted"
trap 'exit 0' TERM INT
trap '' HUP
sleep infinity &
wait
