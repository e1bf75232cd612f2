#!/bin/sh
# Installs the Debian packages that tests of cut links need: network namespaces and packet filters.
# Where it cannot, it says so: links are cut by proxies on loopback there, and what those cannot show,
# lost packets and a firewall, is skipped by tests that say the same, or fails where CI is set.
set -eu

missing=""
command -v ip >/dev/null 2>&1 || missing="$missing iproute2"
command -v nft >/dev/null 2>&1 || missing="$missing nftables"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "for the tests of cut links install$missing; without them proxies on loopback cut them" >&2
    exit 0
fi
echo "installing$missing for the tests of cut links"
# shellcheck disable=SC2086
if ! { apt-get -q -y install $missing || { apt-get -q update && apt-get -q -y install $missing; }; } >/dev/null 2>&1; then
    echo "$missing could not be installed; proxies on loopback cut the links of the tests" >&2
fi
