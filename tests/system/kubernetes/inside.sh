#!/bin/bash
# Becomes a container: inside.sh FOLDER BIN ROOT, in mount, host name, process and network
# namespaces of its own.  FOLDER is a pod's as pods.py makes it; BIN and ROOT, the executables and
# the checkout, stand for what the image holds.
set -eu
folder=$1
hostname "$(basename "$folder")"
mount --make-rprivate /
nft -f "$folder/rules"

root=$folder/root
mkdir -p "$root"
mount -t tmpfs tmpfs "$root"
cd "$root"
mkdir -p usr etc proc dev sys out data opt/talweg/jobs opt/talweg/data
for name in bin sbin lib lib64; do
    if [ -L "/$name" ]; then ln -s "usr/$name" "$name"; fi
done
show() { # show FROM TO ro|rw
    mount --bind "$1" "./$2"
    [ "$3" = rw ] || mount -o remount,bind,ro "./$2"
}
show /usr usr ro
show "$2" usr/local/bin ro
show /etc etc ro
show "$folder/hosts" etc/hosts ro
show "$3/deploy/jobs" opt/talweg/jobs ro
show "$3/deploy/data" opt/talweg/data ro
mount --rbind /dev dev
mount -t tmpfs tmpfs dev/shm
mount --rbind /sys sys
mount -t proc proc proc
while read -r from to mode; do
    mkdir -p "./$to"
    show "$from" "$to" "$mode"
done < "$folder/mounts"
mount -o remount,ro .

mapfile -d '' -t environment < "$folder/environment"
mapfile -d '' -t command < "$folder/command"
# A process in a shell's background would ignore SIGINT.
exec env -i --default-signal=INT "${environment[@]}" chroot "$root" setpriv --reuid=10001 \
    --regid=10001 --groups=10001 --bounding-set=-all --no-new-privs \
    sh -c 'cd /out && exec "$@"' sh "${command[@]}"
