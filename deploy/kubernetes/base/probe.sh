#!/bin/sh
# Answers the kubelet's probes by what the coordinator says: probe.sh answers|heard|alive|protected
#
# answers    the coordinator answers; it is the one who is asked
# heard      the coordinator hears this pod
# alive      it does, or does not answer: that is no fault of this pod
# protected  it hears this pod, and any one server may go: each block of weights has its copy
#
# Once its work is done (stay.sh) a pod is all of that.
[ ! -e /tmp/ended ] || exit 0
status=$(timeout 5 talweg status "$TALWEG_COORDINATOR" 2>&1)
code=$?
# Each line of a member: rank, host, process, state.  An earlier life of it may be among them.
pod=$(printf '%s\n' "$status" | awk -v pod="$POD_NAME" '
    $2 == pod { is_lost = $4 == "lost" ? 1 : 0; is_there = is_there || !is_lost; is_known = 1 }
    END { print is_there ? "there" : is_known ? "lost" : "unknown" }')
case $1 in
answers) [ "$code" -eq 0 ] ;;
heard) [ "$pod" = there ] ;;
alive) [ "$pod" != lost ] ;;
protected) [ "$pod" = there ] && ! printf '%s\n' "$status" | grep -q '^protected no' ;;
*) echo "$0: found '$1', expected answers, heard, alive or protected" >&2 && exit 2 ;;
esac && exit 0
printf '%s\n' "$status" | head -n 3 # why, for `kubectl describe pod`
echo "this pod is $pod to the coordinator"
exit 1
