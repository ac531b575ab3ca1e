#!/bin/bash
# Takes from an image's file system what a running process has no use for.  Run by the Dockerfile.
set -euo pipefail

# Packages that only serve to install others, and all that depends on them; a compiler is not among
# what is installed.  dpkg's list of the others stays, for those who look for weak versions.
rm -rf /var/lib/apt /var/cache/* /var/log/* /etc/apt
dpkg --purge --force-depends --force-remove-essential --force-remove-protected \
    apt libapt-pkg6.0 gpgv debian-archive-keyring perl-base debconf > /dev/null 2>&1

# Documentation but for licences, other languages, other character sets.
find /usr/share/doc -type f ! -name copyright -delete
find /usr/share/doc -type l -delete
find /usr/share/doc -type d -empty -delete
rm -rf /usr/share/{man,info,locale,lintian,bug,zoneinfo,i18n,bash-completion} \
    /usr/lib/*/gconv /usr/share/keyrings /etc/ssl/certs/* /tmp/* /root/.[!.]*

# Nobody becomes another user in a container.
find / -xdev -type f -perm /6000 -exec chmod a-s {} +
