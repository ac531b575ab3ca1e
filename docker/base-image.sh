#!/usr/bin/env bash
# Makes a Debian 12 base image with this machine's own apt set-up: the image that can be pulled, or
# one from debootstrap where no registry is in reach.  Prints the name of the image.
set -euo pipefail

usage() {
    cat << 'EOF'
Usage: docker/base-image.sh [NAME]
Makes the image NAME (default: talweg-base) for `docker build --build-arg BASE=NAME`, so that apt
inside of it reaches the same mirror as apt on this machine.  Needs docker; without a registry also
debootstrap and root.
EOF
}

case ${1:-} in
--help | -h) usage && exit 0 ;;
esac
name=${1:-talweg-base}
debian=debian:12-slim
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

# The mirror that apt uses for this machine's release; a local mirror is as good as any.
mirror() {
    apt-get indextargets --format '$(CREATED_BY) $(CODENAME) $(SUITE) $(REPO_URI)' |
        awk '$1 == "Packages" && ($2 == "bookworm" || $3 == "bookworm") { print $4; exit }'
}

if docker image inspect "$debian" > /dev/null 2>&1 ||
    timeout 60 docker pull --quiet "$debian" > /dev/null 2>&1; then
    from=$debian
else
    from=$name-bare
    if ! docker image inspect "$from" > /dev/null 2>&1; then
        uri=$(mirror)
        [ -n "$uri" ] || { echo "apt knows no mirror of Debian bookworm" >&2; exit 1; }
        debootstrap --variant=minbase bookworm "$context/root" "$uri" > "$context/log" 2>&1 ||
            { tail -n 5 "$context/log" >&2; exit 1; }
        rm -f "$context"/root/var/cache/apt/archives/*.deb
        tar -C "$context/root" -c . | docker import - "$from" > /dev/null
        rm -rf "$context/root"
    fi
fi

# Sources, keys, options and logins of apt, and the certificates they rest on.
mkdir -p "$context/etc/apt" "$context/keyrings" "$context/certificates"
for part in sources.list sources.list.d apt.conf.d auth.conf.d preferences.d trusted.gpg.d keyrings
do
    if [ -e "/etc/apt/$part" ]; then cp -aL "/etc/apt/$part" "$context/etc/apt/"; fi
done
# A configuration for a desktop's tools would only complain in an image.
rm -f "$context"/etc/apt/apt.conf.d/{20packagekit,50appstream}
cp -aL /usr/share/keyrings/. "$context/keyrings/" 2> /dev/null || true
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
    cp -L /etc/ssl/certs/ca-certificates.crt "$context/certificates/"
fi
cat > "$context/Dockerfile" << EOF
FROM $from
RUN rm -rf /etc/apt/sources.list /etc/apt/sources.list.d
COPY etc/apt/ /etc/apt/
COPY keyrings/ /usr/share/keyrings/
COPY certificates/ /etc/ssl/certs/
EOF
DOCKER_BUILDKIT=0 docker build --quiet --tag "$name" "$context" > /dev/null 2> "$context/log" ||
    { tail -n 5 "$context/log" >&2; exit 1; }
echo "$name"
