#!/bin/sh
# Whether the role that this container runs does what it is there for: the coordinator answers
# `talweg status`, a server or worker is connected to the coordinator.  It looks no name up: Swarm
# knows a container's name only once it is healthy.
set -eu

# port OPTION [ADDRESS]: that of the address given to process 1 with this option, or else of ADDRESS.
port() {
    address=$(tr '\0' '\n' < /proc/1/cmdline | sed -n "s/^--$1=//p")
    address=${address:-${2:-}}
    echo "${address##*:}"
}

case $(cat /proc/1/comm) in
talweg-coordina*)
    talweg status "127.0.0.1:$(port bind "${TALWEG_BIND:-}")" > /dev/null
    ;;
talweg-ps | talweg-worker)
    remote=$(printf '%04X' "$(port coordinator "${TALWEG_COORDINATOR:-}")")
    # Its row is: number, own address, the other's, state; 01 is established.
    cat /proc/net/tcp /proc/net/tcp6 | grep -qE "^ *[0-9]+: [0-9A-F:]+ [0-9A-F]+:$remote 01 " || {
        echo "not connected to the coordinator"
        exit 1
    }
    ;;
esac
