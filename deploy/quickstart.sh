#!/usr/bin/env bash
# From a fresh clone to a trained network: installs what is missing, builds a release, trains the
# Fashion-MNIST network on two servers and four workers, each a process of its own.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/deploy/packages.sh"

usage() {
    cat << 'EOF'
Usage: deploy/quickstart.sh [--no-install]
Builds Talweg into build/ and trains a small convolutional network into build/quickstart/.

  --no-install  leave the system alone; say which Debian packages are missing
  --help        this text
EOF
}

for argument in "$@"; do
    case $argument in
    --no-install) export TALWEG_NO_INSTALL=1 ;;
    --help | -h) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
done

packages_install "${PACKAGES_BUILD[@]}" gnuplot-nox ||
    echo "going on without them; the build will say what it lacks" >&2

job=fashion-mnist-cnn
if ! packages_install "${PACKAGES_DATA[@]}"; then
    echo "Fashion-MNIST (Debian package ${PACKAGES_DATA[*]}) cannot be had here;" \
        "training on the digits that come with Talweg instead"
    job=digits-mlp
fi

. "$root/deploy/build.sh"
talweg_build "$root" "$root/build" Release all -DTALWEG_TESTS=OFF

out=$root/build/quickstart
echo "training $job: 2 servers, 4 workers, into $out"
exec "$root/build/bin/talweg" train "$root/deploy/jobs/$job.cfg" --servers 2 --workers 4 \
    --out "$out"
