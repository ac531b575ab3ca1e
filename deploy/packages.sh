# The Debian packages that Talweg needs, named once: quickstart.sh, tests/run.sh, .ci/run and
# docker/Dockerfile source this file.
# shellcheck shell=bash disable=SC2034

PACKAGES_BUILD=(gcc libc6-dev cmake ninja-build pkg-config libzmq3-dev libprotobuf-c-dev
    protobuf-c-compiler libconfig-dev libjansson-dev libssl-dev zlib1g-dev libopenblas-dev)
PACKAGES_RUN=(libzmq5 libprotobuf-c1 libconfig9 libjansson4 libssl3 zlib1g libopenblas0-pthread)
PACKAGES_TEST=(libcunit1-dev python3 procps iproute2 util-linux)
PACKAGES_DATA=(dataset-fashion-mnist)

# Whether a package is installed; any gnuplot will do for gnuplot-nox.
package_is_there() {
    if [ "$1" = gnuplot-nox ] && command -v gnuplot > /dev/null; then return 0; fi
    [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}

# packages_install NAME...: installs those that are missing, as root or with sudo, and says which.
# With TALWEG_NO_INSTALL set it only says which.  Fails when some are still missing.
packages_install() {
    local name missing=() as_root=()
    if ! command -v dpkg-query > /dev/null; then
        echo "this is not a Debian system; Talweg needs what these packages hold: $*" >&2
        return 0
    fi
    for name in "$@"; do
        package_is_there "$name" || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ -n "${TALWEG_NO_INSTALL:-}" ]; then
        echo "not installed, as asked: ${missing[*]}" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo > /dev/null; then
            echo "missing, and neither root nor sudo to install them: ${missing[*]}" >&2
            return 1
        fi
        as_root=(sudo env DEBIAN_FRONTEND=noninteractive)
    else
        as_root=(env DEBIAN_FRONTEND=noninteractive)
    fi
    echo "installing Debian packages: ${missing[*]}"
    packages_apt "${missing[@]}" && return 0
    # A list of packages that is old or was never fetched names files that are not there.
    "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=600 update < /dev/null &&
        packages_apt "${missing[@]}"
}

packages_apt() {
    "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 install --yes \
        --no-install-recommends "$@" < /dev/null > /dev/null
}
